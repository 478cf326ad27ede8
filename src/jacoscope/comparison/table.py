"""The runs as a table: a row each, sorted, exported; and what several seeds have in common."""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, TypeGuard

from jacoscope.comparison.runs import Run, Setting, differing_settings, runs_below
from jacoscope.comparison.words import NORM, SHOWN, value_text
from jacoscope.errors import UserError, nearest
from jacoscope.files import write_whole


@dataclass(frozen=True)
class Table:
    """All runs below a folder.

    Attributes:
        folder: the folder.
        runs: in the order that is shown.
        settings: of each run, what it does not share with all others.
    """

    folder: Path
    runs: list[Run]
    settings: list[dict[str, Setting]]

    @classmethod
    def of(cls, folder: Path, sort: str | None = None) -> "Table":
        """Read the runs below a folder.

        Args:
            folder: a sweep's directory, or any that runs are in.
            sort: a column to sort by; with a minus before it, from large to small. By default by name.

        Raises:
            UserError: if there is no run, or no such column.
        """
        runs = runs_below(folder)
        table = cls(folder, runs, differing_settings(runs))
        return table.sorted_by(sort) if sort else table

    def without_pruned(self) -> "Table":
        """Give the table without runs that were ended early: they say little about what their settings lead to."""
        kept = [i for i, run in enumerate(self.runs) if run.status != "pruned"]
        return Table(self.folder, [self.runs[i] for i in kept], [self.settings[i] for i in kept])

    @property
    def keys(self) -> list[str]:
        """The settings in which the runs differ."""
        return list(self.settings[0])

    @property
    def labels(self) -> list[str]:
        """Those keys as they head a column: by their last part, where that tells them apart."""
        ends = [key.removesuffix("._target_").rpartition(".")[2] for key in self.keys]
        return [end if ends.count(end) == 1 else key for key, end in zip(self.keys, ends, strict=True)]

    def text(self, key: str, value: Setting) -> str:
        """Write a value of a setting; a class by its own name, where that tells it from the others."""
        if not key.endswith("._target_"):
            return value_text(value)
        names = {str(settings[key]) for settings in self.settings}
        own = str(value).rpartition(".")[2]
        return own if sum(name.rpartition(".")[2] == own for name in names) == 1 else str(value)

    def values(self, key: str) -> list[Setting]:
        """Give the values of a setting, each once: numbers by size, others as the sweep goes through them."""
        rows = sorted(range(len(self.runs)), key=lambda row: _natural(self.runs[row].name))
        values = list(dict.fromkeys(self.settings[row][key] for row in rows))
        return sorted(values) if are_numbers(values) else values

    @property
    def metrics(self) -> list[str]:
        """The metrics that are shown: those of :data:`SHOWN` and what the runs were to optimise."""
        measured = dict.fromkeys(name for run in self.runs for name in run.metrics)
        optimised = dict.fromkeys(name for run in self.runs for name in _objectives(run))
        return [name for name in {**SHOWN, **optimised} if name in measured] or list(measured)

    @property
    def tradeoff(self) -> tuple[str, str] | None:
        """The norm and the accuracy to weigh against each other: what a search for both optimises, else of test."""
        objectives = objectives_of(self.runs)
        optimised = [name for name in objectives if len(objectives) > 1 and name.endswith("accuracy")]
        for accuracy in (*optimised, "test/accuracy", "val/accuracy"):
            if {NORM, accuracy} <= set(self.metrics):
                return NORM, accuracy
        return None

    def rows(self) -> list[dict[str, Any]]:
        """Give every run as a flat mapping, with all that it measured; an empty cell is none."""
        measured = dict.fromkeys(name for run in self.runs for name in run.metrics)
        return [
            {
                "run": run.name,
                "status": run.status,
                **{key: value if value != "" else None for key, value in settings.items()},
                **{name: run.metrics.get(name) for name in measured},
                "seconds": run.result.wall_seconds if run.result else None,
                "error": run.result.error if run.result else None,
                "path": str(run.path),
            }
            for run, settings in zip(self.runs, self.settings, strict=True)
        ]

    def sorted_by(self, column: str) -> "Table":
        """Give the table sorted by a column; empty cells come last."""
        rows, name = self.rows(), column.removeprefix("-")
        if name not in rows[0]:
            name = dict(zip(self.labels, self.keys, strict=True)).get(name, name)
        if name not in rows[0]:
            raise UserError(f"There is no column {name}.{nearest(name, rows[0])}\nColumns: {', '.join(rows[0])}")
        cells = [row[name] for row in rows]
        there = [i for i, cell in enumerate(cells) if cell is not None and cell == cell]
        numbers = all(isinstance(cells[i], (int, float)) for i in there)
        there.sort(key=lambda i: cells[i] if numbers else str(cells[i]), reverse=column.startswith("-"))
        order = there + [i for i in range(len(rows)) if i not in set(there)]
        return Table(self.folder, [self.runs[i] for i in order], [self.settings[i] for i in order])

    def over_seeds(self) -> list[tuple[dict[str, Setting], dict[str, tuple[float, float, int]]]]:
        """Give for each setting that several seeds share: mean, standard deviation and number of values of each metric.

        The standard deviation is that of the runs, with n − 1 in its denominator.
        """
        groups: dict[tuple[Any, ...], list[Run]] = {}
        for run, settings in zip(self.runs, self.settings, strict=True):
            if run.status == "finished":
                groups.setdefault(tuple((k, v) for k, v in settings.items() if k != "seed"), []).append(run)
        found = []
        for key, runs in groups.items():
            if len(runs) > 1:
                values = {name: _finite(run.metrics.get(name, math.nan) for run in runs) for name in self.metrics}
                found.append((dict(key), {n: (fmean(v), stdev(v), len(v)) for n, v in values.items() if len(v) > 1}))
        return found

    def export(self, path: Path) -> None:
        """Write all columns, as CSV or Parquet by the ending of the name.

        Raises:
            UserError: if it has another ending, or the file cannot be written.
        """
        import pyarrow as pa

        if path.suffix not in (".csv", ".parquet"):
            raise UserError(f"{path} ends in {path.suffix or 'nothing'}: .csv and .parquet are what there is")
        rows = self.rows()
        mixed = {k for k in rows[0] if any(isinstance(row[k], str) for row in rows)}
        rows = [{k: str(v) if k in mixed and v is not None else v for k, v in row.items()} for row in rows]
        table, sink = pa.Table.from_pylist(rows), pa.BufferOutputStream()
        if path.suffix == ".csv":
            import pyarrow.csv

            pyarrow.csv.write_csv(table, sink)
        else:
            import pyarrow.parquet

            pyarrow.parquet.write_table(table, sink)
        write_whole(path, sink.getvalue().to_pybytes())


