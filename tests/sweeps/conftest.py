"""Sweeps of the tiny training, started as a user starts them."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
CONFIG = """
defaults: [_self_, {paths: default}, {hparams_search: null}, {hydra: train}]
run_name: ${now:%Y-%m-%d_%H-%M-%S}
seed: 0
lr: 0.01
model: good
note: may be left out
seconds: 0
objective: val/accuracy
"""
SEARCH = """
# @package _global_
defaults: [{override /hydra/sweeper: search}]
hydra: {sweeper: {n_trials: 4, params: {lr: "tag(log, interval(1e-4, 1e-1))"}}}
"""


class Tiny:
    """A folder with the tiny training and its configs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copy(ROOT / "tests" / "sweeps" / "tiny.py", folder / "tiny.py")
        for group in ("hydra", "paths"):
            shutil.copytree(ROOT / "configs" / group, folder / "configs" / group)
        (folder / "configs" / "train.yaml").write_text(CONFIG)
        (folder / "configs" / "hparams_search").mkdir()
        (folder / "configs" / "hparams_search" / "optuna.yaml").write_text(SEARCH)

    def start(self, *words: str, start_new_session: bool = False) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "tiny.py", "-m", *words],
            cwd=self.folder,
            env={**os.environ, "COLUMNS": "160"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=start_new_session,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # ignored in the background
        )

    def sweep(self, *words: str, status: int = 0) -> str:
        process = self.start(*words)
        out, err = process.communicate(timeout=400)
        assert process.returncode == status, out + err
        return out + err

    def path(self, name: str = "*") -> Path:
        (path,) = (self.folder / "logs" / "train" / "sweeps").glob(name)
        return path

    def results(self, name: str = "*") -> dict[str, dict[str, Any]]:
        return {
            file.parent.name: json.loads(file.read_text())
            for file in sorted(self.path(name).glob("*/result.json"), key=lambda file: int(file.parent.name))
        }

    def ledger(self, name: str = "*") -> list[str]:
        return (self.path(name) / "ledger").read_text().split("\n")[:-1]


@pytest.fixture
def tiny(tmp_path: Path) -> Tiny:
    return Tiny(tmp_path)
