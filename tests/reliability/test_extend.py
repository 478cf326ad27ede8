"""A finished run can be extended to more epochs, and is then what it had been with so many from the start."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.optim.lr_scheduler import LRScheduler, StepLR

from jacoscope.runs.extension import same_schedule

from .commands import run, start
from .records import differences, of_run, points
from .tiny import OVERRIDES

RECIPE = (*OVERRIDES, "scheduler=constant", "callbacks=no_jacobian", "trainer.limit_train_batches=6")
LONGER = (*RECIPE, "trainer.max_epochs=4")


def directory(folder: Path, name: str) -> Path:
    return folder / "logs" / "train" / "runs" / name


@pytest.fixture(scope="module")
def short(folder: Path) -> str:
    done = run(folder, "train.py", "run_name=short", "trainer.max_epochs=2", *RECIPE)
    assert done.process.exitcode == 0, done.told
    return "run_name=short"


def test_an_extended_run_is_what_a_long_one_would_have_been_also_if_it_was_killed(folder: Path, short: str) -> None:
    before = json.loads((directory(folder, "short") / "result.json").read_text())
    straight = run(folder, "train.py", "run_name=straight", *LONGER)
    refused = run(folder, "train.py", short, *LONGER)
    assert refused.process.exitcode == 1
    assert "trainer.max_epochs: 2 then, 4 now" in refused.told
    assert "extend=true trains a finished run on" in refused.told
    start(folder, "train.py", short, *LONGER, "extend=true", dies_after=0.7 * straight.processor_seconds).wait()
    done = run(folder, "train.py", short, *LONGER, "extend=true")
    assert done.process.exitcode == 0, done.told
    mine, expected = of_run(directory(folder, "short")), of_run(directory(folder, "straight"))
    assert differences(mine, expected) == []
    assert len(points(directory(folder, "short"))["val/loss"]) == 4
    record = json.loads((directory(folder, "short") / "result.json").read_text())
    assert record["status"] == "finished"
    assert record["config"]["trainer"]["max_epochs"] == 4
    assert [(e["max_epochs"], e["metrics"]) for e in record["extended"]] == [(2, before["metrics"])]
    again = run(folder, "train.py", short, *LONGER, "extend=true")
    assert again.process.exitcode == 0, again.told
    assert json.loads((directory(folder, "short") / "result.json").read_text()) == record


@pytest.mark.parametrize(
    ("scheduler", "same"),
    [
        ({"_target_": "jacoscope.training.constant"}, True),
        ({"_target_": "jacoscope.training.cosine"}, False),
        ({"_target_": "jacoscope.training.one_cycle"}, False),
        ({"_target_": f"{__name__}.halved", "step_size": 3}, True),
        ({"_target_": "torch.optim.lr_scheduler.PolynomialLR"}, False),
    ],
)
@pytest.mark.parametrize(("before", "after"), [(7, 8), (30, 31), (5, 9000), (4000, 9000)])
def test_a_schedule_over_the_whole_training_is_recognised(
    scheduler: dict[str, Any], same: bool, before: int, after: int
) -> None:
    assert same_schedule({"scheduler": {**scheduler, "_partial_": True}}, before, after) == same


def halved(optimizer: torch.optim.Optimizer, total_steps: int, step_size: int) -> LRScheduler:
    return StepLR(optimizer, step_size, gamma=0.5)
