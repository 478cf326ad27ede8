"""The runs as a table: sorted, averaged over seeds, written as text, exported."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, TypeGuard

from jacoscope.comparison.collect import Run, Setting, runs_below
from jacoscope.comparison.robustness import robustness_columns
from jacoscope.comparison.text import (
    NORM,
    TITLES,
    metrics_text,
    numbers_text,
    spread_text,
    title,
    value_text,
)
from jacoscope.errors import UserError, nearest
from jacoscope.files import write_whole
from jacoscope.runs.result import duration


@dataclass(frozen=True)
class TextTable:
    """A table as text, for the terminal and the page.

    Attributes:
        settings: the headings of its first columns, which say what a row is.
        results: the headings of the other columns.
        rows: a text for each column.
    """

    settings: list[str]
    results: list[str]
    rows: list[list[str]]


@dataclass(frozen=True)
class Group:
    """Runs that differ in their seed alone.

    Attributes:
        settings: what they share.
        metrics: mean, standard deviation (with n − 1 in its denominator) and number of values n.
    """

    settings: dict[str, Setting]
    metrics: dict[str, tuple[float, float, int]]


@dataclass(frozen=True)
class RunTable:
    """All runs below a folder.

    Attributes:
        folder: the folder.
        runs: in the order that is shown.
        chosen: the metrics that have a column, if the user chose them.
    """

    folder: Path
    runs: list[Run]
    chosen: tuple[str, ...] | None = None

    @classmethod
    def read(cls, folder: Path, sort: str | None = None) -> "RunTable":
        """Read the runs below a folder.

        Args:
            folder: the directory of a sweep, or any folder that holds runs.
            sort: a column to sort by; with a minus before it, from large to small. By default by name.

        Raises:
            UserError: if there is no run, or no such column.
        """
        table = cls(folder, runs_below(folder))
        return table.sorted_by(sort) if sort else table

    def without_pruned(self) -> "RunTable":
        """Return the table without runs that were ended early: they say little about their settings."""
        return RunTable(self.folder, [run for run in self.runs if run.status != "pruned"])

    @property
    def keys(self) -> list[str]:
        """The settings in which the runs differ."""
        return list(self.runs[0].settings) if self.runs else []

    @property
    def labels(self) -> dict[str, str]:
        """The heading of each setting: the last part of its key, where no other key ends in it."""
        ends = {key: key.removesuffix("._target_").rpartition(".")[2] for key in self.keys}
        return {key: end if list(ends.values()).count(end) == 1 else key for key, end in ends.items()}

    def text(self, key: str, value: Setting) -> str:
        """Return a value of a setting as text; a class by its own name, where no other class has the same."""
        if not key.endswith("._target_"):
            return value_text(value)
        names = {str(run.settings[key]) for run in self.runs}
        own = str(value).rpartition(".")[2]
        return own if sum(name.rpartition(".")[2] == own for name in names) == 1 else str(value)

    def _texts(self, key: str) -> list[str]:
        values = [run.settings[key] for run in self.runs]
        return numbers_text(values) if are_numbers(values) else [self.text(key, value) for value in values]

    def describe(self, run: Run) -> str:
        """Return the settings of a run in words."""
        return ", ".join(f"{key} {self.text(key, value)}" for key, value in run.settings.items())

    def values(self, key: str) -> list[Setting]:
        """Return the values of a setting, each once: numbers by size, others in the order of the sweep."""
        runs = sorted(self.runs, key=lambda run: _natural(run.name))
        values = list(dict.fromkeys(run.settings[key] for run in runs))
        return sorted(values) if are_numbers(values) else values

    @property
    def objectives(self) -> list[str]:
        """The metrics that the runs were to optimise."""
        return list(dict.fromkeys(name for run in self.runs for name in run.objectives))

    @property
    def metrics(self) -> list[str]:
        """The metrics with a column: the chosen ones, or those of :data:`TITLES`, objectives and robustness, or all."""
        if self.chosen is not None:
            return list(self.chosen)
        measured = dict.fromkeys(name for run in self.runs for name in run.metrics)
        robustness = robustness_columns(run.metrics for run in self.runs)
        shown = dict.fromkeys([*TITLES, *self.objectives, *robustness])
        return [name for name in shown if name in measured] or list(measured)

    @property
    def main_metric(self) -> str | None:
        """The metric to judge the runs by: test accuracy, or else an objective; ``None`` if neither was measured."""
        return next((name for name in ("test/accuracy", *self.objectives) if name in self.metrics), None)

    @property
    def tradeoff(self) -> tuple[str, str] | None:
        """The norm and the accuracy to weigh against each other; the accuracy that a search optimises, if any."""
        optimised = [name for name in self.objectives if len(self.objectives) > 1 and name.endswith("accuracy")]
        for accuracy in (*optimised, "test/accuracy", "val/accuracy"):
            if {NORM, accuracy} <= set(self.metrics):
                return NORM, accuracy
        return None

    def rows(self) -> list[dict[str, Any]]:
        """Return a flat mapping for each run, with all that was measured or chosen; ``None`` for an empty cell."""
        measured = self.chosen or dict.fromkeys(name for run in self.runs for name in run.metrics)
        return [
            {
                "run": run.name,
                "status": run.status,
                **{key: value if value != "" else None for key, value in run.settings.items()},
                **{name: run.metrics.get(name) for name in measured},
                "seconds": run.seconds,
                "error": run.error,
                "path": str(run.path),
            }
            for run in self.runs
        ]

    def column(self, name: str) -> str:
        """Return the key of a column by its key, or by its heading where that is the last part of a key.

        Raises:
            UserError: if there is no such column.
        """
        known = list(self.rows()[0])
        key = name if name in known else {label: key for key, label in self.labels.items()}.get(name, name)
        if key not in known:
            raise UserError(
                f"There is no column {name}.{nearest(name, known)} A setting has a column if the runs differ in it\n"
                f"Columns: {', '.join(known)}"
            )
        return key

    def sorted_by(self, column: str) -> "RunTable":
        """Return the table sorted by a column; empty cells come last."""
        rows, name = self.rows(), self.column(column.removeprefix("-"))
        cells = [row[name] for row in rows]
        known = [i for i, cell in enumerate(cells) if cell is not None and cell == cell]  # NaN is not equal to itself
        numbers = all(isinstance(cells[i], (int, float)) for i in known)
        known.sort(key=lambda i: cells[i] if numbers else str(cells[i]), reverse=column.startswith("-"))
        empty = [i for i in range(len(rows)) if i not in set(known)]
        return RunTable(self.folder, [self.runs[i] for i in known + empty])

    def over_seeds(self) -> list[Group]:
        """Return the finished runs in groups of several seeds. A metric needs two finite values to be in a group."""
        members: dict[tuple[Any, ...], list[Run]] = {}
        for run in self.runs:
            if run.status == "finished":
                members.setdefault(tuple((k, v) for k, v in run.settings.items() if k != "seed"), []).append(run)
        groups = []
        for shared, runs in members.items():
            if len({run.settings.get("seed") for run in runs}) > 1:
                values = {name: [run.metrics[name] for run in runs if _is_finite(run, name)] for name in self.metrics}
                spread = {name: (fmean(v), stdev(v), len(v)) for name, v in values.items() if len(v) > 1}
                groups.append(Group(dict(shared), spread))
        return groups

    def as_text(self) -> TextTable:
        """Return every run: its name, settings, metrics, status and time."""
        columns = [
            [run.name for run in self.runs],
            *(self._texts(key) for key in self.keys),
            *(metrics_text(name, [run.metrics.get(name) for run in self.runs]) for name in self.metrics),
            [run.status for run in self.runs],
            [duration(run.seconds or 0.0) for run in self.runs],
        ]
        rows = [list(row) for row in zip(*columns, strict=True)]
        return TextTable(["run", *self.labels.values()], [*map(title, self.metrics), "status", "time"], rows)

    def over_seeds_as_text(self) -> TextTable | None:
        """Return mean and standard deviation over seeds, with the settings in which the groups differ.

        ``None`` where there is one seed of each.
        """
        groups = self.over_seeds() if "seed" in self.keys else []
        if not groups:
            return None
        different = [
            key for key in groups[0].settings if len(groups) == 1 or len({group.settings[key] for group in groups}) > 1
        ]
        labels = [self.labels[key] for key in different]
        rows = [
            [
                *([self.text(key, group.settings[key]) for key in different] or ["seeds"]),
                *(
                    spread_text(name, *group.metrics[name][:2]) if name in group.metrics else ""
                    for name in self.metrics
                ),
                str(max((number for _, _, number in group.metrics.values()), default="")),
            ]
            for group in groups
        ]
        return TextTable(labels or ["all"], [*map(title, self.metrics), "seeds"], rows)

    def export(self, path: Path) -> None:
        """Write all columns, as CSV or Parquet by the ending of the name.

        Raises:
            UserError: if it has another ending, or the file cannot be written.
        """
        import pyarrow as pa
        import pyarrow.csv
        import pyarrow.parquet

        writers = {".csv": pa.csv.write_csv, ".parquet": pa.parquet.write_table}
        if path.suffix not in writers:
            raise UserError(f"{path} ends in {path.suffix or 'nothing'}; .csv and .parquet can be written")
        rows = self.rows()
        mixed = {k for k in rows[0] if any(isinstance(row[k], str) for row in rows)}
        rows = [{k: str(v) if k in mixed and v is not None else v for k, v in row.items()} for row in rows]
        sink = pa.BufferOutputStream()
        writers[path.suffix](pa.Table.from_pylist(rows), sink)
        write_whole(path, sink.getvalue().to_pybytes())


def pareto_front(runs: Sequence[Run], small: str, large: str) -> list[Run]:
    """Return the runs that no other run beats in one metric without losing in the other, sorted by the first metric.

    Args:
        runs: all runs.
        small: a metric that is better the smaller it is.
        large: one that is better the larger it is.
    """
    front: list[Run] = []
    measured = [run for run in runs if _is_finite(run, small) and _is_finite(run, large)]
    for run in sorted(measured, key=lambda run: (run.metrics[small], -run.metrics[large])):
        if not front or run.metrics[large] > front[-1].metrics[large]:
            front.append(run)
    return front


def are_numbers(values: Sequence[Setting]) -> TypeGuard[Sequence[float]]:
    """Return whether all values of a setting are numbers."""
    return all(isinstance(value, float) for value in values)


def _natural(name: str) -> list[tuple[str, int]]:
    """Return a key that sorts names with 10 after 9."""
    return [(text, int(number or 0)) for text, number in re.findall(r"(\D*)(\d*)", name)]


def _is_finite(run: Run, metric: str) -> bool:
    return math.isfinite(run.metrics.get(metric, math.nan))
