"""Watch the input-output Jacobian of a classifier while it trains."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.utilities import rank_zero_warn
from pytorch_lightning.utilities.combined_loader import CombinedLoader
from torch import Tensor

from jacoscope.callbacks.album import Album
from jacoscope.callbacks.batches import BatchReader
from jacoscope.callbacks.cost import Cost
from jacoscope.callbacks.dashboard import explanation, layout
from jacoscope.callbacks.loggers import (
    log_histogram,
    log_image,
    log_layout,
    log_scalars,
    log_text,
    place_of,
    shows_pictures,
)
from jacoscope.callbacks.measurement import Measurement, measure
from jacoscope.callbacks.probes import Probes
from jacoscope.callbacks.samples import NO_SAMPLES, TrainingSamples, ValidationSamples
from jacoscope.callbacks.schedule import NEVER, Moment, at_end, final_weights, is_last, within_epoch
from jacoscope.callbacks.statistics import is_headline, summarise, summarise_training
from jacoscope.callbacks.undisturbed import undisturbed
from jacoscope.errors import UserError

OUTPUTS = ("logits", "probs")
STATE = 1  # of the callback, in checkpoints; raised when what is in there changes


class JacobianCallback(Callback):
    """Log how the outputs of a classifier depend on its input pixels, on validation samples.

    Works in any LightningModule whose ``forward`` gives logits, under ``fit``, ``validate`` and ``test``, and
    disturbs nothing: training gives bitwise the same weights with it and without. What is logged is told on the
    page ``jacobian/how_to_read`` of TensorBoard's Text tab, and in docs/callback.md.

    Args:
        every_n_epochs: measure at the first validation, at the next one whenever another so many epochs have passed,
            and at the end of the training.
        every_n_steps: measure after every so many optimizer steps too, on the samples of the last validation
            (so from the first validation on), and after every validation.
        max_samples: validation samples that are measured, spread evenly over classes and batches.
        train_samples: training samples that are measured for comparison; 0 for none. ``inputs_fn`` has to find them
            in training batches too; where it does not, a warning tells so.
        images_every_n_epochs: draw pictures and histograms in the same way; 0 for none.
        probe_indices: validation samples that are drawn, by their index in the validation set, 24 at most; by default
            one of each class.
        outputs: whose Jacobians are logged: ``"logits"``, ``"probs"``.
        class_names: of the outputs; by default those of the datamodule, or numbers. Where two share a name, their
            numbers tell them apart.
        max_classes: classes at most that have curves and maps of their own; maps, 12 at most.
        dataloader_idx: which validation loader is measured where there are several; in a validation or test outside
            the training that has fewer, the first.
        inputs_fn: takes the inputs out of a batch; by default its first element.
        labels_fn: takes the classes out of a batch, whole numbers ``[batch]`` or ``[batch, 1]``, or ``None`` for none;
            by default its second element.
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
        for name, value, least in (
            ("every_n_epochs", every_n_epochs, 1),
            ("every_n_steps", every_n_steps, 1),
            ("max_samples", max_samples, 1),
            ("max_classes", max_classes, 1),
            ("train_samples", train_samples, 0),
            ("images_every_n_epochs", images_every_n_epochs, 0),
            ("dataloader_idx", dataloader_idx, 0),
        ):
            if value is not None and value < least:
                raise UserError(f"JacobianCallback: {name}={value} is not allowed; it is {least} or more")
        if not outputs or set(outputs) - set(OUTPUTS):
            raise UserError(f"JacobianCallback: outputs={list(outputs)!r}; allowed are {list(OUTPUTS)}")
        self.every_n_epochs = every_n_epochs
        self.every_n_steps = every_n_steps
        self.max_samples = max_samples
        self.images_every_n_epochs = images_every_n_epochs
        self.outputs = tuple(outputs)
        self.class_names = class_names
        self.max_classes = max_classes
        self.dataloader_idx = dataloader_idx
        self.batches = BatchReader(inputs_fn, labels_fn, forward_fn, output)
        self.probe_indices = probe_indices
        self.probes = Probes(probe_indices, max_classes)
        self.album = Album(max_classes)
        self._training = TrainingSamples(train_samples)
        self._validation: ValidationSamples | None = None
        self._loader_idx = 0
        self._cost = Cost()
        self._is_due = False
        self._introduced_to: list[str] = []
        self._last_step = 0
        self._measured = self._drawn = NEVER

    # When: Lightning's hooks. Samples are kept as they pass; all is measured when validation has seen its last batch,
    # but before its end, where weight averaging puts the raw weights back.

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:  # noqa: ARG002
        if stage == "fit":  # perhaps not the first of this callback, and of other data
            self.probes, self.album = Probes(self.probe_indices, self.max_classes), Album(self.max_classes)
            self._training.clear()
            self.batches.is_checked = False
            self._validation, self._measured, self._drawn, self._last_step = None, NEVER, NEVER, 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        self._cost.restart()
        if not trainer.enable_validation:
            rank_zero_warn(
                "JacobianCallback measures validation samples, but this fit has no validation: it needs a validation "
                "loader, a validation_step and limit_val_batches above 0. Nothing will be logged"
            )

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        self._training.clear()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:  # noqa: ARG002
        if self.batches.is_checked or not self._training.count:
            return
        if self.batches.training_inputs(batch) is not None:
            self._check(pl_module, batch)

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,  # noqa: ARG002
        batch: Any,
        batch_idx: int,
    ) -> None:
        if self._training.wants(batch_idx, trainer.num_training_batches):
            with self._cost.counted():
                x = self.batches.training_inputs(batch)
                if x is not None:
                    self._training.see(x, trainer.world_size)
        step = trainer.global_step
        if self.every_n_steps and step % self.every_n_steps == 0 and step != self._last_step:
            self._last_step = step
            self._measure_and_log(trainer, pl_module, within_epoch(trainer))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        self._training.end_epoch()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # Stopped early, or between validations: what the end is measured at are the samples of the last validation.
        now = at_end(trainer)
        logs = now.step != self._measured.step
        draws = now.step != self._drawn.step and self._can_draw(trainer)
        if logs or draws:
            with final_weights(trainer, pl_module):
                self._measure_and_log(trainer, pl_module, now, draws, logs)

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        self._is_due = not trainer.sanity_checking and (trainer.state.fn != "fit" or self._measures_now(trainer))
        loaders = CombinedLoader(trainer.test_dataloaders if trainer.testing else trainer.val_dataloaders).flattened
        self._loader_idx = self._which_of(len(loaders), trainer)
        if self._is_due:
            loader = loaders[self._loader_idx]
            self._validation = ValidationSamples(self.max_samples, loader, trainer.global_rank, trainer.world_size)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,  # noqa: ARG002
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if dataloader_idx != self._loader_idx:
            return
        self._check(pl_module, batch)
        if not self._is_due or self._validation is None:
            return
        with self._cost.counted():
            x, labels = self.batches.samples(batch)
            indices = self._validation.see(x, labels)
            if self.images_every_n_epochs > 0 and not trainer.testing:
                self.probes.look_for(x, labels, indices)
        batches = trainer.num_test_batches if trainer.testing else trainer.num_val_batches
        if batch_idx + 1 == batches[dataloader_idx]:
            self.on_validation_epoch_end(trainer, pl_module)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._is_due:
            self._is_due = False
            self._measure_and_log(trainer, pl_module, within_epoch(trainer), self._draws_now(trainer))
            if trainer.state.fn == "fit":
                self._measured = within_epoch(trainer)
        if trainer.state.fn == "fit" and not trainer.sanity_checking and trainer.is_last_batch:
            self._training.end_epoch()

    # A test is measured as a validation is.
    on_test_epoch_start = on_validation_epoch_start
    on_test_batch_end = on_validation_batch_end
    on_test_epoch_end = on_validation_epoch_end

    def state_dict(self) -> dict[str, Any]:
        return {
            "format": STATE,
            "probes": self.probes.state_dict(),
            "album": self.album.state_dict(),
            "introduced_to": self._introduced_to,
            "training": self._training.state_dict(),
            "last_step": self._last_step,
            "measured": tuple(self._measured),
            "drawn": tuple(self._drawn),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if state_dict.get("format") != STATE:
            rank_zero_warn(
                "JacobianCallback: the checkpoint was written by another version of jacoscope. The training goes on "
                "with its weights; the callback's probes, and the maps of earlier epochs, begin anew"
            )
            return
        self.probes.load_state_dict(state_dict["probes"])
        self.album.load_state_dict(state_dict["album"])
        self._introduced_to = list(state_dict["introduced_to"])
        self._training.load_state_dict(state_dict["training"])
        self._last_step = state_dict["last_step"]
        self._measured, self._drawn = Moment(*state_dict["measured"]), Moment(*state_dict["drawn"])

    def _measures_now(self, trainer: Trainer) -> bool:
        epochs = trainer.current_epoch + 1
        in_turn = self._measured.is_long_ago(epochs, self.every_n_epochs) or self._measured.epochs == epochs
        return in_turn or is_last(trainer) or bool(self.every_n_steps)

    def _draws_now(self, trainer: Trainer) -> bool:
        if trainer.state.fn != "fit" or not self._can_draw(trainer):
            return False
        return self._drawn.is_long_ago(trainer.current_epoch + 1, self.images_every_n_epochs) or is_last(trainer)

    def _can_draw(self, trainer: Trainer) -> bool:
        return self.images_every_n_epochs > 0 and any(map(shows_pictures, trainer.loggers))

    # What.

    def _which_of(self, count: int, trainer: Trainer) -> int:
        if self.dataloader_idx < count:
            return self.dataloader_idx
        message = (
            f"JacobianCallback: dataloader_idx={self.dataloader_idx}, but there are {count} loaders: 0 to {count - 1}"
        )
        if trainer.state.fn == "fit":
            raise UserError(message)
        rank_zero_warn(f"{message}. Measured is 0")  # a test need not have as many as the training had
        return 0

    def _check(self, pl_module: LightningModule, batch: Any) -> None:
        if not self.batches.is_checked:
            with undisturbed(pl_module), self._cost.counted():
                self.batches.check(pl_module, batch)

    def _measure_and_log(
        self, trainer: Trainer, pl_module: LightningModule, now: Moment, draws: bool = False, logs: bool = True
    ) -> None:
        if self._validation is None:
            return
        with undisturbed(pl_module), self._cost.counted():
            model = self.batches.model(pl_module)
            in_training = self._training.all() if trainer.state.fn == "fit" else NO_SAMPLES
            measured = measure(model, self._validation.own_share(), self.batches.output, self.outputs)
            trained_on = measure(model, in_training, self.batches.output, self.outputs)
            if not measured.values:
                return
            names = self._names(trainer, measured.classes)
            scalars = summarise(measured, names, self.max_classes)
            scalars |= summarise_training(trained_on, scalars)
            _warn_of_broken(measured, trained_on)
            if self.images_every_n_epochs > 0 and not trainer.testing:
                self.probes.gather()
            if draws:
                self._draw(trainer, pl_module, measured, names, now)
        if logs:
            self._log(trainer, pl_module, scalars, now)

    def _names(self, trainer: Trainer, count: int) -> list[str]:
        known = self.class_names or getattr(getattr(trainer, "datamodule", None), "class_names", None) or ()
        if self.class_names is not None and len(known) != count:
            raise UserError(f"JacobianCallback: {len(known)} class_names were given, but there are {count} outputs")
        if len(known) != count:
            return [str(k) for k in range(count)]
        often = Counter(map(str, known))
        return [f"{name} ({k})" if often[str(name)] > 1 else str(name) for k, name in enumerate(known)]

    # Where it goes.

    def _draw(
        self, trainer: Trainer, pl_module: LightningModule, measured: Measurement, names: list[str], now: Moment
    ) -> None:
        self._drawn = now
        if not trainer.is_global_zero:
            return
        loggers = [logger for logger in trainer.loggers if shows_pictures(logger)]
        for name, values in measured.values.items():
            if len(finite := values[values.isfinite()]):
                log_histogram(loggers, f"jacobian_distribution/{name}", finite, now.step)
        portrait = self.probes.portrait(
            self.batches.model(pl_module), pl_module.device, self.batches.output, self.outputs
        )
        for tag, picture in self.album.pictures(now.epochs, measured, portrait, names):
            log_image(loggers, tag, picture, now.step)

    def _log(self, trainer: Trainer, pl_module: LightningModule, scalars: dict[str, float], now: Moment) -> None:
        prefix = "test/" if trainer.testing else ""
        headlines = {prefix + name: value for name, value in scalars.items() if is_headline(name)}
        if trainer.evaluating:  # where checkpoints, early stopping and the run's record find them
            everywhere = trainer.world_size > 1  # all ranks have the same values; this tells Lightning so
            pl_module.log_dict(headlines, logger=False, batch_size=1, add_dataloader_idx=False, sync_dist=everywhere)
        elif now == at_end(trainer):  # where a module cannot log any more
            trainer.callback_metrics.update({name: torch.tensor(value) for name, value in headlines.items()})
        if trainer.testing:  # a single point: all else would be curves of one point each
            scalars = headlines
        elif trainer.state.fn == "fit":
            scalars["jacobian/seconds"], scalars["jacobian/share_of_epoch"] = self._cost.lap()
        if trainer.loggers and trainer.is_global_zero:
            with self._cost.counted():
                self._introduce(trainer, scalars)
                log_scalars(trainer.loggers, scalars, now.step)

    def _introduce(self, trainer: Trainer, tags: Iterable[str]) -> None:
        if trainer.testing:
            return
        # A resumed run may log to another place than before.
        loggers = [logger for logger in trainer.loggers if place_of(logger) not in self._introduced_to]
        self._introduced_to.extend(map(place_of, loggers))
        log_text(loggers, "jacobian/how_to_read", explanation(self.max_samples))
        log_layout(loggers, layout(self.outputs, list(tags)))


def _warn_of_broken(measured: Measurement, trained_on: Measurement) -> None:
    broken = measured.broken
    if broken:
        rank_zero_warn(
            f"The Jacobian is not finite at {len(broken)} of {len(broken) + len(measured.indices)} samples, left out "
            f"here: indices {', '.join(map(str, broken[:10]))}{' …' if len(broken) > 10 else ''}"
        )
    if trained_on.broken:  # their indices are known to the sampler alone
        count = len(trained_on.broken)
        rank_zero_warn(
            f"The Jacobian is not finite at {count} of {count + len(trained_on.indices)} training samples, left out"
        )
