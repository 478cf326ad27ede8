"""Checkpoints of a training, and an exact resume from the last one."""

import os
import signal
import time
from pathlib import Path
from typing import Any

from jacoscope.checkpoints import read_checkpoint, write_checkpoint
from jacoscope.errors import UserError
from jacoscope.lightning import Checkpoint, CheckpointIO, LightningModule, ModelCheckpoint, Trainer, is_a
from jacoscope.signals import StopRequest
from jacoscope.training.divergence import require_finite_weights


class CheckpointFiles(CheckpointIO):
    """Plugin of a ``Trainer`` that writes checkpoints completely or not at all.

    It reads them as data: nothing in a file is run, whether a callback or ``fit(ckpt_path=…)`` asks for it.
    ``storage_options`` names a file in which the replaced checkpoint is kept.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        write_checkpoint(Path(path), checkpoint, previous=storage_options)

    def load_checkpoint(self, path: str | Path, *_: Any, **__: Any) -> dict[str, Any]:
        return read_checkpoint(Path(path))

    def remove_checkpoint(self, path: str | Path) -> None:
        Path(path).unlink(missing_ok=True)


class LastCheckpoint(Checkpoint):
    """Keep ``last.ckpt``, written between two batches, so that a resumed training has bitwise the same result.

    It is written before the first batch of every epoch, within an epoch after so many batches or minutes, and at the
    end. The checkpoint before it is kept as ``previous.ckpt``. After Ctrl-C, SIGTERM or SIGHUP (a closed terminal) the
    current batch or validation is finished, the checkpoint is written, and the process exits; a second Ctrl-C makes it
    exit at once. A second SIGTERM or SIGHUP changes nothing: what ends processes often sends several.

    Lightning can resume within an epoch, but its counters are right for that only in some hooks, in which the step is
    not logged yet. So the checkpoint is taken when a batch is about to begin, and its counters are set to their values
    between two batches.

    Args:
        dirpath: the folder.
        every_n_batches: batches between two checkpoints within an epoch, or None for no limit.
        every_n_minutes: minutes between two checkpoints within an epoch, or None for no limit.

    Raises:
        UserError: if a limit is not positive, the trainer has no :class:`CheckpointFiles` among its plugins, or weights
            to be saved are not finite.
    """

    def __init__(
        self, dirpath: str | Path, every_n_batches: int | None = None, every_n_minutes: float | None = 5.0
    ) -> None:
        for name, value in (("every_n_batches", every_n_batches), ("every_n_minutes", every_n_minutes)):
            if value is not None and value <= 0:
                raise UserError(f"LastCheckpoint: {name}={value} is not allowed; it is positive, or null")
        self.path = Path(dirpath) / "last.ckpt"
        self.previous = Path(dirpath) / "previous.ckpt"
        self.every_n_batches = every_n_batches
        self.every_n_minutes = every_n_minutes
        self._due = False
        self._saving = False
        self._finished = False
        self._just_validated = False
        self._last_saved = time.monotonic()
        self._stop = StopRequest()

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:  # noqa: ARG002
        if not isinstance(trainer.strategy.checkpoint_io, CheckpointFiles):
            raise UserError("LastCheckpoint needs CheckpointFiles among the trainer's plugins, to write files whole")

    # When to save.

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        self._last_saved = time.monotonic()
        self._stop.listen()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        self._due, self._just_validated = True, False

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        self._just_validated = True

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        self._just_validated = False
        if self.every_n_batches and trainer.fit_loop.total_batch_idx % self.every_n_batches == self.every_n_batches - 1:
            self._due = True

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:  # noqa: ARG002
        minutes = (time.monotonic() - self._last_saved) / 60
        by_clock = self.every_n_minutes is not None and minutes >= self.every_n_minutes
        # Each process has its own clock and gets its own signals.
        self._due |= _any_process(trainer, by_clock or self._stop.number is not None)
        if self._due and self._can_resume_here(trainer, batch_idx):
            self._save(trainer)
            self._stop_if_asked(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        self._finished = True
        self._save(trainer)
        self._stop_if_asked(trainer)
        self._stop.end()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:  # noqa: ARG002
        if self._stop.number is None:  # else Lightning restores them, when it is done
            self._stop.end()

    def _can_resume_here(self, trainer: Trainer, batch_idx: int) -> bool:
        """Whether Lightning would go on here with the next batch and nothing else.

        Otherwise it would repeat the validation before, begin to accumulate gradients in the middle, or, with
        ``max_steps``, take the start of an epoch for its end.
        """
        accumulating = batch_idx % trainer.accumulate_grad_batches != 0
        return not accumulating and not self._just_validated and (batch_idx > 0 or trainer.max_steps == -1)

    # What to save.

    def _save(self, trainer: Trainer) -> None:
        self._due = False
        if getattr(trainer, "fast_dev_run", False):
            return
        require_finite_weights(trainer.lightning_module)
        self._saving = True
        try:
            trainer.save_checkpoint(self.path, weights_only=False, storage_options=self.previous)
        finally:
            self._saving = False
        self._last_saved = time.monotonic()

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:  # noqa: ARG002
        if not self._saving:
            return
        checkpoint["go_on"] = {
            "logged": _sizes_of_event_files(trainer),
            "finished": self._finished,
            "max_epochs": trainer.max_epochs,
        }
        loops = checkpoint["loops"]["fit_loop"]
        if not self._finished:
            _set_between_batches(loops)
        if loops["epoch_loop.batch_progress"]["current"]["completed"] == 0 or self._finished:
            checkpoint["epoch"] = max(0, checkpoint["epoch"] - 1)  # the epoch in which the weights were trained

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:  # noqa: ARG002
        if trainer.state.fn == "fit" and "go_on" in checkpoint:
            _move_best_checkpoints(trainer, checkpoint["callbacks"])
            _truncate_event_files(trainer, checkpoint["go_on"]["logged"])
            is_longer = (trainer.max_epochs or 0) > checkpoint["go_on"].get("max_epochs", trainer.max_epochs)
            trainer.should_stop = checkpoint["go_on"]["finished"] and not is_longer  # also if it was stopped early

    def _stop_if_asked(self, trainer: Trainer) -> None:
        if _any_process(trainer, self._stop.number is not None):
            raise SystemExit(128 + (self._stop.number or signal.SIGTERM))


def _any_process(trainer: Trainer, value: bool) -> bool:
    """Whether ``value`` is true in any of the processes that train together."""
    return trainer.strategy.reduce_boolean_decision(value, all=False) if trainer.world_size > 1 else value


def _move_best_checkpoints(trainer: Trainer, states: dict[str, Any]) -> None:
    """Make ModelCheckpoint find the best checkpoints of a run that was moved or renamed.

    In a folder of another name it would forget which one was the best, and replace it by a worse one.
    """
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        state = states.get(callback.state_key)
        if not isinstance(callback, ModelCheckpoint) or not state or not state["dirpath"] or not callback.dirpath:
            continue
        old, new = Path(state["dirpath"]), Path(callback.dirpath)

        def moved(path: str, old: Path = old, new: Path = new) -> str:
            return str(new / Path(path).relative_to(old)) if path and Path(path).is_relative_to(old) else path

        if old != new and Path(moved(state["best_model_path"])).is_file():
            paths = ("best_model_path", "kth_best_model_path", "last_model_path")
            best = {moved(path): score for path, score in state["best_k_models"].items()}
            state.update({name: moved(state[name]) for name in paths}, best_k_models=best, dirpath=callback.dirpath)


def _set_between_batches(loops: dict[str, Any]) -> None:
    """Set Lightning's counters, taken when a batch has begun, to their values before that."""
    batches, epochs = loops["epoch_loop.batch_progress"], loops["epoch_progress"]
    for counter in (batches["total"], batches["current"]):
        counter["ready"] = counter["started"] = counter["processed"] = counter["completed"]
    batches["is_last_batch"] = False
    if batches["current"]["completed"] == 0:  # the epoch has not begun either
        for counter in (epochs["total"], epochs["current"]):
            counter["ready"] = counter["started"] = counter["processed"] = counter["completed"]


