"""The table of runs in the terminal."""

from collections import Counter

from rich import box
from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from jacoscope.comparison.cells import Cells, cells_of_runs, cells_over_seeds
from jacoscope.comparison.table import Table, objectives_of, pareto_front
from jacoscope.comparison.words import title

COLORS = {"failed": "red", "interrupted": "yellow", "running": "cyan", "waiting": "dim", "pruned": "dim"}


def show(table: Table, console: Console | None = None) -> None:
    """Print all runs, what several seeds have in common, and what went wrong."""
    console = console or Console(highlight=False)
    if not console.is_terminal:
        console.width = 10_000  # lines of a file may be long
    console.print(_grid(cells_of_runs(table)))
    if seeds := cells_over_seeds(table):
        console.print("Mean ± standard deviation over seeds:")
        console.print(_grid(seeds))
    _show_front(table, console)
    for run in table.runs:
        if run.failure:
            console.print(f"run {run.name} failed: {run.failure}", style="red", markup=False)
    counts = Counter(run.status for run in table.runs)
    console.print(", ".join(f"{number} {status}" for status, number in counts.items()))


def _show_front(table: Table, console: Console) -> None:
    """Tell what a search for accuracy and a small norm found."""
    if len(objectives_of(table.runs)) > 1 and table.tradeoff:
        names = ", ".join(run.name for run in pareto_front(table.runs, *table.tradeoff))
        norm, accuracy = map(title, table.tradeoff)
        console.print(f"No run beats these in both {accuracy} and {norm}: {names}", markup=False)


def _grid(cells: Cells) -> Grid:
    """Lay a table out: where the terminal is narrow, settings are folded, and results stay in one piece."""
    grid = Grid(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, collapse_padding=True)
    for i, name in enumerate(cells.settings):
        grid.add_column(name, justify="left" if i == 0 else "right", overflow="fold")
    for name in cells.results:
        grid.add_column(Text("\n".join(name.rsplit(" ", 1))), justify="right", no_wrap=True)
    for row in cells.rows:
        grid.add_row(*(Text(text, style=COLORS.get(text, "")) for text in row))  # not str: [a,b] would be markup
    return grid
