"""What every data source gives: labelled uint8 images, held in memory."""

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor
from torch.utils.data import Dataset

from jacoscope.errors import UserError


@dataclass(frozen=True)
class LabelledImages(Dataset[tuple[Tensor, Tensor]]):
    """Images and their classes, both in memory; a batch is one indexing operation.

    Attributes:
        images: uint8 ``[samples, C, H, W]``, 0 to 255.
        labels: int64 ``[samples]``, each the index of a class.

    Raises:
        UserError: if there are not as many labels as images.
    """

    images: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        if len(self.images) != len(self.labels):
            raise UserError(f"There are {len(self.images)} images, but {len(self.labels)} labels for them")

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.images[index], self.labels[index]

    def __getitems__(self, indices: list[int]) -> tuple[Tensor, Tensor]:
        """Give a whole batch at once; torch's DataLoader calls this where it exists."""
        return self.images[indices], self.labels[indices]

    def select(self, indices: Tensor) -> "LabelledImages":
        """Give the samples at ``indices``, in that order."""
        return LabelledImages(self.images[indices], self.labels[indices])


@dataclass(frozen=True)
class ImageSets:
    """The parts of a data set as published.

    Attributes:
        train: what to learn from.
        test: what to be judged by.
        val: what to choose by; where a data set has none, a part of ``train`` is set aside for it.
        class_names: one for each class, in the order of the labels.
    """

    train: LabelledImages
    test: LabelledImages
    class_names: tuple[str, ...]
    val: LabelledImages | None = None


class Source(Protocol):
    """Where images come from."""

    def prepare(self) -> None:
        """See to it that the files are on this machine; called once a machine, before :meth:`load`.

        Raises:
            UserError: if they are not there and cannot be had.
        """

    def load(self) -> ImageSets:
        """Read all images into memory.

        Raises:
            UserError: if a file cannot be read.
        """
