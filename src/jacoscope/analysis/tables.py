"""Tables of samples: their columns with units and meanings, and Parquet files that are read only if they are sound.

Files of an earlier start may be damaged, or come from somebody else. So the sizes that a file announces are checked
before memory is allocated for them.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from torch import Tensor

from jacoscope.analysis.arrays import DAMAGED
from jacoscope.errors import UserError
from jacoscope.jacobian_batch import JacobianBatch
from jacoscope.measures import MEASURES, PER_PIXEL

FINITE = "whether logits and J are finite; if not, all columns that may be null are null"
"""Meaning of the column ``finite`` of every table of samples."""
NAMED = 10
"""Largest number of samples that are named if they are left out."""


class Column(NamedTuple):
    """One column of a table.

    ``unit`` and ``meaning`` are stored in the file as the field's metadata. ``compute``, where given, returns the
    values for a batch of inputs and Jacobians, ``[batch]`` or ``[batch, entries of a list]``.
    """

    name: str
    kind: pa.DataType
    unit: str
    meaning: str
    compute: Callable[[JacobianBatch], Tensor] | None = None
    entries: int = 1
    """Length of a list. It is no part of the type: pyarrow 25 and older read no nulls among lists of a fixed size."""
    nullable: bool = True
    """Whether it is null in rows whose logits or Jacobian are not finite."""


def columns(classes: int, rank: int, output: str) -> list[Column]:
    """Return the columns of samples.parquet. To add a column that is no measure, add an entry here.

    Args:
        classes: number of classes.
        rank: number of singular values of a Jacobian, the smaller of outputs and features.
        output: what is differentiated.
    """
    number, real = pa.int32(), pa.float32()
    J = f"J = ∂ {output} / ∂ pixels"
    several = pa.list_(real)
    nearest = "class behind the decision boundary at boundary_distance"
    norms, values = f"L2 norm of each output's derivative, a part of {J}", f"singular values of {J}, descending"
    return [
        Column("index", pa.int64(), "", "index of the sample in its split", nullable=False),
        Column("label", number, "class", "true class", lambda batch: batch.labels, nullable=False),
        Column("finite", pa.bool_(), "", FINITE, lambda batch: batch.finite, nullable=False),
        Column("prediction", number, "class", "class with the largest logit", lambda batch: batch.predictions),
        Column("correct", pa.bool_(), "", "whether prediction and label agree", lambda batch: batch.correct),
        Column("label_probability", real, "probability", "probability of the true class", _label_probability),
        *(Column(measure.name, real, measure.unit, measure.meaning(output), measure) for measure in MEASURES.values()),
        Column("nearest_class", number, "class", nearest, lambda batch: batch.boundary[1]),
        Column("logits", several, "logits", "the network's output for each class", lambda batch: batch.logits, classes),
        Column("output_norms", several, PER_PIXEL, norms, lambda batch: batch.output_norms.float(), classes),
        Column("singular_values", several, PER_PIXEL, values, lambda batch: batch.singular_values.float(), rank),
    ]


def _label_probability(batch: JacobianBatch) -> Tensor:
    return batch.probabilities.gather(1, batch.labels.unsqueeze(1)).squeeze(1)


def arrow_schema(described: Sequence[Column], about: dict[str, str] | None = None) -> pa.Schema:
    """Return the Arrow schema, with units and meanings as metadata of the fields.

    Args:
        described: the columns.
        about: what the table is, as metadata of the whole.
    """
    fields = [
        pa.field(
            c.name,
            c.kind,
            c.nullable,
            {"unit": c.unit, "meaning": c.meaning, "entries": str(c.entries)},
        )
        for c in described
    ]
    return pa.schema(fields, metadata=about or {})


def as_table(values: dict[str, Tensor], schema: pa.Schema) -> pa.Table:
    """Make a table from tensors by the names of its columns, ``[rows]`` or ``[rows, entries of a list]``.

    Columns that may be null are null where the column ``finite`` is false.
    """
    arrays = []
    for field in schema:
        column = values[field.name]
        missing = ~values["finite"].numpy() if field.nullable else None
        if pa.types.is_list(field.type):
            there = values["finite"]
            flat = pa.array(column[there].flatten().numpy()).cast(field.type.value_type)
            ends = np.cumsum(np.append(0, there.numpy() * column.shape[1])).astype(np.int32)
            arrays.append(pa.ListArray.from_arrays(ends, flat, mask=pa.array(missing)))
        else:
            arrays.append(pa.array(column.numpy(), mask=missing).cast(field.type))
    return pa.table(arrays, schema=schema)


def as_parquet(table: pa.Table) -> bytes:
    """Return a small table as the bytes of a Parquet file."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, use_dictionary=False, write_page_checksum=True)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def evenly_spread(count: int, chosen: int) -> list[int]:
    """Choose numbers below ``count``, evenly spread and ascending; all of them if there are no more than ``chosen``.

    >>> evenly_spread(10, 4), evenly_spread(2, 4)
    ([0, 3, 6, 9], [0, 1])
    """
    return np.linspace(0, count - 1, min(count, chosen)).round().astype(int).tolist()  # type: ignore[no-any-return]


