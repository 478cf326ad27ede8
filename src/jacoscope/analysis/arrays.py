"""Arrays on the disk: a few by name in an .npz file, and the full Jacobians of a data set in Zarr."""

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from jacoscope.errors import UserError

DAMAGED = (
    *(OSError, ValueError, LookupError, TypeError, EOFError, MemoryError, RecursionError),
    *(zipfile.BadZipFile, NotImplementedError),  # the latter for a version of the format that zipfile does not know
)
"""Exceptions that reading a damaged file raises."""
ENCRYPTED = 1  # a flag of a file in a ZIP archive
READ_TOGETHER = 8
"""Samples of a compressed block: to read one of them is to decompress all of them."""


def as_npz(arrays: Mapping[str, Tensor]) -> bytes:
    """Return arrays by name as the bytes of a file for :func:`numpy.load`."""
    buffer = io.BytesIO()
    np.savez(buffer, **{name: array.numpy() for name, array in arrays.items()})  # type: ignore[arg-type]
    return buffer.getvalue()


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Read arrays by name, as :func:`as_npz` writes them: numbers without compression.

    Raises:
        Exception: one of ``DAMAGED``, if the file is damaged, announces more than it holds, or holds objects.
    """
    with zipfile.ZipFile(path) as archive:
        packed = any(part.compress_type != zipfile.ZIP_STORED for part in archive.infolist())
        if packed or sum(part.file_size for part in archive.infolist()) > path.stat().st_size:
            raise ValueError("it holds more than was written")
        if any(part.flag_bits & ENCRYPTED for part in archive.infolist()):
            raise ValueError("it is encrypted")
    with np.load(path, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def holds_arrays(path: Path, shapes: Mapping[str, Sequence[int]]) -> bool:
    """Check whether a file holds arrays of exactly these names and shapes, all of them numbers."""
    try:
        found = read_arrays(path)
    except DAMAGED:
        return False
    return {name: array.shape for name, array in found.items()} == {k: tuple(v) for k, v in shapes.items()} and all(
        array.dtype.kind in "fi" for array in found.values()
    )


def rounded_chunk(chunk_size: int) -> int:
    """Return the largest number of samples up to ``chunk_size`` that consists of whole blocks.

    >>> rounded_chunk(100), rounded_chunk(5)
    (96, 5)
    """
    return chunk_size // READ_TOGETHER * READ_TOGETHER or chunk_size


class JacobianStore:
    """A Zarr array ``[samples, outputs, C, H, W]``, written in chunks.

    Every chunk of the analysis is one shard, one file, so that processes write side by side, and to read one sample is
    to decompress ``READ_TOGETHER`` of them.

    Args:
        path: the folder ``jacobians.zarr``.
        shape: ``[samples, outputs, C, H, W]``.
        dtype: ``float32`` or ``float16``.
        chunk_size: samples that are written at a time, see :func:`rounded_chunk`.
        attributes: what the array is.
    """

    def __init__(
        self, path: Path, shape: Sequence[int], dtype: str, chunk_size: int, attributes: dict[str, Any]
    ) -> None:
        self.path = path
        self.shape = tuple(shape)
        self.dtype = dtype
        self.rows = chunk_size
        self.attributes = {
            "what": "J[sample, output] is the derivative image of that output: ∂ output / ∂ pixel, per pixel unit",
            "axes": ["sample", "output", "channel", "row", "column"],
            **attributes,
        }

    def create(self) -> None:
        """Create the array, empty; what was there before is deleted.

        Raises:
            UserError: if zarr is not installed, or the disk is full.
        """
        try:
            self._create_in(self.path)
        except OSError as error:
            raise _full(self.path, error) from error

    def is_as_created(self) -> bool:
        """Check whether the array is there, of the shape and in the encoding that :meth:`create` uses."""
        made: dict[str, Any] = {}
        self._create_in(made)
        try:
            there = json.loads((self.path / "zarr.json").read_text())
            return bool({**there, "attributes": {}} == {**json.loads(made["zarr.json"].to_bytes()), "attributes": {}})
        except DAMAGED:
            return False

    def write(self, start: int, J: Tensor) -> None:
        """Write the Jacobians of the samples from ``start`` on.

        Raises:
            UserError: if the disk is full.
        """
        number = start // self.rows
        try:
            # What another start left of this shard is replaced without being read.
            self.path.joinpath("c", str(number), *"0" * (len(self.shape) - 1)).unlink(missing_ok=True)
            _zarr().open_array(self.path, mode="r+")[start : start + len(J)] = J.numpy().astype(self.dtype)
        except OSError as error:
            raise _full(self.path, error) from error

    def _create_in(self, store: Any) -> None:
        _zarr().create_array(
            store,
            shape=self.shape,
            dtype=self.dtype,
            chunks=(READ_TOGETHER if self.rows % READ_TOGETHER == 0 else 1, *self.shape[1:]),
            shards=(self.rows, *self.shape[1:]),
            dimension_names=self.attributes["axes"],
            attributes=self.attributes,
            overwrite=True,
        )


def _full(path: Path, error: OSError) -> UserError:
    return UserError(
        f"Cannot write {path}: {error.strerror or error}. Free some space, type jacobian_dtype=float16 for half "
        "the size, or leave save_jacobians out"
    )


def _zarr() -> Any:
    try:
        import zarr
    except ImportError as error:
        raise UserError("save_jacobians=true needs zarr, and that Python 3.11 or newer: pip install zarr") from error
    return zarr
