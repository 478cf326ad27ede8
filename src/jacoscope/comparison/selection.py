"""Which runs and which columns of a table are shown: ``--filter`` and ``--columns``."""

import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from jacoscope.comparison.table import RunTable
from jacoscope.errors import UserError

COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "!=": operator.ne,
    ">=": operator.ge,
    "<=": operator.le,
    "=": operator.eq,
    ">": operator.gt,
    "<": operator.lt,
}


def filtered(table: RunTable, conditions: Sequence[str]) -> RunTable:
    """Return the runs that meet all conditions.

    Args:
        table: the runs.
        conditions: such as ``test/accuracy>0.99`` or ``model=lenet5``. A run without a value meets ``!=`` alone.

    Raises:
        UserError: if a condition cannot be read, its column does not exist, or no run meets them.
    """
    rows = table.rows()
    kept = list(range(len(rows)))
    for condition in conditions:
        parts = re.fullmatch(r"(.+?)(!=|>=|<=|=|>|<)(.*)", condition.strip())
        if parts is None:
            raise UserError(f"--filter={condition} has no comparison. Type COLUMN=VALUE; others are != < <= > >=")
        name, sign, wanted = table.column(parts[1].strip()), parts[2], parts[3].strip()
        kept = [i for i in kept if _meets(rows[i][name], sign, wanted, condition)]
    if not kept:
        raise UserError(f"No run meets --filter={' --filter='.join(conditions)}")
    return RunTable(table.folder, [table.runs[i] for i in kept])


def with_columns(table: RunTable, names: Sequence[str]) -> RunTable:
    """Return the table with these settings and metrics alone, by their keys; run, status and time are always there."""
    settings = [key for key in names if key in table.keys]
    runs = [replace(run, settings={key: run.settings[key] for key in settings}) for run in table.runs]
    return RunTable(table.folder, runs, chosen=tuple(name for name in names if name not in settings))


def _meets(value: Any, sign: str, wanted: str, condition: str) -> bool:
    if isinstance(value, (int, float)):
        try:
            number = float(wanted)
        except ValueError:
            raise UserError(
                f"--filter={condition}: that column has numbers, but {wanted or 'nothing'} is not a number"
            ) from None
        return COMPARISONS[sign](value, number)
    if value is None:
        return sign == "!="
    return COMPARISONS[sign](str(value), wanted)
