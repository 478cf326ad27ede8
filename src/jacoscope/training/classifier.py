"""The LightningModule that trains a classifier with any network, loss, optimizer and schedule."""

import math
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
from jacoscope.penalties import ForwardPass, NoPenalty, Penalty
from jacoscope.training.divergence import require_finite_step

Batch = tuple[Tensor, Tensor]


class ClassifierModule(LightningModule):
    """Train a classifier of images: minimise ``loss + λ · penalty``.

    Logs ``train/loss`` and ``train/accuracy`` (means over the epoch, in training mode and with augmentation),
    ``val/loss``, ``val/accuracy``, ``test/loss``, ``test/accuracy``, and ``train/learning_rate`` every
    ``log_every_n_steps`` steps; with a penalty ``train/penalty`` and ``test/penalty``, without λ. If the loss, the
    penalty or a gradient is NaN or infinite, the training stops before the optimizer takes the step. Checkpoints
    contain the sums over the epoch, so that a resumed training logs the same values.

    Args:
        network: computes logits ``[batch, classes]`` from pixels in [0, 1] ``[batch, C, H, W]``.
        loss: computes a scalar from logits and classes.
        optimizer: makes the optimizer from the parameters.
        scheduler: makes the learning rate schedule from the optimizer and the total number of steps.
        num_classes: number of classes.
        penalty: is added to the loss, and shares its forward pass; None for none.

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
        penalty: Penalty | None = None,
    ) -> None:
        super().__init__()
        # oneDNN and cuDNN convolve with channels last; kernels in that format are not rearranged at every step.
        self.network = network.to(memory_format=torch.channels_last)
        self.loss = loss
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.penalty = penalty or NoPenalty()
        # Metrics, since their state can be put into checkpoints, unlike the sums of self.log. NaN stays NaN; of
        # torchmetrics' other ways, "disable" forgets the weights too (1.9), and a mean over batches would be logged.
        self.train_loss, self.train_penalty, self.test_penalty = (MeanMetric(nan_strategy=math.nan) for _ in range(3))
        # Arguments are not validated, which takes longer than counting: the data module has checked all labels.
        self.train_accuracy, self.val_accuracy, self.test_accuracy = (
            MulticlassAccuracy(num_classes, average="micro", validate_args=False) for _ in range(3)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Compute the logits of pixels in [0, 1]."""
        return self.network(x)  # type: ignore[no-any-return]

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:  # noqa: ARG002
        x, y = batch
        weight = self.penalty.weight_at(self.global_step, self._total_steps)
        if not weight:
            loss = self._loss(self(x), y, self.train_accuracy)
            objective = loss
        else:
            forward = ForwardPass.of(self.network, x)
            loss = self._loss(forward.logits, y, self.train_accuracy)
            generator = self.penalty.generator(self.trainer.fit_loop.total_batch_idx, x.device)
            penalty = self.penalty.at(forward, y, generator)
            self.train_penalty.update(penalty.detach(), len(y))
            objective = loss + weight * penalty
        self.train_loss.update(loss.detach(), len(y))
        self._objective = objective.detach()
        return objective

    def on_train_epoch_end(self) -> None:
        self.log_dict({"train/loss": self.train_loss, "train/accuracy": self.train_accuracy})
        if float(self.train_penalty.weight):  # it was computed in this epoch
            self.log("train/penalty", self.train_penalty)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:  # noqa: ARG002
        self._evaluate("val", batch, self.val_accuracy)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self._evaluate("test", batch, self.test_accuracy)
        if not isinstance(self.penalty, NoPenalty):
            x, y = batch
            with torch.inference_mode(False), torch.enable_grad():
                forward = ForwardPass.of(self.network, x.clone())
                penalty = self.penalty.at(forward, y.clone(), self.penalty.generator(batch_idx, x.device))
            self.test_penalty.update(penalty.detach(), len(y))
            self.log("test/penalty", self.test_penalty, on_step=False, on_epoch=True)

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:  # noqa: ARG002
        require_finite_step(self, self._objective)
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
        self.penalty.process, self.penalty.processes = self.trainer.global_rank, self.trainer.world_size
        self._total_steps = int(self.trainer.estimated_stepping_batches)
        try:
            optimizer = self.optimizer(self.network.parameters())
            scheduler = self.scheduler(optimizer, self._total_steps)
        except (ValueError, TypeError, LookupError, ArithmeticError) as error:
            raise UserError(f"The optimizer or its scheduler cannot be made: {error}") from error
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    @property
    def _epoch_so_far(self) -> dict[str, Metric]:
        """The metrics of the epoch in this process, with scalar states; they are logged at its end."""
        metrics = {"train_loss": self.train_loss, "train_accuracy": self.train_accuracy}
        return metrics | ({"train_penalty": self.train_penalty} if self.penalty.weight else {})

    def _of_all_processes(self, scalar: Any) -> Tensor:
        gathered = self.all_gather(scalar)
        assert isinstance(gathered, Tensor)
        return gathered.view(self.trainer.world_size)

    def _loss(self, logits: Tensor, y: Tensor, accuracy: MulticlassAccuracy) -> Tensor:
        accuracy.update(logits, y)
        return self.loss(logits, y)  # type: ignore[no-any-return]

    def _evaluate(self, stage: str, batch: Batch, accuracy: MulticlassAccuracy) -> None:
        x, y = batch
        loss = self._loss(self(x), y, accuracy)
        log = partial(self.log, on_step=False, on_epoch=True, prog_bar=True, batch_size=len(y))
        log(f"{stage}/loss", loss, sync_dist=True)
        log(f"{stage}/accuracy", accuracy)
