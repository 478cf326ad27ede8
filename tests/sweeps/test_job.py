"""What one job leaves to the next in the same process."""

import sys
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig

from jacoscope.runs.sweeps.job import run_job

from .conftest import ROOT


class Wandb:
    """What matters of wandb: a process has one run at a time, which ``init`` gives again until it is finished."""

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


def test_jobs_of_one_process_are_runs_of_their_own_to_wandb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = Wandb()
    monkeypatch.setitem(sys.modules, "wandb", wandb)  # type: ignore[arg-type]
    monkeypatch.setattr(HydraConfig.instance(), "cfg", None)
    with initialize_config_dir(str(ROOT / "configs")):
        words = ["trainer=cpu", f"hydra.runtime.output_dir={tmp_path}"]
        config = compose("train", words, return_hydra_config=True)
    HydraConfig.instance().set_config(config)

    def fails(_: Any) -> None:
        wandb.init().append("failed")
        raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError, match="on purpose"):
        run_job(fails, config, ROOT / "train.py")
    run_job(lambda _: wandb.init().append("finished"), config, ROOT / "train.py")
    assert wandb.runs == [["failed"], ["finished"]]
