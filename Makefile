# `make` alone explains the targets. ARGS are handed on: make train ARGS="model=lenet5_relu seed=1"
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help train test test-lowest coverage check docs board analyze bench clean

help:  ## Explain the targets
	@echo "make TARGET [ARGS=\"…\"]"
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  \1\t/' | expand -t 16

train: $(VENV)/.installed  ## Train LeNet-5 on MNIST, watch its Jacobian, record the run in logs/
	$(BIN)/python train.py $(ARGS)

analyze: $(VENV)/.installed  ## Analyse the Jacobians of the latest finished run
	$(BIN)/python analyze.py $(ARGS)

board: $(VENV)/.installed  ## Open TensorBoard on all logs, at http://localhost:6006
	$(BIN)/tensorboard --logdir logs --host localhost --samples_per_plugin=images=1000,jacobians=1000 $(ARGS)

test: $(VENV)/.installed-test  ## Run all tests
	$(BIN)/python -m pytest --numprocesses=auto --maxprocesses=4 --dist=loadfile --no-loadscope-reorder $(ARGS)

test-lowest: | $(BIN)/python  ## Run all tests with the oldest versions that pyproject.toml allows
	$(BIN)/python -m venv $(VENV)-lowest
	$(VENV)-lowest/bin/python -m pip install --disable-pip-version-check --no-deps -e .
	$(VENV)-lowest/bin/python .ci/lowest.py > $(VENV)-lowest/constraints.txt
	$(VENV)-lowest/bin/python -m pip install --disable-pip-version-check -c $(VENV)-lowest/constraints.txt -e '.[test]'
	$(VENV)-lowest/bin/python -m pytest --numprocesses=auto --maxprocesses=4 --dist=loadfile --no-loadscope-reorder $(ARGS)

coverage: $(VENV)/.installed-test  ## Run all tests, and report which lines they reach
	$(BIN)/python -m coverage run -m pytest $(ARGS)
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report

docs: $(VENV)/.installed-docs  ## Build the documentation site into site/; ARGS=serve shows it while you write
	$(BIN)/python -m mkdocs $(or $(ARGS),build --strict)

check: $(VENV)/.installed-check  ## Lint, check types and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.installed-bench  ## Measure speed, side by side with the alternatives
	$(BIN)/python -m benchmarks $(ARGS)

clean:  ## Remove the virtual environment and all caches; logs/ and data/ stay
	rm -rf $(VENV) $(VENV)-lowest build dist site .cache src/*.egg-info .coverage .coverage.* .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp for each set of packages: installing happens once, and again when pyproject.toml changes.
$(VENV)/.installed $(VENV)/.installed-test $(VENV)/.installed-check $(VENV)/.installed-bench $(VENV)/.installed-docs: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --disable-pip-version-check -e '.$(patsubst $(VENV)/.installed-%,[%],$(filter-out $(VENV)/.installed,$@))'
	@touch $@

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "jacoscope needs Python 3.10 or newer; name one with make PYTHON=python3.11 …"; exit 1; }
	$(PYTHON) -m venv $(VENV)
