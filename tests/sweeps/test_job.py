"""What one job leaves to the next in the same process."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from jacoscope.errors import UserError
from jacoscope.runs.processes import FIRST_PROCESS, SWEEP_PROCESS
from jacoscope.runs.result import Result
from jacoscope.sweeps.job import run_job

from .conftest import ROOT


class Wandb:
    """The part of wandb that matters: a process has one run at a time, which ``init`` returns until it is finished."""

    def __init__(self) -> None:
        self.runs: list[list[str]] = []
        self.is_running = False

    def init(self) -> list[str]:
        if not self.is_running:
            self.runs.append([])
        self.is_running = True
        return self.runs[-1]

    def finish(self) -> None:
        self.is_running = False


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DictConfig:
    monkeypatch.setattr(HydraConfig.instance(), "cfg", None)
    monkeypatch.setenv(FIRST_PROCESS, "of the test's own, since a job tells it to those that it starts")
    with initialize_config_dir(str(ROOT / "configs")):
        words = ["trainer=cpu", f"hydra.runtime.output_dir={tmp_path}"]
        config = compose("train", words, return_hydra_config=True)
    HydraConfig.instance().set_config(config)
    return config


def test_the_record_says_why_a_job_failed_the_last_time(tmp_path: Path, config: DictConfig) -> None:
    file = tmp_path / "result.json"

    def fails(reason: str, said: Result | None = None) -> Result:
        def task(_: DictConfig) -> None:
            if said:
                said.write(file)
            raise RuntimeError(reason)

        with pytest.raises(RuntimeError, match=reason):
            run_job(task, config, ROOT / "train.py")
        return Result.read(file)

    first = fails("before it began")
    assert (first.status, first.error) == ("failed", "RuntimeError: before it began")
    assert fails("before it began again").error == "RuntimeError: before it began again"
    said = replace(first, error="said by itself", wall_seconds=3.0)
    assert fails("in its midst", said) == said
    cut_off = replace(first, status="running", metrics={"val/loss": 0.5}, error=None)
    told = fails("ended by force", cut_off)
    assert told == replace(cut_off, status="failed", error="RuntimeError: ended by force")


def test_a_terminated_job_ends_its_sweep_only_if_both_are_one_process(
    tmp_path: Path, config: DictConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def terminated(_: DictConfig) -> None:
        raise SystemExit(128 + signal.SIGTERM)

    monkeypatch.setenv(SWEEP_PROCESS, "another")
    with pytest.raises(UserError, match="was terminated"):
        run_job(terminated, config, ROOT / "train.py")
    assert Result.read(tmp_path / "result.json").status == "failed"
    monkeypatch.setenv(SWEEP_PROCESS, str(os.getpid()))
    with pytest.raises(SystemExit):
        run_job(terminated, config, ROOT / "train.py")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux that is always full")
def test_output_that_finds_the_disk_full_leaves_the_terminal_as_it_was(tmp_path: Path) -> None:
    code = f"""
from pathlib import Path
from jacoscope.sweeps.job import output_to
Path({str(tmp_path)!r}, "log").symlink_to("/dev/full")
with output_to(Path({str(tmp_path)!r}, "log")):
    print("lost", end="")
print("seen")
"""
    buffered = {**os.environ, "PYTHONUNBUFFERED": ""}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=buffered)
    assert (done.returncode, done.stdout) == (0, "seen\n"), done.stderr


def test_jobs_of_one_process_are_runs_of_their_own_to_wandb(
    config: DictConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    wandb = Wandb()
    monkeypatch.setitem(sys.modules, "wandb", wandb)  # type: ignore[arg-type]

    def fails(_: Any) -> None:
        wandb.init().append("failed")
        raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError, match="on purpose"):
        run_job(fails, config, ROOT / "train.py")
    run_job(lambda _: wandb.init().append("finished"), config, ROOT / "train.py")
    assert wandb.runs == [["failed"], ["finished"]]
