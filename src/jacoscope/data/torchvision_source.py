"""Data sets that torchvision knows: Fashion-MNIST, Kuzushiji-MNIST, CIFAR-10."""

import inspect
from collections.abc import Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from urllib.error import URLError

import torch
import torchvision.datasets
from torch import Tensor

from jacoscope.data.idx import require_idx
from jacoscope.data.images import ImageSets, LabelledImages
from jacoscope.errors import UserError, nearest


class TorchvisionSource:
    """A data set by its name in :mod:`torchvision.datasets`, held in memory as uint8.

    Files that are in place already are used as they are; otherwise torchvision downloads them.

    Args:
        name: a class of :mod:`torchvision.datasets` with ``train=True|False`` and its images in ``data``.
        root: the data folder.
        class_names: one for each class, in the order of the labels; by default torchvision's.

    Raises:
        UserError: if torchvision has no such data set, or it is of another kind.
    """

    def __init__(self, name: str, root: str | Path, class_names: Sequence[str] | None = None) -> None:
        self.dataset: Any = getattr(torchvision.datasets, name, None)
        if not inspect.isclass(self.dataset):
            known = nearest(name, torchvision.datasets.__all__)
            raise UserError(f"data.source.name={name}: torchvision.datasets has no such class.{known}")
        if not {"train", "download"} <= set(inspect.signature(self.dataset).parameters):
            raise UserError(
                f"data.source.name={name}: torchvision's {name} is not divided by train=True|False. "
                "Name a class of your own with data.source._target_=MODULE.CLASS; "
                "jacoscope.data.Source says what it has to do"
            )
        self.name = name
        self.root = Path(root)
        self.class_names = class_names

    def prepare(self) -> None:
        """Download what is missing.

        Raises:
            UserError: if it cannot be downloaded; the message names the folder to put the files in.
        """
        try:
            for train in (True, False):
                self._open(train, download=True)
        except (URLError, OSError, RuntimeError) as error:
            raise UserError(
                f"{self.name} is not in {self.root} and could not be downloaded ({error}).\n"
                "Without a network, data=mnist works (it is part of the package), and so does data=image_folder.\n"
                f"Or put the original files where torchvision.datasets.{self.name} looks for them: "
                f"{self.root / self._folder()}"
            ) from error

    def load(self) -> ImageSets:
        """Read both parts into memory.

        Raises:
            UserError: if a file is not what it should be.
        """
        train, test = self._open(train=True), self._open(train=False)
        names = self.class_names or train.classes
        try:
            parts = {name: LabelledImages(*_as_tensors(part)) for name, part in (("train", train), ("test", test))}
        except UserError as error:
            raise UserError(f"{self.root / self._folder()}: {error}") from error
        return ImageSets(**parts, class_names=tuple(names))

    def _open(self, train: bool, download: bool = False) -> Any:
        for file in (self.root / self._folder()).glob("*-ubyte"):
            require_idx(file)
        try:
            return self.dataset(self.root, train=train, download=download)
        except (ValueError, EOFError, AssertionError, IndexError, KeyError, UnpicklingError) as error:
            raise UserError(
                f"The files of {self.name} in {self.root / self._folder()} cannot be read ({error}): "
                "delete that folder and start again."
            ) from error

    def _folder(self) -> str:
        return str(getattr(self.dataset, "base_folder", f"{self.name}/raw"))


def _as_tensors(dataset: Any) -> tuple[Tensor, Tensor]:
    images = torch.as_tensor(dataset.data)
    images = images.unsqueeze(1) if images.ndim == 3 else images.permute(0, 3, 1, 2)
    return images.contiguous(), torch.as_tensor(dataset.targets, dtype=torch.int64)
