"""The table of runs in the terminal."""

import math
from collections import Counter

from rich import box
from rich.console import Console
from rich.table import Table as Grid

from jacoscope.runs.overview.table import SHOWN, Table, objectives_of, pareto_front

COLORS = {"failed": "red", "interrupted": "yellow", "running": "cyan", "waiting": "dim", "pruned": "dim"}


def show(table: Table, console: Console | None = None) -> None:
    """Print all runs, what several seeds have in common, and what went wrong."""
    console = console or Console(highlight=False)
    if not console.is_terminal:
        console.width = max(console.width, 160)
    grid = _grid("run", *table.labels, *(_title(name) for name in table.metrics), "status", "time")
    for run, settings in zip(table.runs, table.settings, strict=True):
        color = COLORS.get(run.status, "")
        seconds = run.result.wall_seconds if run.result else 0.0
        cells = [run.name, *(value_text(settings[key]) for key in table.keys)]
        cells += [written(name, run.metrics.get(name)) for name in table.metrics]
        grid.add_row(*cells, f"[{color}]{run.status}[/{color}]" if color else run.status, duration(seconds))
    console.print(grid)
    _show_seeds(table, console)
    _show_front(table, console)
    for run in table.runs:
        if run.status == "failed" and run.result and run.result.error:
            console.print(f"run {run.name} failed: {run.result.error.splitlines()[0]}", style="red", markup=False)
    counts = Counter(run.status for run in table.runs)
    console.print(", ".join(f"{number} {status}" for status, number in counts.items()))


def written(name: str, value: float | None) -> str:
    """Write a metric as a person reads it.

    >>> written("val/accuracy", 0.98765), written("gap", 0.004), written("val/loss", 0.03456), written("gap", None)
    ('98.77 %', '0.40 %', '0.03456', '')
    """
    if value is None or not math.isfinite(value):
        return "" if value is None else str(value)
    return f"{value:.2%}".replace("%", " %") if name.endswith("accuracy") or name == "gap" else f"{value:.4g}"


def value_text(value: object) -> str:
    """Write the value of a setting.

    >>> value_text(0.00431171), value_text(1e-4), value_text(1234567.0), value_text("lenet5")
    ('0.004312', '0.0001', '1234567', 'lenet5')
    """
    if not isinstance(value, float):
        return str(value)
    return str(int(value)) if value.is_integer() and abs(value) < 1e15 else f"{value:.4g}"


def duration(seconds: float) -> str:
    """Write a duration.

    >>> duration(0), duration(59.4), duration(3725)
    ('', '59 s', '1 h 02 min')
    """
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s" if rest else ""


def _show_seeds(table: Table, console: Console) -> None:
    groups = table.over_seeds()
    if not groups or "seed" not in table.keys:
        return
    keys = [key for key in table.keys if key != "seed"]
    labels = [label for key, label in zip(table.keys, table.labels, strict=True) if key != "seed"]
    grid = _grid(*(labels or ["all"]), *(_title(name) for name in table.metrics), "seeds")
    for settings, values in groups:
        cells = [value_text(settings[key]) for key in keys] or ["seeds"]
        for name in table.metrics:
            mean, spread, _ = values.get(name, (math.nan, math.nan, 0))
            cells.append(f"{written(name, mean)} ± {_spread(name, spread)}" if name in values else "")
        grid.add_row(*cells, str(max(n for _, _, n in values.values())) if values else "")
    console.print("Mean ± standard deviation over seeds:")
    console.print(grid)


def _show_front(table: Table, console: Console) -> None:
    """Tell what a search for accuracy and a small norm found."""
    if len(objectives_of(table.runs)) > 1 and table.tradeoff:
        names = ", ".join(run.name for run in pareto_front(table.runs, *table.tradeoff))
        norm, accuracy = map(_title, table.tradeoff)
        console.print(f"No run beats these in both {accuracy} and {norm}: {names}")


def _spread(name: str, value: float) -> str:
    text = written(name, value)
    return text if text.endswith("%") else f"{value:.2g}"


def _grid(*titles: str) -> Grid:
    grid = Grid(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for i, title in enumerate(titles):
        grid.add_column(title, justify="left" if i == 0 else "right", overflow="fold")
    return grid


def _title(name: str) -> str:
    return SHOWN.get(name, name)
