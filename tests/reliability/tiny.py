"""A data set of a few hundred images in the format of Fashion-MNIST, so that a run takes a second."""

import struct
from pathlib import Path

import numpy as np

OVERRIDES = ("data=fashion_mnist", "paths.data_dir=data", "data.val_size=60", "trainer=cpu", "data.batch_size=16")


def write(folder: Path, train: int = 300, test: int = 40, classes: int = 10) -> None:
    """Write the four IDX files: noise, with one bright row that depends on the class."""
    raw = folder / "data" / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    generator = np.random.default_rng(0)
    for name, count in (("train", train), ("t10k", test)):
        labels = (np.arange(count) % classes).astype(np.uint8)
        images = generator.integers(0, 120, (count, 28, 28), dtype=np.uint8)
        images[np.arange(count), 2 * labels + 2] += 120
        (raw / f"{name}-images-idx3-ubyte").write_bytes(idx(images))
        (raw / f"{name}-labels-idx1-ubyte").write_bytes(idx(labels))


def idx(array: "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]") -> bytes:
    """Return an array of bytes in the format IDX."""
    return struct.pack(f">I{array.ndim}I", 0x0800 + array.ndim, *array.shape) + array.tobytes()
