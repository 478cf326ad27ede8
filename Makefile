# `make` alone explains the targets. ARGS are handed on: make train ARGS="model=lenet5_relu seed=1"
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help train test check board analyze bench clean

help:  ## Explain the targets
	@echo "make TARGET [ARGS=\"…\"]"
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  \1\t/' | expand -t 12

train: $(VENV)/.installed  ## Train LeNet-5 on MNIST, watch its Jacobian, record the run in logs/
	$(BIN)/python train.py $(ARGS)

analyze: $(VENV)/.installed  ## Analyse the Jacobians of the latest finished run
	$(BIN)/python analyze.py $(ARGS)

board: $(VENV)/.installed  ## Open TensorBoard on all logs, at http://localhost:6006
	$(BIN)/tensorboard --logdir logs --host localhost --samples_per_plugin=images=1000,jacobians=1000 $(ARGS)

test: $(VENV)/.installed-test  ## Run all tests
	$(BIN)/python -m pytest --numprocesses=auto --maxprocesses=4 --dist=loadfile --no-loadscope-reorder $(ARGS)

check: $(VENV)/.installed-check  ## Lint, check types and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.installed-bench  ## Measure speed, side by side with the alternatives
	$(BIN)/python -m benchmarks $(ARGS)

clean:  ## Remove the virtual environment and all caches; logs/ and data/ stay
	rm -rf $(VENV) build dist src/*.egg-info .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp for each set of packages: installing happens once, and again when pyproject.toml changes.
$(VENV)/.installed $(VENV)/.installed-test $(VENV)/.installed-check $(VENV)/.installed-bench: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --disable-pip-version-check -e '.$(patsubst $(VENV)/.installed-%,[%],$(filter-out $(VENV)/.installed,$@))'
	@touch $@

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "jacoscope needs Python 3.10 or newer; name one with make PYTHON=python3.11 …"; exit 1; }
	$(PYTHON) -m venv $(VENV)
