"""The parts that a long analysis is written in, one for each chunk, so that it can go on where it stopped."""

import io
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from jacoscope.analysis.reduction import MapSums
from jacoscope.errors import UserError
from jacoscope.files import write_whole


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

    def write(self, part: int, table: pa.Table, sums: MapSums | None) -> None:
        """Keep a part; its table last, for the table says that the part is there.

        Raises:
            UserError: if the folder cannot be written or the disk is full.
        """
        if sums is not None:
            buffer = io.BytesIO()
            np.savez(buffer, **{name: array.numpy() for name, array in sums.arrays().items()})  # type: ignore[arg-type]
            write_whole(self._maps(part), buffer.getvalue())
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink)
        write_whole(self._table(part), sink.getvalue().to_pybytes())

    def tables(self) -> Iterator[pa.Table]:
        """Give the tables in the order of the samples, one at a time."""
        for part in range(len(self)):
            yield pq.read_table(self._table(part))

    def sums(self) -> dict[str, Tensor] | None:
        """Give the sums of the maps over all parts, or none where none were kept."""
        total: dict[str, Tensor] = {}
        for part in range(len(self)):
            if not self._maps(part).exists():
                return None
            with np.load(self._maps(part)) as arrays:
                for name in arrays.files:
                    values = torch.from_numpy(arrays[name])
                    total[name] = total[name] + values if name in total else values
        return total

    def merge(self, path: Path, schema: pa.Schema) -> None:
        """Write all tables as one file, holding one part at a time in memory.

        Raises:
            UserError: if a sample is missing or there twice, or the file cannot be written.
        """
        partial = path.with_name(f".{path.name}.{os.getpid()}.part")
        expected = 0
        try:
            with pq.ParquetWriter(partial, schema, compression="zstd") as writer:
                for table in self.tables():
                    index = table.column("index").to_numpy()
                    if not np.array_equal(index, np.arange(expected, expected + len(index))):
                        raise UserError(f"{self.folder} has parts of something else: delete {self.folder.parent}")
                    expected += len(index)
                    writer.write_table(table.cast(schema))
            partial.replace(path)
        except OSError as error:
            raise UserError(f"Cannot write {path}: {error.strerror or error}. Free some space") from error
        finally:
            partial.unlink(missing_ok=True)
        if expected != self.samples:
            raise UserError(f"{path} has {expected} of {self.samples} samples: delete {path.parent} and call again")

    def clear(self) -> None:
        """Delete all parts."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _table(self, part: int) -> Path:
        return self.folder / f"{part:06d}.parquet"

    def _maps(self, part: int) -> Path:
        return self.folder / f"{part:06d}.npz"
