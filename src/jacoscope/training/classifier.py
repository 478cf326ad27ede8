"""The LightningModule: one for every network, optimizer, schedule and loss."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torchmetrics.classification import MulticlassAccuracy

from jacoscope.errors import UserError

Batch = tuple[Tensor, Tensor]


class ClassifierModule(LightningModule):
    """Train a classifier of images, all of it chosen by configs.

    Logs ``train/loss`` and ``train/accuracy`` (means over the epoch, in training mode and with augmentation),
    ``val/loss``, ``val/accuracy``, ``test/loss``, ``test/accuracy``, and ``train/learning_rate`` step by step.

    Args:
        network: pixels in [0, 1] ``[batch, C, H, W]`` to logits ``[batch, classes]``.
        loss: logits and classes to a scalar.
        optimizer: makes the optimizer from the parameters.
        scheduler: makes the learning rate schedule from the optimizer and the total number of steps.
        num_classes: number of classes.
    """

    def __init__(
        self,
        network: nn.Module,
        loss: nn.Module,
        optimizer: Callable[[Iterable[nn.Parameter]], Optimizer],
        scheduler: Callable[[Optimizer, int], LRScheduler],
        num_classes: int,
    ) -> None:
        super().__init__()
        # oneDNN and cuDNN convolve with channels last; kernels stored so need not be rearranged at every step.
        self.network = network.to(memory_format=torch.channels_last)
        self.loss = loss
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.train_accuracy = MulticlassAccuracy(num_classes, average="micro")
        self.val_accuracy = MulticlassAccuracy(num_classes, average="micro")
        self.test_accuracy = MulticlassAccuracy(num_classes, average="micro")

    def forward(self, x: Tensor) -> Tensor:
        """Give the logits of pixels in [0, 1]."""
        return self.network(x)  # type: ignore[no-any-return]

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:  # noqa: ARG002
        (schedule,) = self.trainer.lr_scheduler_configs
        self.log("train/learning_rate", schedule.scheduler.get_last_lr()[0])
        return self._step("train", batch, self.train_accuracy)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:  # noqa: ARG002
        self._step("val", batch, self.val_accuracy)

    def test_step(self, batch: Batch, batch_idx: int) -> None:  # noqa: ARG002
        self._step("test", batch, self.test_accuracy)

    def configure_optimizers(self) -> Any:
        try:
            optimizer = self.optimizer(self.network.parameters())
            scheduler = self.scheduler(optimizer, int(self.trainer.estimated_stepping_batches))
        except (ValueError, TypeError) as error:
            raise UserError(f"The optimizer or its scheduler cannot be made: {error}") from error
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def _step(self, stage: str, batch: Batch, accuracy: MulticlassAccuracy) -> Tensor:
        x, y = batch
        logits = self(x)
        loss: Tensor = self.loss(logits, y)
        accuracy.update(logits, y)
        evaluating = stage != "train"
        log = partial(self.log, on_step=False, on_epoch=True, prog_bar=evaluating, batch_size=len(y))
        log(f"{stage}/loss", loss, sync_dist=True)
        log(f"{stage}/accuracy", accuracy)
        return loss
