"""Labelled uint8 images in memory: what a data source loads, and how a part is set aside for validation."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.utils.data import Dataset

from jacoscope.errors import UserError


@dataclass(frozen=True)
class LabelledImages(Dataset[tuple[Tensor, Tensor]]):
    """Images and their classes. A batch is one indexing operation.

    Attributes:
        images: uint8 ``[samples, C, H, W]``, 0 to 255.
        labels: int64 ``[samples]``, each the index of a class.

    Raises:
        UserError: if the numbers of images and labels differ.
    """

    images: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        if len(self.images) != len(self.labels):
            raise UserError(f"There are {len(self.images)} images, but {len(self.labels)} labels")

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.images[index], self.labels[index]

    def __getitems__(self, indices: list[int]) -> tuple[Tensor, Tensor]:
        """Return a whole batch at once; torch's DataLoader calls this method if a data set has it."""
        return self.images[indices], self.labels[indices]

    def select(self, indices: Tensor) -> "LabelledImages":
        """Return the samples at ``indices``, in that order."""
        return LabelledImages(self.images[indices], self.labels[indices])


@dataclass(frozen=True)
class ImageSets:
    """The parts of a data set, as they are published.

    Attributes:
        train: training images.
        test: test images.
        class_names: one for each class, in the order of the labels.
        val: validation images; without them, a part of ``train`` is set aside.
    """

    train: LabelledImages
    test: LabelledImages
    class_names: tuple[str, ...]
    val: LabelledImages | None = None


class Source(Protocol):
    """Where images come from. A new data set is a class with these two methods and a file in ``configs/data``."""

    def prepare(self) -> None:
        """Make sure that the files are on this machine. Called once on each machine, before :meth:`load`.

        Raises:
            UserError: if the files are missing and cannot be downloaded.
        """

    def load(self) -> ImageSets:
        """Read all images into memory.

        Raises:
            UserError: if a file cannot be read.
        """


def samples_of_each_class(labels: Tensor, count: int, seed: int) -> Tensor:
    """Draw exactly ``count`` samples of each class, with ``seed`` alone.

    Args:
        labels: int64 ``[samples]``.
        count: samples of each class.
        seed: seed of the draw; fewer samples of the same seed are among more.

    Returns:
        Their indices, sorted; int64.

    Raises:
        UserError: if a class has fewer samples.

    >>> samples_of_each_class(torch.tensor([0, 1, 1, 0]), 1, seed=0).numel()
    2
    """
    generator = torch.Generator().manual_seed(seed)
    drawn = []
    for label in torch.unique(labels):
        members = (labels == label).nonzero().flatten()
        if len(members) < count:
            raise UserError(
                f"data.samples_per_class={count} is not allowed: class {int(label)} has only {len(members)} training "
                "images. Type fewer, or data.samples_per_class=null for all"
            )
        drawn.append(members[torch.randperm(len(members), generator=generator)[:count]])
    return torch.cat(drawn).sort().values


def stratified_split(labels: Tensor, held_out: int, seed: int) -> tuple[Tensor, Tensor]:
    """Split the indices of samples into two parts, both with the same proportions of the classes.

    Class c, with n_c of the n samples, has ``held_out · n_c / n`` samples in the second part, rounded by the largest
    remainders so that the total is exact. They are drawn with ``seed`` alone: neither the seed of the training nor the
    global random state changes the split.

    Args:
        labels: int64 ``[samples]``.
        held_out: number of samples in the second part.
        seed: seed of the draw.

    Returns:
        The indices that are kept and the indices that are held out, each sorted; int64.

    Raises:
        UserError: if ``held_out`` is negative, or not less than the number of samples.

    >>> kept, held_out = stratified_split(torch.tensor([0, 0, 0, 0, 1, 1]), held_out=3, seed=0)
    >>> torch.tensor([0, 0, 0, 0, 1, 1])[held_out]
    tensor([0, 0, 1])
    """
    samples = len(labels)
    if not 0 <= held_out < samples:
        raise UserError(
            f"data.val_size={held_out} does not fit {samples} training images: "
            f"it is 0 to {samples - 1}, for example data.val_size={max(1, samples // 12)}"
        )
    classes, counts = torch.unique(labels, return_counts=True)
    shares = counts.double() * held_out / samples
    quotas = shares.floor().long()
    missing = held_out - int(quotas.sum())
    quotas[(shares - quotas).argsort(descending=True, stable=True)[:missing]] += 1

    generator = torch.Generator().manual_seed(seed)
    mask = torch.zeros(samples, dtype=torch.bool)
    for label, quota in zip(classes, quotas, strict=True):
        members = (labels == label).nonzero().flatten()
        mask[members[torch.randperm(len(members), generator=generator)[:quota]]] = True
    return (~mask).nonzero().flatten(), mask.nonzero().flatten()
