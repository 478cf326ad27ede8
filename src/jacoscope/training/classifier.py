"""The LightningModule that trains a classifier with any network, loss, optimizer and schedule."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torchmetrics import MeanMetric, Metric
from torchmetrics.classification import MulticlassAccuracy

from jacoscope.errors import UserError
from jacoscope.lightning import LightningModule
from jacoscope.training.divergence import require_finite_step

Batch = tuple[Tensor, Tensor]


class ClassifierModule(LightningModule):
    """Train a classifier of images.

    Logs ``train/loss`` and ``train/accuracy`` (means over the epoch, in training mode and with augmentation),
    ``val/loss``, ``val/accuracy``, ``test/loss``, ``test/accuracy``, and ``train/learning_rate`` every
    ``log_every_n_steps`` steps. If the loss or a gradient is NaN or infinite, the training stops before the optimizer
    takes the step. Checkpoints contain the sums over the epoch, so that a resumed training logs the same values.

    Args:
        network: computes logits ``[batch, classes]`` from pixels in [0, 1] ``[batch, C, H, W]``.
        loss: computes a scalar from logits and classes.
        optimizer: makes the optimizer from the parameters.
        scheduler: makes the learning rate schedule from the optimizer and the total number of steps.
        num_classes: number of classes.

    Raises:
        UserError: at the start of the training, if the optimizer or the schedule refuses its settings; at any step, if
            the loss or a gradient is NaN or infinite.
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
        # oneDNN and cuDNN convolve with channels last; kernels in that format are not rearranged at every step.
        self.network = network.to(memory_format=torch.channels_last)
        self.loss = loss
        self.optimizer = optimizer
        self.scheduler = scheduler
        # A metric, since its state can be put into checkpoints, unlike the sums of self.log.
        self.train_loss = MeanMetric(nan_strategy="disable")
        # Arguments are not validated, which takes longer than counting: the data module has checked all labels.
        self.train_accuracy, self.val_accuracy, self.test_accuracy = (
            MulticlassAccuracy(num_classes, average="micro", validate_args=False) for _ in range(3)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Compute the logits of pixels in [0, 1]."""
        return self.network(x)  # type: ignore[no-any-return]

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:  # noqa: ARG002
        loss = self._loss(batch, self.train_accuracy)
        self.train_loss.update(loss.detach(), len(batch[1]))
        self._step_loss = loss.detach()
        return loss

    def on_train_epoch_end(self) -> None:
        self.log_dict({"train/loss": self.train_loss, "train/accuracy": self.train_accuracy})

    def validation_step(self, batch: Batch, batch_idx: int) -> None:  # noqa: ARG002
        self._evaluate("val", batch, self.val_accuracy)

    def test_step(self, batch: Batch, batch_idx: int) -> None:  # noqa: ARG002
        self._evaluate("test", batch, self.test_accuracy)

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:  # noqa: ARG002
        require_finite_step(self, self._step_loss)
        every = self.trainer.log_every_n_steps  # type: ignore[attr-defined]
        if every and self.global_step % every == 0:
            (schedule,) = self.trainer.lr_scheduler_configs
            rate = float(schedule.scheduler.get_last_lr()[0])
            for logger in self.loggers:  # not with self.log, which costs as much as a layer at every step
                logger.log_metrics({"train/learning_rate": rate}, self.global_step)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["epoch_so_far"] = {
            f"{name}.{part}": self._of_all_processes(value)
            for name, metric in self._epoch_so_far.items()
            for part, value in metric.metric_state.items()
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if self.trainer.state.fn == "fit":
            for name, of_processes in checkpoint.get("epoch_so_far", {}).items():
                metric, _, part = name.partition(".")
                setattr(self._epoch_so_far[metric], part, of_processes[self.trainer.global_rank])

    def configure_optimizers(self) -> Any:
        try:
            optimizer = self.optimizer(self.network.parameters())
            scheduler = self.scheduler(optimizer, int(self.trainer.estimated_stepping_batches))
        except (ValueError, TypeError, LookupError, ArithmeticError) as error:
            raise UserError(f"The optimizer or its scheduler cannot be made: {error}") from error
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    @property
    def _epoch_so_far(self) -> dict[str, Metric]:
        """The metrics of the epoch in this process, with scalar states; they are logged at its end."""
        return {"train_loss": self.train_loss, "train_accuracy": self.train_accuracy}

    def _of_all_processes(self, scalar: Any) -> Tensor:
        gathered = self.all_gather(scalar)
        assert isinstance(gathered, Tensor)
        return gathered.view(self.trainer.world_size)

    def _loss(self, batch: Batch, accuracy: MulticlassAccuracy) -> Tensor:
        x, y = batch
        logits = self(x)
        accuracy.update(logits, y)
        return self.loss(logits, y)  # type: ignore[no-any-return]

    def _evaluate(self, stage: str, batch: Batch, accuracy: MulticlassAccuracy) -> None:
        loss = self._loss(batch, accuracy)
        log = partial(self.log, on_step=False, on_epoch=True, prog_bar=True, batch_size=len(batch[1]))
        log(f"{stage}/loss", loss, sync_dist=True)
        log(f"{stage}/accuracy", accuracy)
