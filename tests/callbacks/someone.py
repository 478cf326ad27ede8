"""A LightningModule that is not ours, small data for it, how it is trained here, and its Jacobians another way."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback, LightningModule, Trainer, seed_everything
from pytorch_lightning.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from jacoscope.callbacks import JacobianCallback

ALL = 10**6
_GENERATOR = torch.Generator().manual_seed(1)
X = torch.rand(103, 1, 8, 8, generator=_GENERATOR)
Y = torch.randint(0, 3, (103,), generator=_GENERATOR)


class Someone(LightningModule):
    """Batch norm and dropout: whatever leaves a trace in training shows."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Tanh(), nn.Flatten(), nn.Dropout(0.3), nn.Linear(144, 3)
        )

    def forward(self, x: Tensor) -> Any:
        return self.net(x)

    def training_step(self, batch: Any) -> Tensor:
        return nn.functional.cross_entropy(self.net(batch[0]), batch[1])

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:  # noqa: ARG002
        self.log("val/loss", self.training_step(batch))

    def test_step(self, batch: Any) -> None:
        self.log("test/accuracy", (self.net(batch[0]).argmax(1) == batch[1]).float().mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), 1e-2)


def loader(batch_size: int = 20, shuffle: bool = False) -> DataLoader[Any]:
    return DataLoader(TensorDataset(X, Y), batch_size, shuffle=shuffle)


def train(
    folder: Path,
    callbacks: Sequence[Callback] = (),
    module: LightningModule | None = None,
    epochs: int = 2,
    loaders: tuple[Any, Any] | None = None,
    **trainer: Any,
) -> tuple[LightningModule, Trainer]:
    seed_everything(0, verbose=False)
    module = Someone() if module is None else module
    logger = trainer.pop("logger", TensorBoardLogger(folder, name="", version="", default_hp_metric=False))
    resume_from = trainer.pop("resume_from", None)
    fitted = Trainer(
        max_epochs=epochs,
        logger=logger,
        callbacks=list(callbacks),
        accelerator="cpu",
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        **trainer,
    )
    torch.manual_seed(0)
    train_loader, val_loader = loaders or (loader(16, shuffle=True), loader())
    fitted.fit(module, train_loader, val_loader, ckpt_path=resume_from)
    return module, fitted


def numbers(**arguments: Any) -> JacobianCallback:
    """The callback on all validation samples, without pictures."""
    return JacobianCallback(**{"max_samples": ALL, "images_every_n_epochs": 0, **arguments})


def jacobians(model: Any, x: Tensor, probs: bool = False) -> Tensor:
    """Of all samples, ``[samples, outputs, features]``: one backward pass for each output."""
    if isinstance(model, nn.Module):
        model.eval()
    x = x.clone().requires_grad_()
    outputs = model(x).softmax(1) if probs else model(x)
    rows = [torch.autograd.grad(outputs[:, k].sum(), x, retain_graph=True)[0] for k in range(outputs.shape[1])]
    return torch.stack(rows, 1).flatten(2).detach()


def mean_norm(model: Any, x: Tensor) -> Any:
    """The mean Frobenius norm of the logits' Jacobian, to compare with what was logged in single precision."""
    return pytest.approx(float(jacobians(model, x).square().sum((1, 2)).sqrt().mean()), rel=1e-4)


def events(folder: Path) -> EventAccumulator:
    accumulator = EventAccumulator(
        str(folder), size_guidance={"scalars": 0, "images": 0, "histograms": 0, "tensors": 0}
    )
    accumulator.Reload()
    return accumulator


def last(folder: Path | EventAccumulator, tag: str = "jacobian/logits/frobenius/mean") -> float:
    """The latest value of a scalar."""
    accumulator = events(folder) if isinstance(folder, Path) else folder
    return accumulator.Scalars(tag)[-1].value
