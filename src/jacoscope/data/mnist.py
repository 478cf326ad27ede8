"""MNIST itself, which the package carries."""

import hashlib
import lzma
from importlib.resources import files
from pathlib import Path

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
    """The 70,000 handwritten digits of LeCun, Cortes and Burges, without any download.

    The four IDX files travel inside the package, compressed. On first use they are unpacked, checked by digest,
    in the layout that :class:`torchvision.datasets.MNIST` reads: ``root/MNIST/raw``.

    Args:
        root: the data folder.
    """

    def __init__(self, root: str | Path) -> None:
        super().__init__("MNIST", root, class_names=[str(digit) for digit in range(10)])

    def prepare(self) -> None:
        """Unpack the files that are missing or are not, by their digest, the published ones.

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


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


_REINSTALL = "install jacoscope again, with `pip install --force-reinstall --no-deps .`"
