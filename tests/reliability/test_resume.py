"""A run that is killed again and again has bitwise the same result as one that is not."""

import os
import random
import signal
import time
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from jacoscope.checkpoints import read_checkpoint
from jacoscope.comparison.page import sweep_page
from jacoscope.comparison.table import RunTable
from jacoscope.errors import UserError

from .commands import Running, run, start
from .records import differences, of_run, points
from .tiny import OVERRIDES

# Everything that has a state: distortions, averaged weights, momentum, a schedule, validations and checkpoints within
# epochs; the order of samples; dropout, and the directions and weights of a penalty.
RECIPE = (
    *OVERRIDES,
    "trainer.max_epochs=3",
    "trainer.log_every_n_steps=3",
    "+trainer.val_check_interval=0.5",
    "augmentation=elastic",
    "model.dropout=0.2",
    "penalty=jacobian",
    "penalty.ramp_up=0.5",
    "penalty.every_n_steps=2",
    "callbacks=[default,ema,distortion_annealing]",
    "callbacks.last_checkpoint.every_n_batches=2",
    "callbacks.jacobian.max_samples=10",
    "callbacks.jacobian.images_every_n_epochs=0",
)


def directory(folder: Path, name: str) -> Path:
    return folder / "logs" / "train" / "runs" / name


@pytest.fixture(scope="module")
def undisturbed(folder: Path) -> Running:
    done = run(folder, "train.py", "run_name=undisturbed", *RECIPE)
    assert done.process.exitcode == 0, done.told
    return done


@pytest.mark.parametrize("seed", [1, 2])
def test_killed_at_any_moment_and_looked_at_all_the_while_it_ends_bitwise_the_same(
    folder: Path, undisturbed: Running, seed: int
) -> None:
    moments, name, kills, looks = random.Random(seed), f"killed_{seed}", 0, 0
    while True:
        lifetime = moments.uniform(0.2, 0.6 if kills else 0.3) * undisturbed.processor_seconds if kills < 4 else 0
        running = start(folder, "train.py", f"run_name={name}", *RECIPE, dies_after=lifetime)
        looks += look_at(directory(folder, name), running)
        if running.wait() != -signal.SIGPROF:
            break
        kills += 1
    assert running.process.exitcode == 0, running.told
    assert kills
    assert looks
    assert differences(of_run(directory(folder, "undisturbed")), of_run(directory(folder, name))) == []
    assert not list(directory(folder, name).rglob("*.part"))


def look_at(run: Path, running: Running) -> int:
    """Read all files of a run while they are written: each is complete, or does not exist."""
    looks = 0
    while running.process.is_alive():
        if (run / "result.json").exists():
            table = RunTable.read(run)
            assert table.runs[0].seconds is not None  # its record was read
            assert sweep_page(table, run)
        if (run / "tensorboard").exists():
            EventAccumulator(str(run / "tensorboard")).Reload()
        for path in run.glob("checkpoints/*.ckpt"):
            try:
                assert read_checkpoint(path)["state_dict"]
                looks += 1
            except UserError as error:  # between two renames
                assert "No such file" in str(error), error  # noqa: PT017
        time.sleep(0.1)
    return looks


def test_the_undisturbed_run_has_each_point_once(folder: Path, undisturbed: Running) -> None:
    logged = points(directory(folder, "undisturbed"))
    expected = {"train/loss", "train/penalty", "train/learning_rate", "val/loss", "test/loss"}
    assert expected | {"jacobian/logits/frobenius/mean", "jacobians/0", "jacobians/0/logits"} <= set(logged)
    for tag, values in logged.items():
        steps = [step for step, _ in values]
        assert tag == "epoch" or len(set(steps)) == len(steps), tag


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_asked_to_stop_it_saves_first_and_says_how_to_go_on(
    folder: Path, undisturbed: Running, number: signal.Signals
) -> None:
    name = f"stopped_{number.name}"
    slow = [word for word in RECIPE if "every_n_batches=2" not in word]  # else it would be saved by itself
    running = start(folder, "train.py", f"run_name={name}", *slow)
    last = directory(folder, name) / "checkpoints" / "last.ckpt"
    while not last.exists():
        assert running.process.exitcode is None, running.told
        time.sleep(0.01)
    time.sleep(0.2)
    os.kill(running.process.pid, number)  # type: ignore[arg-type]
    assert running.wait() == 128 + number, running.told
    assert f"run_name={name}" in running.told
    assert "Traceback" not in running.told
    stopped_at = torch.load(last, weights_only=True)["global_step"]
    again = run(folder, "train.py", f"run_name={name}", *slow)
    assert again.process.exitcode == 0, again.told
    assert stopped_at > 0
    ours, theirs = of_run(directory(folder, name)), of_run(directory(folder, "undisturbed"))
    assert differences(theirs, ours) == []
