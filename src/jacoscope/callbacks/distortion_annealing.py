"""Weaker distortions towards the end of a training."""

from jacoscope.data import RandomDistortion
from jacoscope.errors import UserError
from jacoscope.lightning import Callback, LightningModule, Trainer


class DistortionAnnealing(Callback):
    """Weaken the random distortion linearly in the last part of a training.

    Early epochs train on strongly distorted images, the last ones on images that are closer to the originals.

    Args:
        start: fraction of the epochs after which the strength begins to fall, 0 to below 1.
        final: strength after the last epoch; it is 1 at the start.

    Raises:
        UserError: when training starts, if the datamodule has no
            :class:`~jacoscope.data.RandomDistortion` as its augmentation.
    """

    def __init__(self, start: float = 0.5, final: float = 0.5) -> None:
        if not 0 <= start < 1 or final < 0:
            raise UserError(
                f"DistortionAnnealing: start={start} must be from 0 to below 1, final={final} must not be negative"
            )
        self.start = start
        self.final = final

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        augmentation = getattr(getattr(trainer, "datamodule", None), "augmentation", None)
        if not isinstance(augmentation, RandomDistortion):
            raise UserError("callbacks.distortion_annealing needs a distortion to anneal: augmentation=elastic")
        augmentation.strength = self.strength(trainer.current_epoch, trainer.max_epochs or 1)

    on_train_start = on_train_epoch_start  # a training that is resumed within an epoch does not start it again

    def strength(self, epoch: int, epochs: int) -> float:
        """Return the strength in an epoch, which is counted from 0.

        >>> [DistortionAnnealing(start=0.5, final=0.5).strength(epoch, 4) for epoch in range(4)]
        [1.0, 1.0, 1.0, 0.75]
        """
        passed = max(0.0, epoch / epochs - self.start) / (1 - self.start)
        return 1.0 + (self.final - 1.0) * passed
