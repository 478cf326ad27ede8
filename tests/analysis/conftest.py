"""A small run directory, made without training: random weights, a few digits, everything else as train.py leaves it."""

import shutil
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra.utils import execution_whitelist
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from jacoscope.analysis.answer import answer
from jacoscope.analysis.folder import AnswerFolder
from jacoscope.analysis.network import NetworkSpec, TrainedNetwork, find_checkpoint
from jacoscope.analysis.question import Question
from jacoscope.analysis.split import analyse as analyse_split
from jacoscope.analysis.split import split_folder
from jacoscope.analysis.streaming import Devices
from jacoscope.runs.build import build_network
from jacoscope.runs.result import Result

IMAGES = {"shape": [1, 8, 8], "classes": 3, "mean": [0.4], "std": [0.3]}


def write_images(root: Path) -> None:
    """Pictures of three classes, 8×8, in an ImageFolder."""
    from PIL import Image

    generator = torch.Generator().manual_seed(0)
    for part, count in (("train", 5), ("test", 9)):
        for name in "abc":
            folder = root / part / name
            folder.mkdir(parents=True)
            for i in range(count):
                values = torch.randint(0, 256, (8, 8), generator=generator, dtype=torch.uint8)
                Image.fromarray(values.numpy()).save(folder / f"{i}.png")


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("analysis")
    write_images(root / "images")
    config = {
        "images": IMAGES,
        "model": {
            "_target_": "jacoscope.models.MLP",
            "input_shape": [1, 8, 8],
            "num_classes": 3,
            "mean": [0.4],
            "std": [0.3],
            "hidden": [16],
            "activation": {"_target_": "torch.nn.Tanh", "_partial_": True},
        },
        "data": {
            "_target_": "jacoscope.data.ImageDataModule",
            "source": {
                "_target_": "jacoscope.data.ImageFolder",
                "root": str(root / "images"),
                "shape": [1, 8, 8],
            },
            "input_shape": [1, 8, 8],
            "num_classes": 3,
            "val_size": 3,
        },
        "paths": {"data_dir": str(root)},
    }
    path = root / "logs" / "train" / "runs" / "small"
    torch.manual_seed(1)
    with execution_whitelist(["jacoscope.*", "torch.nn.*"]):
        weights = build_network(config).state_dict()
    (path / "checkpoints").mkdir(parents=True)
    content = {"state_dict": {f"network.{k}": v for k, v in weights.items()}, "epoch": 1, "global_step": 20}
    torch.save(content, path / "checkpoints" / "best.ckpt")
    Result("finished", config, 0, "2026-01-01T00:00:00+00:00", {"test/accuracy": 0.5}).write(path / "result.json")
    return path


@pytest.fixture
def own_run(run: Path, tmp_path: Path) -> Path:
    """A copy of the small run, to leave analyses in, with other weights in last.ckpt."""
    return with_another_checkpoint(run, tmp_path / "train" / "runs" / "own")


def with_another_checkpoint(run: Path, copy: Path) -> Path:
    """Copy a run and add last.ckpt, with twice the weights."""
    shutil.copytree(run, copy)
    content = torch.load(copy / "checkpoints" / "best.ckpt", weights_only=True)
    content["state_dict"] = {name: 2 * weight for name, weight in content["state_dict"].items()}
    torch.save({**content, "epoch": 2, "global_step": 40}, copy / "checkpoints" / "last.ckpt")
    return copy


@pytest.fixture(scope="module")
def analysed_run(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with two checkpoints, their comparison and their history, not to be changed."""
    path = with_another_checkpoint(run, tmp_path_factory.mktemp("analysed") / "train" / "runs" / "own")
    checkpoints = [str(path / "checkpoints" / name) for name in ("best.ckpt", "last.ckpt")]
    for question in (Question(compare=checkpoints), Question(str(path), history=True)):
        answer(question, analyze_config(run), [])
    return path


@pytest.fixture(scope="session")
def small(run: Path) -> TrainedNetwork:
    checkpoint = find_checkpoint(str(run), run)
    return TrainedNetwork.load(NetworkSpec(checkpoint, Result.read(run / "result.json").config, (), True))


@pytest.fixture(scope="session")
def folder_in(small: TrainedNetwork) -> Callable[..., AnswerFolder]:
    """The folder of an answer about the test split, at a path of its own instead of in the run."""

    def folder(path: Path, network: TrainedNetwork = small, **asked: Any) -> AnswerFolder:
        usual = split_folder(Question(**{**asked, "output_dir": None}), network.spec)
        return AnswerFolder(path, usual.manifest.question, usual.names, is_the_users="output_dir" in asked)

    return folder


@pytest.fixture(scope="session")
def analysed(small: TrainedNetwork, folder_in: Callable[..., AnswerFolder]) -> Callable[..., AnswerFolder]:
    """Analyse the small run's test split into a folder; the table alone, unless more is asked for."""

    def analyse(
        path: Path, devices: Devices | None = None, network: TrainedNetwork = small, **asked: Any
    ) -> AnswerFolder:
        asked = {"attack": 0, "report": False, "chunk_size": 8, **asked}
        folder = folder_in(path, network, **asked)
        analyse_split(folder, Question(**asked), network, devices or Devices(), Console(quiet=True))
        return folder

    return analyse


@pytest.fixture(scope="session")
def finished(analysed: Callable[..., AnswerFolder], tmp_path_factory: pytest.TempPathFactory) -> AnswerFolder:
    """An analysis with everything, not to be changed."""
    everything = {"report": True, "attack": 6, "save_jacobians": True}
    return analysed(tmp_path_factory.mktemp("finished") / "test_logits", **everything)


@pytest.fixture(scope="session")
def by_hand(small: TrainedNetwork) -> Callable[[int, str], "np.ndarray[Any, Any]"]:
    """The Jacobian of a test sample, ``[outputs, features]``, by one backward pass for each output, in float64."""
    network = deepcopy(small.module).double()

    def jacobian(index: int, output: str) -> "np.ndarray[Any, Any]":
        image, _ = small.split("test")[index]
        x = (image.double() / 255).requires_grad_()
        z = network(x.unsqueeze(0))[0]
        values = {"logits": z, "probs": z.softmax(0), "log_probs": z.log_softmax(0)}[output]
        rows = [torch.autograd.grad(value, x, retain_graph=True)[0].flatten() for value in values]
        return torch.stack(rows).numpy()

    return jacobian


@pytest.fixture
def cfg(run: Path) -> DictConfig:
    return analyze_config(run)


def analyze_config(run: Path) -> DictConfig:
    """Return what configs/analyze.yaml composes, as far as the network and its data go."""
    return OmegaConf.create(
        {
            "images": {**IMAGES, "shape": [1, 28, 28]},
            "model": {"_target_": "jacoscope.models.LeNet5"},
            "data": {"_target_": "jacoscope.data.ImageDataModule"},
            "trainer": {"accelerator": "cpu", "devices": 1, "strategy": "auto"},
            "paths": {"log_dir": str(run.parents[2]), "data_dir": "data"},
        }
    )
