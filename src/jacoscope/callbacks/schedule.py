"""When a training is measured and drawn: at first, whenever so many epochs have passed, and at the end."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

from pytorch_lightning import LightningModule, Trainer, callbacks


class Moment(NamedTuple):
    """A place in a training.

    >>> last = Moment(epochs=4, step=31)
    >>> [epochs for epochs in range(5, 12) if last.is_long_ago(epochs, 5)]
    [5, 6, 7, 8, 9, 10, 11]
    >>> NEVER.is_long_ago(1, every=5), last.is_long_ago(6, every=10)
    (True, False)
    """

    epochs: int
    """That are done, counting the one that is validated."""
    step: int
    """That Lightning itself logs validation metrics at."""

    def is_long_ago(self, epochs: int, every: int) -> bool:
        """Tell whether a multiple of so many epochs has been reached since; of never it always has."""
        return self == NEVER or epochs // every > self.epochs // every


NEVER = Moment(0, -1)


def within_epoch(trainer: Trainer) -> Moment:
    """Give the moment of a hook of a training batch or of a validation."""
    return Moment(trainer.current_epoch + 1, trainer.fit_loop.epoch_loop._batches_that_stepped)


def at_end(trainer: Trainer) -> Moment:
    """Give the moment of ``on_train_end``: its step is that of a validation after the last batch."""
    return Moment(trainer.current_epoch, trainer.fit_loop.epoch_loop._batches_that_stepped - 1)


def is_last(trainer: Trainer) -> bool:
    """Tell whether a validation is known to be the last of its training; of one that is stopped early it is not."""
    return trainer.current_epoch + 1 == trainer.max_epochs and trainer.is_last_batch


@contextmanager
def final_weights(trainer: Trainer, pl_module: LightningModule) -> Iterator[None]:
    """In ``on_train_end``, give the module the weights that averaging will leave it with, if it has not yet done so."""
    averaging = getattr(callbacks, "WeightAveraging", ())  # since Lightning 2.6
    with ExitStack() as afterwards:
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, averaging):
                callback.on_validation_epoch_start(trainer, pl_module)
                afterwards.callback(callback.on_validation_epoch_end, trainer, pl_module)
        yield
