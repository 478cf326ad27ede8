"""MNIST with wrong labels, to see what learning them by heart does to a network."""

from dataclasses import replace
from pathlib import Path

import torch

from jacoscope.data.images import ImageSets
from jacoscope.data.mnist import MNIST
from jacoscope.errors import UserError


class NoisyMNIST(MNIST):
    """MNIST, where a share of the training images has a label drawn from the nine wrong ones.

    Test labels stay right. Validation images are set aside from the training images, and have wrong labels as often.

    Args:
        root: the data folder.
        share: of the training images, in [0, 1].
        noise_seed: draws which, and their labels; a larger share contains the smaller one's.

    Raises:
        UserError: if ``share`` is no share.
    """

    def __init__(self, root: str | Path, share: float, noise_seed: int = 0) -> None:
        super().__init__(root)
        if not 0 <= share <= 1:
            raise UserError(f"data.source.share={share}: a share lies between 0 and 1")
        self.share, self.noise_seed = share, noise_seed

    def load(self) -> ImageSets:
        sets = super().load()
        right = sets.train.labels
        generator = torch.Generator().manual_seed(self.noise_seed)
        order = torch.randperm(len(right), generator=generator)
        shift = torch.randint(1, len(sets.class_names), (len(right),), generator=generator)
        wrong = order[: round(self.share * len(right))]
        labels = right.clone()
        labels[wrong] = (right[wrong] + shift[wrong]) % len(sets.class_names)
        return replace(sets, train=replace(sets.train, labels=labels))
