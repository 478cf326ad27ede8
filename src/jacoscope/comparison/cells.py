"""What stands in the tables of runs, in the terminal as on the page."""

from dataclasses import dataclass

from jacoscope.comparison.table import Table
from jacoscope.comparison.words import title, with_spread, written
from jacoscope.runs.result import duration


@dataclass(frozen=True)
class Cells:
    """A table as text.

    Attributes:
        settings: the heads of its first columns, which say what a row is.
        results: the heads of the others.
        rows: a text for each column.
    """

    settings: list[str]
    results: list[str]
    rows: list[list[str]]


def cells_of_runs(table: Table) -> Cells:
    """Every run: its name, settings, metrics, status and time."""
    rows = [
        [
            run.name,
            *(table.text(key, value) for key, value in settings.items()),
            *(written(name, run.metrics.get(name)) for name in table.metrics),
            run.status,
            duration(run.result.wall_seconds if run.result else 0.0),
        ]
        for run, settings in zip(table.runs, table.settings, strict=True)
    ]
    return Cells(["run", *table.labels], [*map(title, table.metrics), "status", "time"], rows)


def cells_over_seeds(table: Table) -> Cells | None:
    """Mean and standard deviation of what several seeds share; none where there is one seed of each."""
    groups = table.over_seeds() if "seed" in table.keys else []
    if not groups:
        return None
    labels = [label for key, label in zip(table.keys, table.labels, strict=True) if key != "seed"]
    rows = [
        [
            *([table.text(key, value) for key, value in settings.items()] or ["seeds"]),
            *(with_spread(name, *values[name][:2]) if name in values else "" for name in table.metrics),
            str(max((number for _, _, number in values.values()), default="")),
        ]
        for settings, values in groups
    ]
    return Cells(labels or ["all"], [*map(title, table.metrics), "seeds"], rows)