# TensorBoard's event files. A resumed run logs again what it logged after its last checkpoint. Therefore those points
# are cut off: otherwise they would be there twice or, if the run was killed before they reached the disk, be missing.


def _sizes_of_event_files(trainer: Trainer) -> dict[str, int]:
    """Write everything that was logged to the disk, and return the size of each event file by its name."""
    sizes = {}
    for logger in _tensorboard_loggers(trainer):
        logger.experiment.flush()
        for file in _event_files(logger):
            with file.open("rb") as events:
                os.fsync(events.fileno())
            sizes[file.name] = file.stat().st_size
    return sizes


def _truncate_event_files(trainer: Trainer, sizes: dict[str, int]) -> None:
    """Truncate event files to ``sizes``, and remove files that were begun later, except for the one of this process."""
    for logger in _tensorboard_loggers(trainer):
        logger.experiment.flush()  # makes sure that this process has begun its file
        files = _event_files(logger)
        # Names have the time of the start and the process id. Neither is enough: clocks are set back, ids are reused.
        own = max(files, key=lambda file: (f".{os.getpid()}." in file.name, file.name))
        for file in files:
            if file == own:
                continue
            size = sizes.get(file.name)
            if size is None:
                file.unlink()
            elif file.stat().st_size > size:
                os.truncate(file, size)


def _event_files(logger: Any) -> list[Path]:
    return list(Path(logger.log_dir).glob("events.out.tfevents.*"))


def _tensorboard_loggers(trainer: Trainer) -> list[Any]:
    return [logger for logger in trainer.loggers if trainer.is_global_zero and is_a(logger, "TensorBoardLogger")]
