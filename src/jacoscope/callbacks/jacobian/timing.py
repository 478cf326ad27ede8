"""When to measure and to draw, at which step that is logged, and how long it takes."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from jacoscope.callbacks.jacobian.sampling import ValidationSamples
from jacoscope.lightning import LightningModule, Trainer, is_a


@dataclass
class Progress:
    """How far the callback is in a training."""

    measured_epochs: int | None = None
    """Epochs that were done at the last measurement."""
    measured_step: int = -1
    """Step of the last measurement of a validation."""
    drawn_epochs: int | None = None
    """Epochs that were done when pictures were last drawn."""
    drawn_step: int = -1
    optimizer_step: int = 0
    """Step of the last measurement that was due by ``every_n_steps``."""
    introduced_to: list[str] = field(default_factory=list)
    """Where the page and the layout are written already."""

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs."""
        return dict(vars(self))


@dataclass
class Validation:
    """The validation that runs, or that ran last."""

    loader_idx: int = 0
    """Which of its loaders is measured."""
    is_measuring: bool = False
    """Whether it is to be measured, and has not been yet."""
    samples: ValidationSamples | None = None
    """What is measured; of an earlier validation, if this one is not."""


def is_due(epochs: int, every: int, last: int | None) -> bool:
    """Whether a multiple of ``every`` epochs was reached since the last time; the first time is always due.

    Args:
        epochs: that are done, counting the one that is validated.
        every: number of epochs between two times.
        last: how many were done the last time; ``None`` if there was none.

    >>> [epochs for epochs in range(5, 12) if is_due(epochs, every=5, last=4)]
    [5, 6, 7, 8, 9, 10, 11]
    >>> is_due(1, every=5, last=None), is_due(6, every=10, last=4)
    (True, False)
    """
    return last is None or epochs // every > last // every


def is_last_validation(trainer: Trainer) -> bool:
    """Whether a validation is known to be the last of its training, as it is unless the training is stopped early."""
    return trainer.current_epoch + 1 == trainer.max_epochs and trainer.is_last_batch


def logged_step(trainer: Trainer) -> int:
    """Return the step at which Lightning itself logs the metrics of a batch or of a validation.

    ``global_step`` counts each optimizer of a batch; loggers get a counter that has no public name.
    """
    return trainer.fit_loop.epoch_loop._batches_that_stepped


@contextmanager
def final_weights(trainer: Trainer, pl_module: LightningModule) -> Iterator[None]:
    """In ``on_train_end``, load the averaged weights, if ``WeightAveraging`` has not done so yet."""
    with ExitStack() as afterwards:
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if is_a(callback, "WeightAveraging"):  # since Lightning 2.6
                callback.on_validation_epoch_start(trainer, pl_module)
                afterwards.callback(callback.on_validation_epoch_end, trainer, pl_module)
        yield


class Stopwatch:
    """The seconds spent in a callback, and their share of the time that passed.

    >>> cost = Stopwatch()
    >>> with cost.running():
    ...     time.sleep(0.01)
    >>> seconds, share = cost.lap()
    >>> seconds >= 0.01, 0 < share <= 1, cost.lap()[0]
    (True, True, 0.0)
    """

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Start again from 0."""
        self._spent, self._since = 0.0, time.perf_counter()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Count the time that passes inside."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self._spent += time.perf_counter() - start

    def lap(self) -> tuple[float, float]:
        """Return the seconds spent since the last lap, and their share of the time since then."""
        passed = time.perf_counter() - self._since
        spent = self._spent
        self.restart()
        return spent, spent / passed
