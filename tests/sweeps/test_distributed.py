"""Runs that train in several processes each, in a sweep: Lightning starts these by the command line of the whole."""

import os
import subprocess
import sys
import time
from pathlib import Path

from jacoscope.runs.result import Result

from .conftest import ROOT

SMALL = (
    "trainer.max_epochs=1",
    "trainer.limit_train_batches=2",
    "trainer.limit_val_batches=1",
    "trainer.limit_test_batches=1",
    "callbacks=no_jacobian",
    "logger=none",
    "augmentation=none",
    "model=mlp",
    "model.hidden=[4]",
)


def test_two_runs_of_two_processes_each_end_and_leave_nothing_behind(tmp_path: Path, data_dir: Path) -> None:
    words = ("-m", "trainer=ddp", "trainer.accelerator=cpu", "seed=0,1", *SMALL, f"paths.data_dir={data_dir}")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(ROOT / "train.py"), *words, "run_name=mine"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    sweep = tmp_path / "logs" / "train" / "sweeps" / "mine"
    for number in range(2):
        result = Result.read(sweep / str(number) / "result.json")
        assert (result.status, result.seed) == ("finished", number)
        assert list((sweep / str(number)).glob("*process_1.log")), "the second process was there"
    assert {path.name for path in sweep.iterdir() if path.is_dir()} == {"0", "1"}
    assert {str(path) for folder in (tmp_path, sweep.parents[1], sweep.parent) for path in folder.iterdir()} == {
        str(path) for path in (tmp_path / "logs", sweep.parent, sweep)
    }
    deadline = time.monotonic() + 20
    while working := processes_in(tmp_path):  # workers end a moment after the sweep
        assert time.monotonic() < deadline, working
        time.sleep(0.1)


def processes_in(folder: Path) -> list[str]:
    """Give the command lines of the processes that live in a folder or below it."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").resolve().is_relative_to(folder) and (words := (process / "cmdline").read_bytes()):
                found.append(words.replace(b"\0", b" ").decode())
        except OSError:
            continue
    return found
