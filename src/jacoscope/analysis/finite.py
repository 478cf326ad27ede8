"""Samples whose Jacobian is NaN or infinite: they keep their row, of nulls, and are left out of all that is counted."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jacoscope.errors import UserError

NAMED = 10  # of the samples left out, the first ones are named


def finite_rows(table_file: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Read those rows of a table that have numbers: all columns, or only some.

    Raises:
        UserError: if there are none.
    """
    table = pq.read_table(table_file, columns=columns, filters=pc.field("finite"))
    if not len(table):
        raise UserError(
            f"{table_file}: the Jacobian of every sample is NaN or infinite, so there is nothing to sum up. "
            "That training may have diverged: name another checkpoint, checkpoint=FILE"
        )
    return table


def left_out(table_file: Path) -> dict[str, Any]:
    """Say how many samples of a table have no numbers, and which are the first of them."""
    indices = pq.read_table(table_file, columns=["index"], filters=~pc.field("finite"))["index"].to_pylist()
    return {"samples": len(indices), "first": indices[:NAMED]}


def in_words(missing: dict[str, Any]) -> str:
    """Tell what :func:`left_out` found; nothing where nothing was left out.

    >>> in_words({"samples": 12, "first": [4, 20]})
    'Left out: 12 samples whose Jacobian is NaN or infinite (index 4, 20, …)'
    """
    if not missing["samples"]:
        return ""
    more = ", …" if missing["samples"] > len(missing["first"]) else ""
    which = ", ".join(map(str, missing["first"]))
    samples = "1 sample" if missing["samples"] == 1 else f"{missing['samples']:,} samples"
    return f"Left out: {samples} whose Jacobian is NaN or infinite (index {which}{more})"