def are_numbers(values: Sequence[Setting]) -> TypeGuard[Sequence[float]]:
    """Tell whether all values of a setting are numbers."""
    return all(isinstance(value, float) for value in values)


def _natural(name: str) -> list[tuple[str, int]]:
    """Give what sorts names as a person does, with 10 after 9."""
    return [(text, int(number or 0)) for text, number in re.findall(r"(\D*)(\d*)", name)]


def _finite(values: Iterable[float]) -> list[float]:
    return [value for value in values if math.isfinite(value)]


def pareto_front(runs: Sequence[Run], small: str, large: str) -> list[Run]:
    """Give the runs that no other beats in one metric without losing in the other, by the first metric.

    Args:
        runs: all.
        small: a metric that is better the smaller it is.
        large: one that is better the larger it is.
    """
    front: list[Run] = []
    there = [run for run in runs if {small, large} <= run.metrics.keys()]
    for run in sorted(there, key=lambda run: (run.metrics[small], -run.metrics[large])):
        if not front or run.metrics[large] > front[-1].metrics[large]:
            front.append(run)
    return front


def objectives_of(runs: Sequence[Run]) -> list[str]:
    """Give the metrics that the runs were to optimise."""
    return list(dict.fromkeys(name for run in runs for name in _objectives(run)))


def _objectives(run: Run) -> list[str]:
    objective = run.result.config.get("objective", []) if run.result else []
    return [objective] if isinstance(objective, str) else list(objective)
