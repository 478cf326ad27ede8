"""jacobians.zarr: the full Jacobians of a data set, on disk, compressed, readable one by one."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from jacoscope.errors import UserError

READ_TOGETHER = 8  # samples of a compressed block: what reading one of them decompresses


def rounded_chunk(chunk_size: int) -> int:
    """Give the largest number of samples up to ``chunk_size`` that is made of whole blocks.

    >>> rounded_chunk(100), rounded_chunk(5)
    (96, 5)
    """
    return chunk_size // READ_TOGETHER * READ_TOGETHER or chunk_size


class JacobianStore:
    """A Zarr array ``[samples, outputs, C, H, W]``, written in chunks.

    Every chunk of the analysis is one shard, one file, so that processes write without meeting, and reading one
    sample decompresses ``READ_TOGETHER`` of them, not all.

    Args:
        path: the folder ``jacobians.zarr``.
        shape: ``[samples, outputs, C, H, W]``.
        dtype: ``float32`` or ``float16``.
        chunk_size: samples that are written at a time, see :func:`rounded_chunk`.
        attributes: what the array is.

    Raises:
        UserError: if zarr is not installed.
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
        """Make the array, empty; what was there before is deleted."""
        try:
            self._create_in(self.path)
        except OSError as error:
            raise _full(self.path, error) from error

    def is_as_created(self) -> bool:
        """Tell whether the array is there, of the shape and in the encoding that :meth:`create` gives it."""
        made: dict[str, Any] = {}
        self._create_in(made)
        try:
            there = json.loads((self.path / "zarr.json").read_text())
            return bool({**there, "attributes": {}} == {**json.loads(made["zarr.json"].to_bytes()), "attributes": {}})
        except (OSError, ValueError, TypeError, RecursionError):
            return False

    def write(self, start: int, J: Tensor) -> None:
        """Write the Jacobians of the samples from ``start`` on.

        Raises:
            UserError: if the disk is full.
        """
        number = start // self.rows
        try:
            # What another start left of this piece is not looked at.
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
