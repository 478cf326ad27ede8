"""Data that hold little or nothing to learn: each trains, its Jacobian watched, or is refused with a reason."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Trainer

from jacoscope.callbacks import JacobianCallback
from jacoscope.data import ImageDataModule, LabelledImages
from jacoscope.errors import UserError
from jacoscope.models import MLP
from jacoscope.training import CheckpointFiles, ClassifierModule, LastCheckpoint, constant

from .odd import Pictures

ALIKE = torch.full((8, 1, 4, 4), 7, dtype=torch.uint8)
ODD = {
    "one class only": Pictures(labels=torch.zeros(8, dtype=torch.int64)),
    "images all alike": Pictures(ALIKE),
    "images all black": Pictures(torch.zeros_like(ALIKE)),
    "one sample": Pictures(ALIKE[:1]),
}


def trained(folder: Path, source: Pictures, precision: Any = "32-true", **settings: Any) -> dict[str, float]:
    """Train for two epochs, and give the metrics."""
    data = ImageDataModule(source, **{"input_shape": (1, 4, 4), "num_classes": 2, "val_size": 2, **settings})
    module = ClassifierModule(
        MLP((1, 4, 4), 2, hidden=(4,)), torch.nn.CrossEntropyLoss(), torch.optim.AdamW, constant, num_classes=2
    )
    trainer = Trainer(
        max_epochs=2,
        accelerator="cpu",
        precision=precision,
        logger=False,
        plugins=[CheckpointFiles()],
        callbacks=[JacobianCallback(max_samples=4, train_samples=4), LastCheckpoint(folder)],
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, data)
    metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
    return {**metrics, **{f"test {k}": v for k, v in trainer.test(module, data, verbose=False)[0].items()}}


@pytest.mark.parametrize("kind", ODD)
def test_odd_data_train_and_all_that_is_measured_is_a_number(kind: str, tmp_path: Path) -> None:
    metrics = trained(tmp_path, ODD[kind])
    assert {"train/loss", "val/accuracy", "test test/loss", "jacobian/logits/frobenius/mean"} <= metrics.keys()
    assert all(math.isfinite(value) for value in metrics.values()), metrics


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("precision", ["bf16-true", "64-true", "bf16-mixed", "16-mixed", "64", 32, "bf16"])
def test_every_precision_trains_with_the_callback(precision: Any, tmp_path: Path) -> None:
    metrics = trained(tmp_path, Pictures(), precision)
    assert {"train/loss", "val/accuracy", "test test/loss", "jacobian/logits/frobenius/mean"} <= metrics.keys()
    assert all(math.isfinite(value) for value in metrics.values()), metrics


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (Pictures(ALIKE[:0]), "There are no train images"),
        (Pictures(ALIKE[:0], own_val=False), "There are no train images"),
        (Pictures(ALIKE[:1], own_val=False), "val_size=2 does not fit 1 training images"),
        (Pictures(labels=torch.arange(8)), "labels run from 0 to 7, but images.classes=2 allows 0 to 1"),
        (Pictures(labels=torch.arange(8) - 1), "labels run from -1 to 6"),
    ],
    ids=["empty", "empty, to be split", "one sample, to be split", "labels too high", "negative labels"],
)
def test_data_to_learn_nothing_from_are_refused_with_the_reason(source: Pictures, reason: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=reason):
        trained(tmp_path, source)
    assert not list(tmp_path.iterdir())


def test_as_many_labels_as_images() -> None:
    with pytest.raises(UserError, match="8 images, but 7 labels"):
        LabelledImages(ALIKE, torch.zeros(7, dtype=torch.int64))
