"""Watch the input-output Jacobian of a classifier while it trains."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.loggers import Logger, TensorBoardLogger
from pytorch_lightning.utilities import rank_zero_warn
from torch import Tensor

from jacoscope.callbacks.batches import first_element, inputs_of, require_input_gradient, second_element
from jacoscope.callbacks.dashboard import explanation, layout
from jacoscope.callbacks.loggers import log_histogram, log_image, log_scalars, log_text
from jacoscope.callbacks.measurement import Measurement, Model, measure, merge, nothing
from jacoscope.callbacks.probes import Probes
from jacoscope.callbacks.processes import from_all_processes
from jacoscope.callbacks.selection import StratifiedSelection, choose_evenly, dataset_indices, take
from jacoscope.callbacks.statistics import summarise, summarise_training
from jacoscope.callbacks.undisturbed import undisturbed
from jacoscope.errors import UserError
from jacoscope.visuals import class_maps_sheet

OUTPUTS = ("logits", "probs")
_TRAINING_BATCHES = 4


class JacobianCallback(Callback):
    """Log how the outputs of a classifier depend on its input pixels, on validation samples.

    Works in any LightningModule whose ``forward`` gives logits, under ``fit``, ``validate`` and ``test``, and
    disturbs nothing: training gives bitwise the same weights with it and without. What is logged is told on the
    page ``jacobian/how_to_read`` of TensorBoard's Text tab, and in docs/callback.md.

    Args:
        every_n_epochs: measure after the validation of every so many epochs.
        every_n_steps: measure after every so many optimizer steps instead, on the samples of the last validation
            (so from the first validation on).
        max_samples: validation samples that are measured, spread evenly over classes and batches.
        train_samples: training samples that are measured for comparison; 0 for none.
        images_every_n_epochs: draw pictures and histograms every so many epochs, and after the first and last;
            0 for none.
        probe_indices: validation samples that are drawn, by their index in the validation set; by default one of each
            class.
        outputs: whose Jacobians are logged: ``"logits"``, ``"probs"``.
        class_names: of the outputs; by default those of the datamodule, or numbers.
        max_classes: classes at most that have curves and maps of their own.
        dataloader_idx: which validation loader is measured where there are several.
        inputs_fn: takes the inputs out of a batch; by default its first element.
        labels_fn: takes the classes ``[batch]`` out of a batch; by default its second element, if that is such.
        forward_fn: from module and inputs to outputs; by default the module's ``forward``.
        output: takes the logits ``[batch, classes]`` out of what ``forward`` returns.

    Raises:
        UserError: for arguments that make no sense; and at the first batch, if batches have no inputs where they
            were looked for, or the outputs have no gradient with respect to them.

    >>> JacobianCallback(every_n_epochs=2).every_n_epochs
    2
    """

    def __init__(
        self,
        every_n_epochs: int = 1,
        every_n_steps: int | None = None,
        max_samples: int = 250,
        train_samples: int = 100,
        images_every_n_epochs: int = 5,
        probe_indices: Sequence[int] | None = None,
        outputs: Sequence[str] = OUTPUTS,
        class_names: Sequence[str] | None = None,
        max_classes: int = 10,
        dataloader_idx: int = 0,
        inputs_fn: Callable[[Any], Tensor] | None = None,
        labels_fn: Callable[[Any], Tensor] | None = None,
        forward_fn: Callable[[LightningModule, Tensor], Any] | None = None,
        output: Callable[[Any], Tensor] | None = None,
    ) -> None:
        positive = {"every_n_epochs": every_n_epochs, "every_n_steps": every_n_steps, "max_samples": max_samples}
        for name, value in positive.items():
            if value is not None and value < 1:
                raise UserError(f"JacobianCallback: {name}={value} is not allowed; it is 1 or more")
        if not outputs or set(outputs) - set(OUTPUTS):
            raise UserError(f"JacobianCallback: outputs={list(outputs)!r}; allowed are {list(OUTPUTS)}")
        self.every_n_epochs = every_n_epochs
        self.every_n_steps = every_n_steps
        self.max_samples = max_samples
        self.train_samples = train_samples
        self.images_every_n_epochs = images_every_n_epochs
        self.outputs = tuple(outputs)
        self.class_names = class_names
        self.max_classes = max_classes
        self.dataloader_idx = dataloader_idx
        self.inputs_fn = inputs_fn or first_element
        self.labels_fn = labels_fn or second_element
        self.forward_fn = forward_fn
        self.output: Any = output or "logits"
        self.probes = Probes(None if probe_indices is None else [int(index) for index in probe_indices], max_classes)
        self._selection: StratifiedSelection | None = None
        self._training: list[tuple[Tensor, Tensor]] = []
        self._indices: Iterator[int] | None = None
        self._position = 0
        self._pending = False
        self._checked = False
        self._introduced = False
        self._spent = 0.0
        self._since = time.perf_counter()
        self._last_step = -1

    # When: Lightning's hooks. Training samples are kept as they pass; all is measured when validation has seen its
    # last batch, but before its end, where weight averaging puts the raw weights back.

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        self._training = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        self._spent, self._since = 0.0, time.perf_counter()
        if not trainer.enable_validation:
            rank_zero_warn(
                "JacobianCallback measures validation samples, but this fit has no validation: it needs a validation "
                "loader, a validation_step and limit_val_batches above 0. Nothing will be logged"
            )

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:  # noqa: ARG002
        if not self._checked:
            with undisturbed(pl_module), self._timed():
                require_input_gradient(self._model(pl_module), inputs_of(batch, self.inputs_fn), self.output)
            self._checked = True

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,  # noqa: ARG002
        batch: Any,
        batch_idx: int,
    ) -> None:
        if self.train_samples > 0:
            with self._timed():
                self._keep_training_samples(trainer, batch, batch_idx)
        step = trainer.global_step
        if self.every_n_steps and step % self.every_n_steps == 0 and step != self._last_step:
            self._last_step = step
            if self._selection is not None:
                self._measure_and_log(trainer, pl_module, prefix="")

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        self._begin(trainer, trainer.val_dataloaders)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,  # noqa: ARG002
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        limits = trainer.num_sanity_val_batches if trainer.sanity_checking else trainer.num_val_batches
        self._see(trainer, pl_module, batch, batch_idx, dataloader_idx, limits, prefix="")

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._finish(trainer, pl_module, prefix="")

    def on_test_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        self._begin(trainer, trainer.test_dataloaders)

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,  # noqa: ARG002
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self._see(trainer, pl_module, batch, batch_idx, dataloader_idx, trainer.num_test_batches, prefix="test/")

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._finish(trainer, pl_module, prefix="test/")

    def state_dict(self) -> dict[str, Any]:
        return {"probes": self.probes.state_dict(), "introduced": self._introduced}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.probes.load_state_dict(state_dict["probes"])
        self._introduced = state_dict["introduced"]

    # Which samples.

    def _begin(self, trainer: Trainer, loaders: Any) -> None:
        epochs = trainer.current_epoch + 1
        last = epochs == trainer.max_epochs
        due = trainer.state.fn != "fit" or bool(self.every_n_steps) or epochs % self.every_n_epochs == 0 or last
        self._pending = due and not trainer.sanity_checking
        if not self._pending:
            return
        self._selection, self._position = StratifiedSelection(self.max_samples), 0
        several = list(loaders) if isinstance(loaders, (list, tuple)) else [loaders]
        if self.dataloader_idx >= len(several):
            raise UserError(
                f"JacobianCallback: dataloader_idx={self.dataloader_idx}, but there are {len(several)} loaders: 0 to "
                f"{len(several) - 1}"
            )
        self._indices = dataset_indices(several[self.dataloader_idx])

    def _see(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int,
        limits: Sequence[int | float],
        prefix: str,
    ) -> None:
        if not self._pending or dataloader_idx != self.dataloader_idx:
            return
        with self._timed():
            self._select(trainer, batch, prefix)
        if batch_idx + 1 == limits[dataloader_idx]:
            self._finish(trainer, pl_module, prefix)

    def _select(self, trainer: Trainer, batch: Any, prefix: str) -> None:
        assert self._selection is not None
        x = inputs_of(batch, self.inputs_fn)
        labels = self._labels(batch, len(x))
        indices = take(self._indices, len(x), self._position, trainer.global_rank, trainer.world_size)
        self._position += len(x)
        self._selection.update(x, labels, indices)
        if not prefix:
            self.probes.look_for(x, labels, indices)

    def _keep_training_samples(self, trainer: Trainer, batch: Any, batch_idx: int) -> None:
        batches = trainer.num_training_batches
        every = max(1, int(batches) // _TRAINING_BATCHES) if batches != float("inf") else 100
        if batch_idx % every:
            return
        x = inputs_of(batch, self.inputs_fn)
        count = -(-self.train_samples // (_TRAINING_BATCHES * trainer.world_size))
        self._training.append((x[:count].detach().clone(), self._labels(batch, len(x))[:count]))
        self._training = self._training[-_TRAINING_BATCHES:]

    def _labels(self, batch: Any, count: int) -> Tensor:
        labels = self.labels_fn(batch)
        if not isinstance(labels, Tensor) or labels.shape != (count,) or labels.is_floating_point():
            return torch.full((count,), -1)
        return labels.detach().cpu().long()

    # What.

    def _finish(self, trainer: Trainer, pl_module: LightningModule, prefix: str) -> None:
        if self._pending:
            self._pending = False
            self._measure_and_log(trainer, pl_module, prefix)

    def _measure_and_log(self, trainer: Trainer, pl_module: LightningModule, prefix: str) -> None:
        with undisturbed(pl_module), self._timed():
            measured = self._measure_selected(pl_module)
            training = self._measure_training(pl_module) if trainer.state.fn == "fit" else nothing()
            if not measured.values:
                return
            names = self._names(trainer, measured)
            scalars = summarise(measured, names, self.max_classes)
            scalars |= summarise_training(training, scalars) if training.values else {}
            scalars["jacobian/nonfinite"] = float(len(measured.broken))
            if measured.broken:
                rank_zero_warn(
                    f"The Jacobian is not finite at {len(measured.broken)} of "
                    f"{len(measured.broken) + len(measured.indices)} samples, left out here: indices "
                    f"{', '.join(map(str, measured.broken[:10]))}{' …' if len(measured.broken) > 10 else ''}"
                )
            drawn = not prefix and self._draws_now(trainer)
            if not prefix:
                self.probes.gather()
            if drawn and trainer.is_global_zero:
                self._draw(trainer, pl_module, measured, names)
            self._publish(trainer, pl_module, scalars, prefix)
        self._log(trainer, scalars, prefix)

    def _measure_selected(self, pl_module: LightningModule) -> Measurement:
        assert self._selection is not None
        selection = self._selection
        claims = from_all_processes((selection.labels, selection.indices))
        chosen = choose_evenly(
            torch.cat([labels for labels, _ in claims]), torch.cat([indices for _, indices in claims]), self.max_samples
        )
        rank = torch.distributed.get_rank() if len(claims) > 1 else 0
        before = sum(len(labels) for labels, _ in claims[:rank])
        mine = chosen[(chosen >= before) & (chosen < before + len(selection.indices))] - before
        part = nothing()
        if len(mine):
            assert selection.inputs is not None
            x = selection.inputs[mine.to(selection.inputs.device)]
            labels, indices = selection.labels[mine], selection.indices[mine]
            part = measure(self._model(pl_module), x, labels, indices, self.output, self.outputs)
        return merge(from_all_processes(part))

    def _measure_training(self, pl_module: LightningModule) -> Measurement:
        part = nothing()
        if self._training:
            x = torch.cat([x for x, _ in self._training])
            labels = torch.cat([labels for _, labels in self._training])
            part = measure(self._model(pl_module), x, labels, torch.arange(len(x)), self.output, self.outputs)
        return merge(from_all_processes(part))

    def _names(self, trainer: Trainer, measured: Measurement) -> list[str]:
        count = next(iter(measured.map_sums.values())).shape[0]
        known = self.class_names or getattr(getattr(trainer, "datamodule", None), "class_names", None) or ()
        if self.class_names is not None and len(known) != count:
            raise UserError(f"JacobianCallback: {len(known)} class_names were given, but there are {count} outputs")
        return [str(name) for name in known] if len(known) == count else [str(k) for k in range(count)]

    def _model(self, pl_module: LightningModule) -> Model:
        forward_fn = self.forward_fn
        return pl_module if forward_fn is None else lambda x: forward_fn(pl_module, x)

    # Where it goes.

    def _draws_now(self, trainer: Trainer) -> bool:
        if self.images_every_n_epochs < 1 or trainer.state.fn != "fit":
            return False
        epochs = trainer.current_epoch + 1
        return epochs in (1, trainer.max_epochs) or epochs % self.images_every_n_epochs == 0

    def _draw(self, trainer: Trainer, pl_module: LightningModule, measured: Measurement, names: list[str]) -> None:
        loggers, step, epochs = trainer.loggers, _step(trainer), trainer.current_epoch + 1
        if not any(_shows_pictures(logger) for logger in loggers):
            return
        for name, values in measured.values.items():
            finite = values[values.isfinite()]
            if len(finite):
                log_histogram(loggers, f"jacobian_distribution/{name}", finite, step)
        self.probes.record_spectra(epochs, {o: s.mean(0) for o, s in measured.spectra.items() if len(s)})
        for tag, picture in self.probes.draw(
            self._model(pl_module), pl_module.device, self.output, self.outputs, epochs, names
        ):
            log_image(loggers, tag, picture, step)
        for output, total in measured.map_sums.items():
            if total.ndim == 4 and len(measured.indices):
                picture = class_maps_sheet(total / len(measured.indices), names, output, self.max_classes)
                log_image(loggers, f"jacobian_maps/{output}/class_maps", picture, step)

    def _publish(self, trainer: Trainer, pl_module: LightningModule, scalars: dict[str, float], prefix: str) -> None:
        """Put the headline numbers where checkpoints, early stopping and the run's record find them."""
        if trainer.state.stage == "train":  # between validations, where self.log would mean a training metric
            return
        for name, value in scalars.items():
            if _is_headline(name):
                pl_module.log(
                    prefix + name,
                    value,
                    logger=False,
                    batch_size=1,
                    add_dataloader_idx=False,
                    sync_dist=trainer.world_size > 1,  # all ranks have the same value; this tells Lightning so
                )

    def _log(self, trainer: Trainer, scalars: dict[str, float], prefix: str) -> None:
        now = time.perf_counter()
        if trainer.state.fn == "fit":
            scalars["jacobian/seconds"] = self._spent
            scalars["jacobian/share_of_epoch"] = self._spent / (now - self._since)
        self._spent, self._since = 0.0, now
        if not trainer.loggers or not trainer.is_global_zero:
            return
        with self._timed():
            if not self._introduced:
                self._introduced = True
                self._introduce(trainer, scalars)
            if prefix:  # a single point: the headline numbers alone
                scalars = {prefix + name: value for name, value in scalars.items() if _is_headline(name)}
            log_scalars(trainer.loggers, scalars, _step(trainer))

    def _introduce(self, trainer: Trainer, scalars: Mapping[str, float]) -> None:
        log_text(trainer.loggers, "jacobian/how_to_read", explanation(self.max_samples))
        by_class = f"jacobian_by_class/{self.outputs[0]}/frobenius/"
        classes = [tag.removeprefix(by_class) for tag in scalars if tag.startswith(by_class)]
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_custom_scalars(layout(self.outputs, classes, self.max_classes))

    @contextmanager
    def _timed(self) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self._spent += time.perf_counter() - start


def _step(trainer: Trainer) -> int:
    """The step that Lightning itself logs validation metrics at."""
    return int(trainer.fit_loop.epoch_loop._batches_that_stepped)


def _is_headline(name: str) -> bool:
    return name.startswith("jacobian/") and name.endswith("/mean")


def _shows_pictures(logger: Logger) -> bool:
    return type(logger).__name__ != "CSVLogger"