def finite_rows(file: Path, names: Sequence[str] | None = None) -> pa.Table:
    """Read the rows whose Jacobian is finite.

    Args:
        file: a table with a column ``finite``.
        names: of the columns to read; by default all.

    Raises:
        UserError: if there is no such row.
    """
    table = pq.read_table(file, columns=None if names is None else list(names), filters=pc.field("finite"))
    if not len(table):
        raise UserError(
            f"{file}: the Jacobian of every sample is NaN or infinite, so there is nothing to sum up. "
            "That training may have diverged: name another checkpoint, checkpoint=FILE"
        )
    return table


def left_out(file: Path) -> dict[str, Any]:
    """Count the samples of a table whose Jacobian is NaN or infinite, and name the first of them."""
    indices = pq.read_table(file, columns=["index"], filters=~pc.field("finite"))["index"].to_pylist()
    return {"samples": len(indices), "first": indices[:NAMED]}


def holds_table(path: Path, schema: pa.Schema, rows: range) -> bool:
    """Check whether a Parquet file holds a table of exactly these columns, each page of it as it was written.

    Args:
        path: the file.
        schema: its columns.
        rows: the allowed numbers of rows.
    """
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            if not file.schema_arrow.equals(schema) or not _announces(file.metadata, schema, rows):
                return False
            for batch in file.iter_batches():
                for field in (field for field in schema if pa.types.is_list(field.type)):
                    lengths = pc.unique(pc.list_value_length(batch.column(field.name))).to_pylist()
                    if set(lengths) - {None, _entries(field)}:
                        return False
    except (*DAMAGED, pa.ArrowException):
        return False
    return True


def _announces(about: pq.FileMetaData, schema: pa.Schema, rows: range) -> bool:
    """Check whether the sizes in a file's footer are those of such a table, written without dictionaries."""
    groups = [about.row_group(i) for i in range(about.num_row_groups)]
    if about.num_rows not in rows or sum(group.num_rows for group in groups) != about.num_rows:
        return False
    for group in groups:
        for i, field in enumerate(schema):
            column, length = group.column(i), _entries(field)
            room = (group.num_rows * length + 1) * _width(field.type) * 4 + (1 << 16)
            if column.num_values > group.num_rows * length or column.total_uncompressed_size > room:
                return False
            if any("DICTIONARY" in encoding for encoding in column.encodings):
                return False
    return True


def _entries(field: pa.Field) -> int:
    """Length of the lists of a column, or 1."""
    return int((field.metadata or {}).get(b"entries", 1))


def _width(kind: pa.DataType) -> int:
    """Bytes of a value."""
    inner = kind.value_type if pa.types.is_list(kind) else kind
    return 256 if pa.types.is_string(inner) else max(1, inner.bit_width // 8)
