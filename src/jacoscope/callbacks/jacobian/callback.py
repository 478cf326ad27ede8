"""Measure the input-output Jacobian of a classifier while it trains: Lightning's hooks, and what happens in each."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from jacoscope.callbacks.jacobian.arguments import (
    OUTPUTS,
    check_arguments,
    explained,
    loader_to_measure,
    names_of_outputs,
    warn_without_validation,
)
from jacoscope.callbacks.jacobian.batch_reader import BatchReader
from jacoscope.callbacks.jacobian.dashboard import explanation, layout
from jacoscope.callbacks.jacobian.measuring import (
    Differentiator,
    Measurement,
    is_headline,
    measure,
    summarise,
    summarise_training,
    warn_of_not_finite,
)
from jacoscope.callbacks.jacobian.pictures import Album, Probes, log_to_tab
from jacoscope.callbacks.jacobian.sampling import NO_SAMPLES, TrainingSamples, ValidationSamples
from jacoscope.callbacks.jacobian.sinks import Sink, say_what_is_left_out, sinks_of
from jacoscope.callbacks.jacobian.timing import (
    Progress,
    Stopwatch,
    Validation,
    final_weights,
    is_due,
    is_last_validation,
    logged_step,
)
from jacoscope.jacobians import DEFINITION
from jacoscope.lightning import Callback, CombinedLoader, LightningModule, Trainer, rank_zero_warn

FORMAT = 2  # of the state in checkpoints; raised when what is in there changes


class JacobianCallback(Callback):
    """Log how the outputs of a classifier depend on its input pixels, on validation samples.

    Works in any LightningModule whose ``forward`` returns logits, under ``fit``, ``validate`` and ``test``, and
    disturbs nothing: training gives bitwise the same weights with it and without. What is logged is explained on the
    page ``jacobian/how_to_read`` of TensorBoard's Text tab, and in docs/callback.md.

    Args:
        every_n_epochs: measure at the first validation, then at the next validation whenever this many more epochs
            are done, and at the end of the training.
        every_n_steps: also measure whenever this many more optimizer steps are done, on the samples of the last
            validation (so from the first validation on), and at every validation.
        max_samples: validation samples that are measured, spread evenly over classes and batches.
        train_samples: training samples that are measured for comparison; 0 for none. ``inputs_fn`` must find them
            in training batches too; if it does not, a warning says so.
        images_every_n_epochs: draw pictures and histograms in the same way; 0 for none.
        tab: whether Jacobians of the drawn samples are logged at each measurement, for TensorBoard's tab "Jacobians".
        probe_indices: validation samples that are drawn, by their index in the validation set; by default one of each
            class.
        outputs: whose Jacobians are logged: ``"logits"``, ``"probs"``.
        strategy: how Jacobians are computed, as :func:`jacoscope.jacobian` takes it. The default is
            ``torch.func.vmap`` of ``torch.func.jacrev``; for a module that these cannot differentiate it becomes
            ``"auto"``, and the log at level debug says why.
        class_names: of the outputs; by default those of the datamodule, or numbers. If two have the same name, their
            numbers are added to it.
        max_classes: largest number of classes that have curves and maps of their own.
        max_probes: largest number of samples that are drawn.
        max_maps: largest number of classes whose maps are drawn.
        dataloader_idx: which validation loader is measured if there are several. If a validation or test outside of a
            training has fewer loaders, the first is measured.
        inputs_fn: takes the inputs out of a batch; by default its first element.
        labels_fn: takes the classes out of a batch, whole numbers ``[batch]`` or ``[batch, 1]``, or ``None`` for none;
            by default its second element.
        forward_fn: from module and inputs to outputs; by default the module's ``forward``.
        output: takes the logits ``[batch, classes]`` out of what ``forward`` returns.
        name: of this callback where a trainer has several, such as one for each of two validation loaders; its tags
            then begin with it, ``NAME/jacobian/…``, and checkpoints hold its state under it.

    Raises:
        UserError: if an argument is not allowed; at the first batch, if no inputs are found in it, or the outputs have
            no gradient with respect to them.

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
        tab: bool = True,
        probe_indices: Sequence[int] | None = None,
        outputs: Sequence[str] = OUTPUTS,
        strategy: str = DEFINITION,
        class_names: Sequence[str] | None = None,
        max_classes: int = 10,
        max_probes: int = 24,
        max_maps: int = 12,
        dataloader_idx: int = 0,
        inputs_fn: Callable[[Any], Tensor] | None = None,
        labels_fn: Callable[[Any], Tensor] | None = None,
        forward_fn: Callable[[LightningModule, Tensor], Any] | None = None,
        output: Callable[[Any], Tensor] | None = None,
        name: str | None = None,
    ) -> None:
        counts = {
            "every_n_epochs": every_n_epochs,
            "every_n_steps": every_n_steps,
            "max_samples": max_samples,
            "max_classes": max_classes,
            "max_probes": max_probes,
            "max_maps": max_maps,
            "train_samples": train_samples,
            "images_every_n_epochs": images_every_n_epochs,
            "dataloader_idx": dataloader_idx,
        }
        check_arguments(counts, probe_indices, outputs, strategy, name)
        self.name = name
        self.prefix = f"{name}/" if name else ""
        """What all tags begin with."""
        self.tags: list[str] = []
        """Of the scalars that were logged first, without the prefix: those that the layout shows."""
        self.every_n_epochs = every_n_epochs
        self.every_n_steps = every_n_steps
        self.max_samples = max_samples
        self.images_every_n_epochs = images_every_n_epochs
        self.tab = tab
        self.has_probes = tab or images_every_n_epochs > 0
        self.outputs = tuple(outputs)
        self.class_names = class_names
        self.max_classes = max_classes
        self.dataloader_idx = dataloader_idx
        self.reader = BatchReader(inputs_fn, labels_fn)
        self.differentiate = Differentiator(forward_fn, output, strategy)
        self.probe_indices = probe_indices
        self.max_probes = max_probes
        self.max_maps = max_maps
        self.probes, self.album = self._new_pictures()
        self.training = TrainingSamples(train_samples)
        self.progress = Progress()
        self.validation = Validation()
        self.cost = Stopwatch()

    @property
    def state_key(self) -> str:
        """The key of the state in checkpoints; no two callbacks of a trainer may have the same."""
        return super().state_key if self.name is None else f"{super().state_key}[name={self.name}]"

    # Lightning's hooks. Samples are kept as they pass; all is measured when validation has seen its last batch, but
    # before its end, where weight averaging puts the raw weights back.

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:  # noqa: ARG002
        if stage == "fit":  # perhaps not the first of this callback, and of other data
            self.probes, self.album = self._new_pictures()
            self.progress, self.validation = Progress(introduced_to=self.progress.introduced_to), Validation()
            self.training.clear()
            self.differentiate.is_checked = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        self.cost.restart()
        warn_without_validation(trainer)
        if trainer.enable_validation and self.images_every_n_epochs > 0:
            say_what_is_left_out(sinks_of(trainer.loggers))

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        self.training.clear()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:  # noqa: ARG002
        if self.training.count and not self.differentiate.is_checked:
            x = self.reader.training_inputs(batch)
            if x is not None:
                self._check(pl_module, x)

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,  # noqa: ARG002
        batch: Any,
        batch_idx: int,
    ) -> None:
        if self.training.wants(batch_idx, trainer.num_training_batches):
            with self.cost.running():
                x = self.reader.training_inputs(batch)
                if x is not None:
                    self.training.add(x, trainer.world_size)
        step = trainer.global_step
        if self.every_n_steps and step % self.every_n_steps == 0 and step != self.progress.optimizer_step:
            self.progress.optimizer_step = step
            self._measure_and_log(trainer, pl_module, trainer.current_epoch + 1, logged_step(trainer))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        self.training.end_epoch()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # If it was stopped early or between validations, the end is measured on the samples of the last validation.
        step = logged_step(trainer) - 1  # that of a validation after the last batch
        logs = step != self.progress.measured_step
        draws = step != self.progress.drawn_step and self._can_draw(trainer)
        if logs or draws:
            with final_weights(trainer, pl_module):
                scalars = self._measure_and_log(trainer, pl_module, trainer.current_epoch, step, draws, logs)
            if logs:  # a module cannot log here any more
                headlines = {self.prefix + tag: torch.tensor(v) for tag, v in scalars.items() if is_headline(tag)}
                trainer.callback_metrics.update(headlines)

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        validation = self.validation
        validation.is_measuring = not trainer.sanity_checking and self._measures_now(trainer)
        loaders = CombinedLoader(trainer.test_dataloaders if trainer.testing else trainer.val_dataloaders).flattened
        validation.loader_idx = loader_to_measure(self.dataloader_idx, len(loaders), trainer)
        if validation.is_measuring:
            loader = loaders[validation.loader_idx]
            validation.samples = ValidationSamples(self.max_samples, loader, trainer.global_rank, trainer.world_size)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,  # noqa: ARG002
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if dataloader_idx != self.validation.loader_idx:
            return
        if not self.differentiate.is_checked:
            self._check(pl_module, self.reader.inputs(batch))
        if not self.validation.is_measuring or self.validation.samples is None:
            return
        with self.cost.running():
            x, labels = self.reader.samples(batch)
            indices = self.validation.samples.add(x, labels)
            if self.has_probes and not trainer.testing:
                self.probes.add_from(x, labels, indices)
        batches = trainer.num_test_batches if trainer.testing else trainer.num_val_batches
        if batch_idx + 1 == batches[dataloader_idx]:
            self._finish_validation(trainer, pl_module)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.validation.is_measuring:  # a stream whose last batch was not known to be the last
            self._finish_validation(trainer, pl_module)
        if trainer.state.fn == "fit" and not trainer.sanity_checking and trainer.is_last_batch:
            self.training.end_epoch()

    # A test is measured as a validation is.
    on_test_epoch_start = on_validation_epoch_start
    on_test_batch_end = on_validation_batch_end
    on_test_epoch_end = on_validation_epoch_end

    def state_dict(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "probes": self.probes.state_dict(),
            "album": self.album.state_dict(),
            "training": self.training.state_dict(),
            "progress": self.progress.state_dict(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if state_dict.get("format") != FORMAT:
            rank_zero_warn(
                "JacobianCallback: the checkpoint was written by another version of jacoscope. The training goes on "
                "with its weights; the callback has lost its probes and the maps of earlier epochs"
            )
            return
        self.probes.load_state_dict(state_dict["probes"])
        self.album.load_state_dict(state_dict["album"])
        self.training.load_state_dict(state_dict["training"])
        self.progress = Progress(**state_dict["progress"])

    # When.

    def _new_pictures(self) -> tuple[Probes, Album]:
        probes = Probes(self.probe_indices, self.max_classes, self.max_probes)
        return probes, Album(min(self.max_classes, self.max_maps))

    def _measures_now(self, trainer: Trainer) -> bool:
        if trainer.state.fn != "fit" or self.every_n_steps:
            return True
        epochs, last = trainer.current_epoch + 1, self.progress.measured_epochs
        return is_due(epochs, self.every_n_epochs, last) or last == epochs or is_last_validation(trainer)

    def _draws_now(self, trainer: Trainer) -> bool:
        if trainer.state.fn != "fit" or not self._can_draw(trainer):
            return False
        epochs = trainer.current_epoch + 1
        return is_due(epochs, self.images_every_n_epochs, self.progress.drawn_epochs) or is_last_validation(trainer)

    def _can_draw(self, trainer: Trainer) -> bool:
        return self.images_every_n_epochs > 0 and any(sink.takes_pictures for sink in sinks_of(trainer.loggers))

    def _finish_validation(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure the samples of a validation, once."""
        self.validation.is_measuring = False
        epochs, step = trainer.current_epoch + 1, logged_step(trainer)
        self._measure_and_log(trainer, pl_module, epochs, step, self._draws_now(trainer))
        if trainer.state.fn == "fit":
            self.progress.measured_epochs, self.progress.measured_step = epochs, step

    def _check(self, pl_module: LightningModule, x: Tensor) -> None:
        with self.cost.running(), explained():
            self.differentiate.check(pl_module, x)

    def _measure_and_log(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        epochs: int,
        step: int,
        draws: bool = False,
        logs: bool = True,
    ) -> dict[str, float]:
        """Measure, draw and log; return the scalars."""
        if self.validation.samples is None:
            return {}
        with self.cost.running():
            in_training = self.training.all() if trainer.state.fn == "fit" else NO_SAMPLES
            measured = measure(pl_module, self.validation.samples.own_share(), self.differentiate, self.outputs)
            trained_on = measure(pl_module, in_training, self.differentiate, self.outputs)
            if not measured.values:
                return {}
            names = names_of_outputs(self.class_names, trainer, measured.classes)
            scalars = summarise(measured, names, self.max_classes)
            scalars |= summarise_training(trained_on, scalars)
            warn_of_not_finite(measured, trained_on)
            if self.has_probes and not trainer.testing:
                self.probes.gather()
            if draws:
                self.progress.drawn_epochs, self.progress.drawn_step = epochs, step
            if trainer.is_global_zero:
                self._show_probes(trainer, pl_module, measured, names, epochs, step, draws, logs)
        if logs:
            self._log(trainer, pl_module, scalars, step)
        return scalars

    # Where it goes.

    def _show_probes(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        measured: Measurement,
        names: list[str],
        epochs: int,
        step: int,
        draws: bool,
        logs: bool,
    ) -> None:
        """Log the probes to the tab and draw the pictures, as far as either is due."""
        sinks = sinks_of(trainer.loggers)
        with_tab = [sink for sink in sinks if sink.has_tab] if self.tab and logs and trainer.state.fn == "fit" else []
        if not draws and not with_tab:
            return
        portrait = self.probes.portrait(pl_module, self.differentiate, self.outputs)
        if portrait is not None:
            log_to_tab(with_tab, portrait, names, self.max_maps, self.prefix, step)
        if draws:
            self.album.log(sinks, epochs, measured, portrait, names, step, self.prefix)

    def _log(self, trainer: Trainer, pl_module: LightningModule, scalars: dict[str, float], step: int) -> None:
        stage = "test/" if trainer.testing else ""
        headlines = {stage + self.prefix + tag: value for tag, value in scalars.items() if is_headline(tag)}
        if trainer.evaluating:  # where checkpoints, early stopping and the run's record find them
            everywhere = trainer.world_size > 1  # all ranks have the same values; this tells Lightning so
            pl_module.log_dict(headlines, logger=False, batch_size=1, add_dataloader_idx=False, sync_dist=everywhere)
        if trainer.state.fn == "fit":
            scalars["jacobian-about/seconds"], scalars["jacobian-about/share_of_epoch"] = self.cost.lap()
        if trainer.loggers and trainer.is_global_zero:
            with self.cost.running():
                sinks = sinks_of(trainer.loggers)
                if not trainer.testing:
                    self._introduce(sinks, trainer, list(scalars))
                # Of a test, a single point: all else would be curves of one point each.
                logged = headlines if trainer.testing else {self.prefix + tag: v for tag, v in scalars.items()}
                for sink in sinks:
                    sink.log_scalars(logged, step)

    def _introduce(self, sinks: Sequence[Sink], trainer: Trainer, tags: Sequence[str]) -> None:
        """Explain the tags once wherever something is logged; a resumed run may log to another place than before."""
        sinks = [sink for sink in sinks if sink.place not in self.progress.introduced_to]
        if not sinks:
            return
        self.progress.introduced_to.extend(sink.place for sink in sinks)
        self.tags = list(tags)
        # TensorBoard shows the last layout of a run, so that of each callback has those of the others too.
        charts: dict[str, dict[str, Any]] = {}
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, JacobianCallback) and callback.tags:
                charts |= layout(callback.outputs, callback.tags, callback.prefix)
        page = explanation(self.max_samples, self.differentiate.strategy, self.prefix)
        for sink in sinks:
            sink.log_text(f"{self.prefix}jacobian/how_to_read", page)
            sink.log_layout(charts)
