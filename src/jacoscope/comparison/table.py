"""The runs as a table: sorted, averaged over seeds, written as text, exported."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, TypeGuard

from jacoscope.comparison.collect import Run, Setting, runs_below
from jacoscope.comparison.robustness import PREFIX, robustness_columns, robustness_title
from jacoscope.errors import UserError, nearest
from jacoscope.files import write_whole
from jacoscope.measures import MEASURES, shown_in
from jacoscope.runs.result import duration

NORM = MEASURES["frobenius"].tag()
"""The metric of sensitivity that the accuracy is weighed against."""

TITLES = {
    "val/accuracy": "val accuracy",
    "test/accuracy": "test accuracy",
    "gap": "train − test",
    **{measure.tag(): measure.title() for measure in shown_in("runs")},
}
"""The metrics that have a column, and how it is headed. To add a measure, add ``runs`` to its entry in measures.py."""


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
    """

    folder: Path
    runs: list[Run]

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
        """The metrics that have a column: those of :data:`TITLES`, objectives, robustness; if there is none, all."""
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
        """Return a flat mapping for each run, with all that it measured; ``None`` for an empty cell."""
        measured = dict.fromkeys(name for run in self.runs for name in run.metrics)
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

    def sorted_by(self, column: str) -> "RunTable":
        """Return the table sorted by a column; empty cells come last."""
        rows, name = self.rows(), column.removeprefix("-")
        if name not in rows[0]:
            name = {label: key for key, label in self.labels.items()}.get(name, name)
        if name not in rows[0]:
            raise UserError(f"There is no column {name}.{nearest(name, rows[0])}\nColumns: {', '.join(rows[0])}")
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
        rows = [
            [
                run.name,
                *(self.text(key, value) for key, value in run.settings.items()),
                *(metric_text(name, run.metrics.get(name)) for name in self.metrics),
                run.status,
                duration(run.seconds or 0.0),
            ]
            for run in self.runs
        ]
        return TextTable(["run", *self.labels.values()], [*map(title, self.metrics), "status", "time"], rows)

    def over_seeds_as_text(self) -> TextTable | None:
        """Return mean and standard deviation over seeds; ``None`` where there is one seed of each."""
        groups = self.over_seeds() if "seed" in self.keys else []
        if not groups:
            return None
        labels = [label for key, label in self.labels.items() if key != "seed"]
        rows = [
            [
                *([self.text(key, value) for key, value in group.settings.items()] or ["seeds"]),
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


def title(metric: str) -> str:
    """Return the name of a metric for people."""
    return robustness_title(metric) if metric.startswith(PREFIX) else TITLES.get(metric, metric)


def is_share(metric: str) -> bool:
    """Return whether a metric is written in percent."""
    if metric.startswith(PREFIX):
        return not metric.endswith("distance")
    return metric.endswith("accuracy") or metric == "gap"


def metric_text(name: str, value: float | None) -> str:
    """Return the value of a metric as text.

    >>> metric_text("val/accuracy", 0.98765), metric_text("gap", -0.00001), metric_text("val/loss", 0.03456)
    ('98.77 %', '0.00 %', '0.03456')
    """
    if value is None or not math.isfinite(value):
        return "" if value is None else str(value)
    if is_share(name):
        return f"{round(value, 4) + 0.0:.2%}".replace("%", " %")  # + 0.0 takes the sign of -0.0 away
    return f"{value:.4g}"


def spread_text(name: str, mean: float, deviation: float) -> str:
    """Return a mean and its standard deviation, both to the two leading digits of the latter.

    >>> spread_text("test/accuracy", 0.9938, 0.00031), spread_text("val/loss", 0.03456, 0.00123)
    ('99.38 % ± 0.03 %', '0.0346 ± 0.0012')
    >>> spread_text(NORM, 73.23, 16.4), spread_text(NORM, 73.23, 0.0)
    ('73 ± 16', '73.23 ± 0')
    """
    text = metric_text(name, deviation)
    if text.endswith("%") or not (deviation > 0 and math.isfinite(mean) and math.isfinite(deviation)):
        return f"{metric_text(name, mean)} ± {text}"
    digits = max(0, 1 - math.floor(math.log10(deviation)))
    return f"{mean:.{digits}f} ± {deviation:.{digits}f}"


def value_text(value: Setting) -> str:
    """Return the value of a setting as text.

    >>> value_text(0.00431171), value_text(1e-4), value_text(1234567.0), value_text("lenet5")
    ('0.004312', '0.0001', '1234567', 'lenet5')
    """
    if not isinstance(value, float):
        return str(value)
    return str(int(value)) if value.is_integer() and abs(value) < 1e15 else f"{value:.4g}"


def shortened(text: str, length: int = 28) -> str:
    """Leave out the middle of a text that is longer than ``length``.

    >>> shortened("SwishWithLearnableTemperature", 17)
    'SwishWit…perature'
    """
    half = (length - 1) // 2
    return text if len(text) <= length else f"{text[:half]}…{text[-half:]}"


def _natural(name: str) -> list[tuple[str, int]]:
    """Return a key that sorts names with 10 after 9."""
    return [(text, int(number or 0)) for text, number in re.findall(r"(\D*)(\d*)", name)]


def _is_finite(run: Run, metric: str) -> bool:
    return math.isfinite(run.metrics.get(metric, math.nan))
