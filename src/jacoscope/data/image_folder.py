"""Pictures of the user's own, in one folder for each class."""

import os
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image, ImageOps
from torch import Tensor
from torchvision.datasets import ImageFolder as TorchvisionImageFolder
from torchvision.transforms.v2.functional import pil_to_tensor

from jacoscope.data.images import ImageSets, LabelledImages
from jacoscope.data.pictures import FORMATS, opened, plain
from jacoscope.errors import UserError


class ImageFolder:
    """``root/train/CLASS/*.png``, ``root/test/CLASS/*.png`` and, if it exists, ``root/val/CLASS/*.png``.

    Every picture is converted by :func:`jacoscope.data.pictures.plain`, resized until it covers the given shape, and
    cropped to its centre.

    Args:
        root: the folder that holds ``train`` and ``test``.
        shape: ``(C, H, W)`` of the images; C is 1 (grey) or 3 (colour).

    Raises:
        UserError: if C is neither 1 nor 3.
    """

    def __init__(self, root: str | Path, shape: Sequence[int]) -> None:
        self.root = Path(root)
        self.channels, *self.size = shape
        if self.channels not in (1, 3):
            raise UserError(f"images.shape={list(shape)}: pictures have 1 channel (grey) or 3 (colour)")

    def prepare(self) -> None:
        """Check that the folders exist.

        Raises:
            UserError: if ``train`` or ``test`` is missing.
        """
        for part in ("train", "test"):
            if not (self.root / part).is_dir():
                raise UserError(
                    f"There is no folder {self.root / part}. A folder of images looks like "
                    f"{self.root}/train/CLASS/*.png and {self.root}/test/CLASS/*.png; "
                    "name another one with data.source.root=FOLDER"
                )

    def load(self) -> ImageSets:
        """Read all pictures into memory.

        Raises:
            UserError: if a picture cannot be read, links lead to a folder twice, or the parts have different classes.
        """
        train, class_names = self._read("train")
        test, test_names = self._read("test")
        val, val_names = self._read("val") if (self.root / "val").is_dir() else (None, class_names)
        for part, names in (("test", test_names), ("val", val_names)):
            if names != class_names:
                raise UserError(
                    f"{self.root / part} has the classes {', '.join(names)}, "
                    f"but {self.root / 'train'} has {', '.join(class_names)}: they must be the same"
                )
        return ImageSets(train=train, test=test, val=val, class_names=class_names)

    def _read(self, part: str) -> tuple[LabelledImages, tuple[str, ...]]:
        _check_links(self.root / part)
        try:
            folder = _Folder(self.root / part, loader=self._load, is_valid_file=_is_picture)
        except FileNotFoundError as error:
            raise UserError(f"{self.root / part}: {error}") from error
        images, labels = zip(*folder, strict=True)
        return LabelledImages(torch.stack(images), torch.tensor(labels)), tuple(folder.classes)

    def _load(self, path: str) -> Tensor:
        with opened(Path(path)) as picture:
            drawing = plain(picture, self.channels)
        height, width = self.size
        fitted: Tensor = pil_to_tensor(ImageOps.fit(drawing, (width, height), Image.Resampling.BILINEAR))
        return fitted


class _Folder(TorchvisionImageFolder):  # type: ignore[misc]  # torchvision has no types
    """torchvision's folder of images without hidden folders, which programs leave behind."""

    def find_classes(self, directory: str | Path) -> tuple[list[str], dict[str, int]]:
        names = [name for name in super().find_classes(directory)[0] if not name.startswith(".")]
        return names, {name: number for number, name in enumerate(names)}


def _check_links(part: Path) -> None:
    """Check that no link leads to a folder that is read anyway, or to one that holds it: a loop.

    Raises:
        UserError: naming the link.
    """
    whole = part.resolve()
    read = {folder: folder for folder in (whole, *whole.parents)}
    for name, folders, _ in os.walk(part, followlinks=True):
        if Path(name) == part:  # hidden folders are no classes
            folders[:] = [folder for folder in folders if not folder.startswith(".")]
        for folder in (Path(name, folder) for folder in sorted(folders)):
            same = read.setdefault(folder.resolve(), folder)
            if same != folder:
                raise UserError(
                    f"{folder} and {same} are one folder, since a link leads there: its pictures would be read twice. "
                    "Remove the link"
                )


def _is_picture(path: str) -> bool:
    """Whether the name of a file ends as one of ``FORMATS``, and neither it nor its folder is hidden."""
    Image.init()
    hidden = any(part.startswith(".") for part in Path(path).parts[-2:])
    return not hidden and Image.EXTENSION.get(Path(path).suffix.lower()) in FORMATS
