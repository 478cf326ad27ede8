"""Two processes log what one does: once, from all samples, each counted once though the sampler pads."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from jacoscope import board

from .someone import Someone, events, numbers, train

MAX_SAMPLES = (30, 1000)  # some, and all: the sampler repeats one of the 103 to make them even
# One interpreter for all: it forks the two processes of each training.
_SCRIPT = """
import sys, warnings
from pathlib import Path
sys.path.insert(0, sys.argv[1])
warnings.simplefilter("ignore")
import torch
torch.set_num_threads(1)
from callbacks.test_distributed import MAX_SAMPLES, train_once
for max_samples in MAX_SAMPLES:
    train_once(Path(sys.argv[2]) / str(max_samples), max_samples, strategy="ddp_fork", devices=2)
"""


class Still(Someone):
    """Neither weights nor statistics change: otherwise other batches would make another model."""

    def on_fit_start(self) -> None:
        self.net[1].momentum = 0.0

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.0)


def train_once(folder: Path, max_samples: int, **trainer: object) -> None:
    torch.manual_seed(0)  # for the weights that the module is made with
    train(folder, [numbers(max_samples=max_samples, train_samples=0)], module=Still(), epochs=1, **trainer)


def logged(folder: Path) -> dict[str, float]:
    assert len(list(folder.rglob("events*"))) == 1, "only one process writes"
    read = events(folder)
    scalars = {tag: read.Scalars(tag) for tag in read.Tags()["scalars"] if tag.startswith("jacobian")}
    assert {len(points) for points in scalars.values()} == {1}
    return {tag: points[0].value for tag, points in scalars.items() if "seconds" not in tag and "share" not in tag}


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("together")
    command = [sys.executable, "-c", _SCRIPT, str(Path(__file__).parents[1]), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("max_samples", MAX_SAMPLES)
def test_two_processes_log_what_one_does(tmp_path: Path, together: Path, max_samples: int) -> None:
    train_once(tmp_path, max_samples)
    alone, both = logged(tmp_path), logged(together / str(max_samples))
    assert both.keys() == alone.keys()
    for tag, value in alone.items():
        assert both[tag] == pytest.approx(value, rel=1e-4, abs=1e-6), tag

    (tab_alone, tab_both) = (board.read(folder) for folder in (tmp_path, together / str(max_samples)))
    assert len(tab_alone) == 3
    assert tab_both.keys() == tab_alone.keys()
    for tag, course in tab_alone.items():
        assert len(tab_both[tag].steps) == len(course.steps) == 1
        assert np.allclose(tab_both[tag].jacobians["logits"], course.jacobians["logits"], rtol=1e-3, atol=1e-5)
