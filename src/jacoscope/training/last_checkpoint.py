"""A checkpoint from which a training goes on as if it had never stopped."""

import os
import signal
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint, ModelCheckpoint

from jacoscope.errors import UserError
from jacoscope.training.checkpoint_files import CheckpointFiles
from jacoscope.training.divergence import require_finite_weights
from jacoscope.training.event_files import cut_back, logged_so_far

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class LastCheckpoint(Checkpoint):
    """Keep ``last.ckpt``: written between two batches, so that the training can go on there, bitwise.

    Written before the first batch of every epoch, within an epoch every so many steps or minutes, and at the end. The
    one before it stays as ``previous.ckpt``. Ctrl-C and SIGTERM ask for an orderly stop: the batch (or the validation)
    that is under way is finished, the checkpoint is written, and the process leaves; asked a second time, it leaves
    at once.

    Lightning can go on within an epoch, but its counters say so only in some of its hooks, and in those the step is
    not logged yet. Here the checkpoint is taken when a batch is about to begin, and its counters are set to what they
    are between two batches.

    Args:
        dirpath: the folder.
        every_n_batches: batches between two checkpoints within an epoch; ``None`` for no such limit.
        every_n_minutes: minutes between two checkpoints within an epoch; ``None`` for no such limit.

    Raises:
        UserError: for a limit that is not positive, or a trainer without
            :class:`~jacoscope.training.CheckpointFiles`; and instead of writing weights that are NaN or infinite.
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
        self._saved_at = time.monotonic()
        self._asked_to_stop: int | None = None
        self._handlers: dict[int, Any] = {}

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:  # noqa: ARG002
        if not isinstance(trainer.strategy.checkpoint_io, CheckpointFiles):
            raise UserError("LastCheckpoint needs CheckpointFiles among the trainer's plugins, to write files whole")

    # When.

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        self._saved_at = time.monotonic()
        self._listen()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        self._due, self._just_validated = True, False

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        self._just_validated = True

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        self._just_validated = False
        if self.every_n_batches and trainer.fit_loop.total_batch_idx % self.every_n_batches == self.every_n_batches - 1:
            self._due = True

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:  # noqa: ARG002
        minutes = (time.monotonic() - self._saved_at) / 60
        by_clock = self.every_n_minutes is not None and minutes >= self.every_n_minutes
        # Clocks and signals are each process's own.
        self._due |= _agreed(trainer, by_clock or self._asked_to_stop is not None)
        if self._due and self._can_go_on_here(trainer, batch_idx):
            self._save(trainer)
            self._stop_if_asked(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        self._finished = True
        self._save(trainer)
        self._stop_if_asked(trainer)
        self._stop_listening()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:  # noqa: ARG002
        self._stop_listening()

    def _can_go_on_here(self, trainer: Trainer, batch_idx: int) -> bool:
        """Tell whether Lightning would go on here with the next batch and nothing else.

        It would validate again what was just validated, begin a sum of gradients in its middle, and where
        ``max_steps`` is set, take a start of an epoch for its end.
        """
        summing = batch_idx % trainer.accumulate_grad_batches != 0
        return not summing and not self._just_validated and (batch_idx > 0 or trainer.max_steps == -1)

    # What.

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
        self._saved_at = time.monotonic()

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:  # noqa: ARG002
        if not self._saving:
            return
        checkpoint["go_on"] = {"logged": logged_so_far(trainer), "finished": self._finished}
        loops = checkpoint["loops"]["fit_loop"]
        if not self._finished:
            _between_batches(loops)
        if loops["epoch_loop.batch_progress"]["current"]["completed"] == 0 or self._finished:
            checkpoint["epoch"] = max(0, checkpoint["epoch"] - 1)  # the one that the weights come from

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:  # noqa: ARG002
        if trainer.state.fn == "fit" and "go_on" in checkpoint:
            _find_the_best_where_they_are(trainer, checkpoint["callbacks"])
            cut_back(trainer, checkpoint["go_on"]["logged"])
            trainer.should_stop = checkpoint["go_on"]["finished"]  # also where it was stopped early

    # Signals.

    def _listen(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        for number in _SIGNALS:
            if (handler := signal.getsignal(number)) is not signal.SIG_IGN:
                self._handlers[number] = handler
                signal.signal(number, self._ask_to_stop)

    def _ask_to_stop(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        self._asked_to_stop = number
        self._stop_listening()
        # Not print: it may be what the signal has interrupted.
        os.write(2, b"\nStopping as soon as a checkpoint is written. Ctrl-C again stops at once.\n")

    def _stop_if_asked(self, trainer: Trainer) -> None:
        if _agreed(trainer, self._asked_to_stop is not None):
            self._stop_listening()
            raise SystemExit(128 + (self._asked_to_stop or signal.SIGTERM))

    def _stop_listening(self) -> None:
        while self._handlers:
            signal.signal(*self._handlers.popitem())


def _agreed(trainer: Trainer, wish: bool) -> bool:
    """Tell all processes whether any of them wishes it."""
    return trainer.strategy.reduce_boolean_decision(wish, all=False) if trainer.world_size > 1 else wish


def _find_the_best_where_they_are(trainer: Trainer, states: dict[str, Any]) -> None:
    """Let callbacks that keep the best checkpoints find them where a run has been moved to.

    Lightning's own forgets which was the best, and how good, when its folder has another name, and would put a worse
    one in its place.
    """
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        state = states.get(callback.state_key)
        if not isinstance(callback, ModelCheckpoint) or not state or not state["dirpath"] or not callback.dirpath:
            continue
        then, now = Path(state["dirpath"]), Path(callback.dirpath)

        def here(path: str, then: Path = then, now: Path = now) -> str:
            return str(now / Path(path).relative_to(then)) if path and Path(path).is_relative_to(then) else path

        if then != now and Path(here(state["best_model_path"])).is_file():
            paths = ("best_model_path", "kth_best_model_path", "last_model_path")
            best = {here(path): score for path, score in state["best_k_models"].items()}
            state.update({name: here(state[name]) for name in paths}, best_k_models=best, dirpath=callback.dirpath)


def _between_batches(loops: dict[str, Any]) -> None:
    """Set Lightning's counters, taken when a batch has begun, to what they are before that."""
    batches, epochs = loops["epoch_loop.batch_progress"], loops["epoch_progress"]
    for counter in (batches["total"], batches["current"]):
        counter["ready"] = counter["started"] = counter["processed"] = counter["completed"]
    batches["is_last_batch"] = False
    if batches["current"]["completed"] == 0:  # nor has the epoch begun
        for counter in (epochs["total"], epochs["current"]):
            counter["ready"] = counter["started"] = counter["processed"] = counter["completed"]
