"""The parts that a long analysis is written in, one for each chunk, so that it can go on where it stopped."""

import io
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from jacoscope.analysis.earlier import UNREADABLE, holds_table, read_arrays
from jacoscope.errors import UserError
from jacoscope.files import write_whole

ROW_GROUP = 1 << 14  # rows of a table that are compressed together, at least


class Parts:
    """A folder of parts; a part is there whole or not at all.

    Args:
        folder: that holds them.
        samples: how many there are in all.
        chunk_size: how many make a part.
    """

    def __init__(self, folder: Path, samples: int, chunk_size: int) -> None:
        self.folder = folder
        self.samples = samples
        self.chunk_size = chunk_size

    def __len__(self) -> int:
        return -(-self.samples // self.chunk_size)

    def range(self, part: int) -> range:
        """Give the samples of a part."""
        return range(part * self.chunk_size, min(self.samples, (part + 1) * self.chunk_size))

    def missing(self) -> list[int]:
        """Give the parts that are still to be made."""
        return [part for part in range(len(self)) if not self._table(part).exists()]

    def discard_damaged(self, schema: pa.Schema) -> None:
        """Delete parts that are not what was written, so that they are made anew.

        Args:
            schema: of their tables.
        """
        for part in set(range(len(self))) - set(self.missing()):
            count = len(self.range(part))
            if not holds_table(self._table(part), schema, range(count, count + 1)) or not self._has_whole_sums(part):
                self._table(part).unlink()

    def write(self, part: int, table: pa.Table, sums: Mapping[str, Tensor]) -> None:
        """Keep a part; its table last, for the table says that the part is there.

        Args:
            part: its number.
            table: its rows, with a column ``index``.
            sums: whatever is to be added up over all parts.

        Raises:
            UserError: if the folder cannot be written or the disk is full.
        """
        if sums:
            write_whole(self._sums(part), as_npz(sums))
        write_whole(self._table(part), as_parquet(table))

    def tables(self) -> Iterator[pa.Table]:
        """Give the tables in the order of the samples, one at a time."""
        for part in range(len(self)):
            yield pq.read_table(self._table(part))

    def sums(self) -> dict[str, Tensor]:
        """Add up the sums of all parts; nothing where none were kept.

        Raises:
            UserError: if they do not belong together.
        """
        total: dict[str, Tensor] = {}
        for part in range(len(self)):
            arrays = read_arrays(self._sums(part)) if self._sums(part).exists() else {}
            if part and {k: v.shape for k, v in arrays.items()} != {k: tuple(v.shape) for k, v in total.items()}:
                raise UserError(f"{self.folder} has parts of something else: delete it and call again")
            for name, values in arrays.items():
                total[name] = total[name] + torch.from_numpy(values) if part else torch.from_numpy(values)
        return total

    def merge(self, path: Path, schema: pa.Schema) -> None:
        """Write all tables as one file, whole or not at all, holding one row group at a time in memory.

        Raises:
            UserError: if a sample is missing or there twice, or the file cannot be written.
        """
        partial = path.with_name(f".{path.name}.{os.getpid()}.part")
        expected = 0
        waiting: list[pa.Table] = []
        try:
            # Real numbers hardly repeat: dictionaries of them would take twice the time and more space.
            with pq.ParquetWriter(
                partial, schema, compression="zstd", use_dictionary=False, write_page_checksum=True
            ) as writer:
                for table in self.tables():
                    index = table.column("index").to_numpy()
                    if not np.array_equal(index, np.arange(expected, expected + len(index))):
                        raise UserError(f"{self.folder} has parts of something else: delete it and call again")
                    expected += len(index)
                    waiting.append(table.cast(schema))
                    if sum(map(len, waiting)) >= ROW_GROUP or expected == self.samples:
                        writer.write_table(pa.concat_tables(waiting))
                        waiting.clear()
            if expected == self.samples:
                partial.replace(path)
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else error  # Arrow has a strerror of its own
            raise UserError(f"Cannot write {path}: {reason}. Free some space, and call again to go on") from error
        finally:
            partial.unlink(missing_ok=True)
        if expected != self.samples:
            raise UserError(f"{self.folder} has {expected} of {self.samples} samples: delete it and call again")

    def clear(self) -> None:
        """Delete all parts."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _has_whole_sums(self, part: int) -> bool:
        try:
            return not self._sums(part).exists() or bool(read_arrays(self._sums(part)))
        except UNREADABLE:
            return False

    def _table(self, part: int) -> Path:
        return self.folder / f"{part:06d}.parquet"

    def _sums(self, part: int) -> Path:
        return self.folder / f"{part:06d}.npz"


def as_parquet(table: pa.Table) -> bytes:
    """Give a small table as the bytes of a Parquet file."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, use_dictionary=False, write_page_checksum=True)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def as_npz(arrays: Mapping[str, Tensor]) -> bytes:
    """Give arrays by their names as the bytes of a file for :func:`numpy.load`."""
    buffer = io.BytesIO()
    np.savez(buffer, **{name: array.numpy() for name, array in arrays.items()})  # type: ignore[arg-type]
    return buffer.getvalue()
