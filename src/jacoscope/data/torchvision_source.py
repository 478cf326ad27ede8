"""Data sets of torchvision: Fashion-MNIST, Kuzushiji-MNIST, CIFAR-10; and the check of their IDX files."""

import inspect
import re
import struct
from collections.abc import Sequence
from math import prod
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from urllib.error import URLError

import torch
import torchvision.datasets
from torch import Tensor

from jacoscope.data.images import ImageSets, LabelledImages
from jacoscope.errors import UserError, nearest
from jacoscope.files import require_file

UNSIGNED_BYTES = 0x08  # in an IDX file, the type of all pixels and labels
REMEDY = "Delete the folder that it is in and start again"


class TorchvisionSource:
    """A data set of :mod:`torchvision.datasets`, in memory as uint8.

    torchvision downloads the files that are missing.

    Args:
        name: a class of :mod:`torchvision.datasets` that takes ``train=True|False`` and has its images in ``data``.
        root: the data folder.
        class_names: one for each class, in the order of the labels; by default torchvision's, or numbers.
        arguments: further ones of that class, such as ``split`` of EMNIST.

    Raises:
        UserError: if torchvision has no such class, or it does not take ``train`` and ``download``, or an argument.
    """

    def __init__(self, name: str, root: str | Path, class_names: Sequence[str] | None = None, **arguments: Any) -> None:
        self.dataset: Any = getattr(torchvision.datasets, name, None)
        if not inspect.isclass(self.dataset):
            known = nearest(name, torchvision.datasets.__all__)
            raise UserError(f"data.source.name={name}: torchvision.datasets has no such class.{known}")
        taken = _parameters(self.dataset)
        if not {"train", "download"} <= taken:
            raise UserError(
                f"data.source.name={name}: torchvision's {name} does not take train=True|False. "
                "Write a class of your own, as jacoscope.data.Source describes it, and type "
                "data.source._target_=MODULE.CLASS"
            )
        if unknown := set(arguments) - taken:
            raise UserError(
                f"data.source.{min(unknown)}: torchvision's {name} has no such argument.{nearest(min(unknown), taken)}"
            )
        try:
            inspect.signature(self.dataset).bind(root, train=True, download=True, **arguments)
        except TypeError as error:
            missing = re.search(r"'(\w+)'", str(error))
            raise UserError(
                f"data.source.name={name}: {error}. Type +data.source.{missing[1] if missing else 'NAME'}=VALUE"
            ) from error
        self.name = name
        self.root = Path(root)
        self.class_names = class_names
        self.arguments = arguments

    def prepare(self) -> None:
        """Download what is missing.

        Raises:
            UserError: if the download fails; the message names the folder for the files.
        """
        try:
            for train in (True, False):
                self._open(train, download=True)
        except (URLError, OSError, RuntimeError) as error:
            raise UserError(
                f"{self.name} is not in {self.root} and could not be downloaded ({error}).\n"
                "Without a network, use data=mnist, which is part of the package, or data=image_folder.\n"
                f"Or copy the original files to the folder where torchvision.datasets.{self.name} looks for them: "
                f"{self.root / self._folder()}"
            ) from error

    def load(self) -> ImageSets:
        """Read the training and test images into memory.

        Raises:
            UserError: if a file is damaged.
        """
        train, test = self._open(train=True), self._open(train=False)
        try:
            parts = {name: LabelledImages(*_as_tensors(part)) for name, part in (("train", train), ("test", test))}
        except UserError as error:
            raise UserError(f"{self.root / self._folder()}: {error}") from error
        numbers = range(int(max(part.labels.max() for part in parts.values())) + 1)
        names = self.class_names or getattr(train, "classes", None) or map(str, numbers)
        return ImageSets(**parts, class_names=tuple(names))

    def _open(self, train: bool, download: bool = False) -> Any:
        for file in (self.root / self._folder()).glob("*-ubyte"):
            require_idx(file)
        try:
            return self.dataset(self.root, train=train, download=download, **self.arguments)
        except (ValueError, EOFError, AssertionError, IndexError, KeyError, UnpicklingError) as error:
            given = "".join(f" with {key}={value}" for key, value in self.arguments.items())
            raise UserError(
                f"The files of {self.name}{given} in {self.root / self._folder()} cannot be read ({error}). "
                "If they are damaged, delete them and start again."
            ) from error

    def _folder(self) -> str:
        """Where torchvision looks for the files: in a folder if its class names one, as those like MNIST do."""
        is_like_mnist = issubclass(self.dataset, torchvision.datasets.MNIST)
        return str(getattr(self.dataset, "base_folder", f"{self.name}/raw" if is_like_mnist else "."))


def _parameters(dataset: type) -> set[str]:
    """Return the names that a class takes, also those that it hands on to the class it is derived from."""
    names: set[str] = set()
    for each in dataset.__mro__:
        if "__init__" in vars(each):
            parameters = inspect.signature(each.__init__).parameters  # type: ignore[misc]
            names |= parameters.keys()
            if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
                break
    return names - {"self", "kwargs"}


def _as_tensors(dataset: Any) -> tuple[Tensor, Tensor]:
    images = torch.as_tensor(dataset.data)
    images = images.unsqueeze(1) if images.ndim == 3 else images.permute(0, 3, 1, 2)
    return images.contiguous(), torch.as_tensor(dataset.targets, dtype=torch.int64)


def require_idx(path: Path) -> None:
    """Check that an IDX file has as many bytes as its header says; torchvision does not check it.

    An IDX file is two zero bytes, the type of the numbers, the number of dimensions, the size of each dimension (four
    bytes, most significant first), and then the numbers.

    Args:
        path: the file.

    Raises:
        UserError: if it has fewer or more bytes, or is not an IDX file.
    """
    try:
        require_file(path)
        with path.open("rb") as file:
            start = file.read(4)
            dimensions = start[3] if start[:3] == bytes([0, 0, UNSIGNED_BYTES]) and len(start) == 4 else 0
            header = file.read(4 * dimensions)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}. {REMEDY}") from error
    if not 1 <= dimensions <= 3 or len(header) < 4 * dimensions:
        raise UserError(f"{path} cannot be read: it is not an IDX file of bytes. {REMEDY}")
    sizes = struct.unpack(f">{dimensions}I", header)
    expected, found = prod(sizes), path.stat().st_size - 4 - 4 * dimensions
    if expected != found or not found:
        raise UserError(
            f"{path} cannot be read: its header announces {'×'.join(map(str, sizes))} bytes, "
            f"but there are {found}. {REMEDY}"
        )
