"""MNIST, whose files are part of the package; and MNIST with wrong labels."""

import hashlib
import lzma
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import torch

from jacoscope.data.images import ImageSets
from jacoscope.data.torchvision_source import TorchvisionSource
from jacoscope.errors import UserError
from jacoscope.files import write_whole

MD5_OF_FILES = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}


class MNIST(TorchvisionSource):
    """The 70,000 handwritten digits of LeCun, Cortes and Burges, without a download.

    The package holds the four IDX files, compressed. On first use they are unpacked to ``root/MNIST/raw``, where
    :class:`torchvision.datasets.MNIST` reads them, and checked by their digests.

    Args:
        root: the data folder.
    """

    def __init__(self, root: str | Path) -> None:
        super().__init__("MNIST", root, class_names=[str(digit) for digit in range(10)])

    def prepare(self) -> None:
        """Unpack the files that are missing or whose digest is wrong.

        Raises:
            UserError: if a file of the package is damaged, or the data folder cannot be written.
        """
        packed = files("jacoscope.data") / "mnist_idx"
        folder = self.root / "MNIST" / "raw"
        for name, md5 in MD5_OF_FILES.items():
            path = folder / name
            if path.exists() and _md5(path.read_bytes()) == md5:
                continue
            try:
                content = lzma.decompress((packed / f"{name}.xz").read_bytes())
            except (OSError, lzma.LZMAError) as error:
                raise UserError(f"The package's own copy of {name} cannot be read ({error}): {_REINSTALL}") from error
            if _md5(content) != md5:
                raise UserError(f"The package's own copy of {name} is damaged: {_REINSTALL}")
            write_whole(path, content)


class NoisyMNIST(MNIST):
    """MNIST in which a share of the training images has a label drawn from the nine wrong ones.

    The test labels are right. Validation images are set aside from the training images, and have the same share of
    wrong labels.

    Args:
        root: the data folder.
        share: share of the training images, in [0, 1].
        noise_seed: seed of the draw of images and labels; the images of a smaller share are among those of a larger.

    Raises:
        UserError: if ``share`` is not in [0, 1].
    """

    def __init__(self, root: str | Path, share: float, noise_seed: int = 0) -> None:
        super().__init__(root)
        if not 0 <= share <= 1:
            raise UserError(f"data.source.share={share} is not allowed; it is 0 to 1")
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


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


_REINSTALL = "install jacoscope again, with `pip install --force-reinstall --no-deps .`"
