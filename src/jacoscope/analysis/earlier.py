"""Tables and arrays of an earlier start: exactly what was written, or not read at all.

They lie in a run's folder, and that may be damaged, or come from somebody else: what a file announces is compared with
what it is to hold before memory is given to it.
"""

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

UNREADABLE = (OSError, ValueError, KeyError, TypeError, EOFError, MemoryError, zipfile.BadZipFile, pa.ArrowException)
"""What reading a damaged file raises."""


def holds_table(path: Path, schema: pa.Schema, rows: range) -> bool:
    """Tell whether a Parquet file holds a table of just these columns, each page of it as it was written.

    Args:
        path: the file.
        schema: its columns.
        rows: how many there may be.
    """
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            if not file.schema_arrow.equals(schema) or not _announces(file.metadata, schema, rows):
                return False
            for _ in file.iter_batches():
                pass
    except UNREADABLE:
        return False
    return True


def read_arrays(path: Path) -> dict[str, "np.ndarray[Any, Any]"]:
    """Read arrays by their names, as :func:`numpy.savez` writes them: without compression, and never objects.

    Raises:
        Exception: one of ``UNREADABLE``, if the file is damaged or announces more than it holds.
    """
    with zipfile.ZipFile(path) as archive:
        packed = any(part.compress_type != zipfile.ZIP_STORED for part in archive.infolist())
        if packed or sum(part.file_size for part in archive.infolist()) > path.stat().st_size:
            raise ValueError("it holds more than was written")
    with np.load(path, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def holds_arrays(path: Path, shapes: dict[str, tuple[int, ...]]) -> bool:
    """Tell whether a file holds arrays of just these names and shapes, all of them numbers."""
    try:
        found = read_arrays(path)
    except UNREADABLE:
        return False
    return {name: array.shape for name, array in found.items()} == shapes and all(
        array.dtype.kind in "fi" for array in found.values()
    )


def holds_object(path: Path) -> bool:
    """Tell whether a file holds a JSON object."""
    try:
        return isinstance(json.loads(path.read_text()), dict)
    except (*UNREADABLE, RecursionError):
        return False


def _announces(about: pq.FileMetaData, schema: pa.Schema, rows: range) -> bool:
    """Tell whether the sizes in a file's footer are those of such a table, written without dictionaries."""
    groups = [about.row_group(i) for i in range(about.num_row_groups)]
    if about.num_rows not in rows or sum(group.num_rows for group in groups) != about.num_rows:
        return False
    for group in groups:
        for i, field in enumerate(schema):
            column, length = group.column(i), getattr(field.type, "list_size", 1)
            room = (group.num_rows * length + 1) * _width(field.type) * 4 + (1 << 16)
            if column.num_values > group.num_rows * length or column.total_uncompressed_size > room:
                return False
            if any("DICTIONARY" in encoding for encoding in column.encodings):
                return False
    return True


def _width(kind: pa.DataType) -> int:
    """Bytes of a value."""
    inner = kind.value_type if pa.types.is_fixed_size_list(kind) else kind
    return 256 if pa.types.is_string(inner) else max(1, inner.bit_width // 8)
