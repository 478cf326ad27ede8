"""A search reaches its number of trials, whatever happens on the way."""

import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from unittest.mock import Mock

import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import UNSAFE_DISABLE_EXECUTION_CHECKS, instantiate

from jacoscope.runs.lock import is_held

from .conftest import ROOT, Tiny

optuna = pytest.importorskip("optuna")

WORDS = ("hparams_search=optuna", "hydra.launcher.n_jobs=2")


def trials(tiny: Tiny) -> list["optuna.trial.FrozenTrial"]:
    return optuna.load_study(study_name=None, storage=f"sqlite:///{tiny.path()}/study.db").trials


def test_a_killed_search_goes_on_to_its_total_and_closes_what_was_running(tiny: Tiny) -> None:
    process = tiny.start(*WORDS, "seconds=0.4")
    deadline = time.monotonic() + 400
    while not any(tiny.folder.rglob("ledger")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert any(trial.state.name == "RUNNING" for trial in trials(tiny))

    tiny.sweep(*WORDS, "seconds=0.4")
    states = Counter(trial.state.name for trial in trials(tiny))
    assert states == {"COMPLETE": 4}
    for trial in trials(tiny):
        result = tiny.results()[str(trial.number)]
        assert result["metrics"]["val/accuracy"] == trial.value
        assert result["config"]["lr"] == pytest.approx(trial.params["lr"])
    assert len(tiny.ledger()) <= 4 * 4 + 2  # a kill may fall between an epoch and its checkpoint

    tiny.sweep(*WORDS, "seconds=0.4", "hydra.sweeper.n_trials=5")
    assert len(trials(tiny)) == 5
    assert len({trial.params["lr"] for trial in trials(tiny)}) == 5, "no start proposes what an earlier one did"


def test_a_killed_search_may_be_renamed(tiny: Tiny) -> None:
    words = (*WORDS, "hydra.sweeper.n_trials=2", "seconds=0.4")
    process = tiny.start(*words, "run_name=mine")
    while not any(tiny.folder.rglob("ledger")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    while any(map(is_held, tiny.path().glob("*/"))):  # the workers end a little later
        time.sleep(0.1)
    tiny.path().rename(tiny.path().with_name("yours"))
    tiny.sweep(*words, "run_name=yours")
    assert [trial.state.name for trial in trials(tiny)] == ["COMPLETE", "COMPLETE"]


def test_a_function_may_extend_the_search_space(tiny: Tiny) -> None:
    (tiny.folder / "space.py").write_text("def extend(config, trial): trial.suggest_int('seed', 5, 7)")
    words = ("hydra.sweeper.n_trials=1", "hydra.sweeper.custom_search_space=space.extend")
    tiny.sweep("hparams_search=optuna", "hydra/launcher=basic", *words)
    (trial,) = trials(tiny)
    assert set(trial.params) == {"lr", "seed"}
    assert tiny.results()["0"]["config"]["seed"] == trial.params["seed"]
    refused = tiny.sweep("hparams_search=optuna", "hydra/launcher=basic", *words, "seed=1", status=1)
    assert "chooses values of fixed keys: seed" in refused


def test_a_failed_trial_is_proposed_again_under_a_new_number(tiny: Tiny) -> None:
    words = ("hparams_search=optuna", "model=faulty", "hydra/launcher=basic", "hydra.sweeper.n_trials=2")
    told = tiny.sweep(*words, status=1)
    assert "this model is faulty" in told
    failed = trials(tiny)
    assert [trial.state.name for trial in failed] == ["FAIL"]
    (tiny.folder / "mended").touch()
    tiny.sweep(*words, status=0)
    again = trials(tiny)
    assert [trial.state.name for trial in again] == ["FAIL", "COMPLETE", "COMPLETE"]
    assert again[1].params == failed[0].params


def test_pruned_trials_count_and_are_told(tiny: Tiny) -> None:
    told = tiny.sweep("hparams_search=optuna", "model=hopeless", "hydra/launcher=basic", "hydra.sweeper.n_trials=2")
    assert [trial.state.name for trial in trials(tiny)] == ["PRUNED", "PRUNED"]
    assert "2 pruned" in told


def test_a_run_is_ended_that_is_worse_than_the_median(tmp_path: Path) -> None:
    """The decision is that of Optuna's pruner; the callback reports the metric and obeys."""
    from jacoscope.callbacks.pruning import Pruning

    where = {"study_name": "mine", "storage": f"sqlite:///{tmp_path}/study.db"}
    study = optuna.create_study(**where, direction="maximize")
    for _ in range(2):
        study.ask()
    pruner = optuna.pruners.MedianPruner(n_startup_trials=1, n_warmup_steps=1)

    def train(number: int, accuracies: list[float], meanwhile: Callable[[], object]) -> tuple[Pruning, int]:
        callback = Pruning("val/accuracy", tmp_path / str(number), pruner=pruner, **where)
        trainer = Mock(sanity_checking=False, is_global_zero=True, should_stop=False)
        trainer.state.fn = "fit"
        trainer.strategy.broadcast = lambda value: value
        for epoch, accuracy in enumerate(accuracies):
            trainer.current_epoch, trainer.callback_metrics = epoch, {"val/accuracy": accuracy}
            callback.on_validation_end(trainer, Mock())
            if trainer.should_stop:
                return callback, epoch
            if epoch == 0:
                meanwhile()
        return callback, len(accuracies)

    good, epochs = train(0, [0.9, 0.9, 0.9], lambda: None)
    assert (good.pruned, epochs) == (False, 3)
    hopeless, epochs = train(1, [0.1, 0.1, 0.1], lambda: study.tell(0, 0.9))
    assert (hopeless.pruned, epochs) == (True, 1), "after the first epoch it may still come round"
    assert study.trials[1].intermediate_values == {0: 0.1, 1: 0.1}


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize("search", ["optuna", "pareto"])
def test_a_search_takes_every_sampler(search: str) -> None:
    with initialize_config_dir(str(ROOT / "configs")):
        for sampler in ("tpe", "random", "cmaes", "gp", "nsgaii", "qmc"):
            words = [f"hparams_search={search}", f"hydra/sweeper/sampler={sampler}", "seed=3", "hydra.sweep.dir=x"]
            node = compose("train", words, return_hydra_config=True).hydra.sweeper.sampler
            assert node.seed == 3
            made = instantiate(node, _execution_whitelist_=UNSAFE_DISABLE_EXECUTION_CHECKS)
            assert isinstance(made, optuna.samplers.BaseSampler)


def test_a_search_without_m_is_refused(tiny: Tiny) -> None:
    import subprocess
    import sys

    command = [sys.executable, "tiny.py", "hparams_search=optuna"]
    done = subprocess.run(command, cwd=tiny.folder, capture_output=True, text=True, timeout=200)
    assert done.returncode == 1
    assert "type -m before it" in done.stderr
    assert not any(Path(tiny.folder).rglob("result.json"))
