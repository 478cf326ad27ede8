"""Show the runs of a sweep, or of any folder, in the terminal, and write their page and exports."""

import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console, Group
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from jacoscope.commands import tensorboard_command
from jacoscope.comparison.paper import Paper
from jacoscope.comparison.selection import filtered, with_columns
from jacoscope.comparison.table import RunTable, TextTable, pareto_front
from jacoscope.comparison.text import title
from jacoscope.errors import UserError
from jacoscope.files import write_whole

WIDTH = 100  # of what is not printed in a terminal
NARROWEST = 10  # letters of a column of settings that are not folded
STATUS_STYLES = {"failed": "red", "interrupted": "yellow", "running": "cyan", "waiting": "dim", "pruned": "dim"}


def show_sweep(
    folder: Path,
    *,
    sort: str | None = None,
    conditions: Sequence[str] = (),
    columns: Sequence[str] | None = None,
    page: bool | Path = True,
    export: Iterable[Path] = (),
    as_json: bool = False,
    paper: bool | None = None,
) -> None:
    """Write the page of all runs below a folder and print their table.

    Args:
        folder: the directory of a sweep, or any folder that holds runs.
        sort: a column to sort by; with a minus before it, from large to small.
        conditions: that the runs must meet, see :func:`jacoscope.comparison.selection.filtered`.
        columns: settings and metrics that are printed, all of them; by default those that differ, as many as fit.
        page: whether to write the page, as ``sweep.html`` in the folder; or the file to write it to.
        export: files to write all columns to, ``.csv`` or ``.parquet``.
        as_json: print the runs as JSON, a list with an object for each run, and nothing else.
        paper: whether to show the result of the paper that the sweep repeats; None: if it repeats one.

    Raises:
        UserError: if there is no run, no such column or no such paper, or if an export, or the page in a file that was
            named, cannot be written. The table is printed even if the page cannot be written.
    """
    everything, exports = RunTable.read(folder, sort), list(export)
    table = filtered(everything, conditions)
    printed = table if columns is None else with_columns(table, [everything.column(name) for name in columns])
    repeated = Paper.require(folder) if paper else None if paper is False else Paper.of_sweep(folder)
    for file in exports:
        table.export(file)
    # Before anything is printed: the page is there even if a pipe is closed after the first lines.
    page_file, refusal = _write_page(everything, folder, page)
    console = Console(highlight=False)  # ends the process where a pipe is closed, as ``head`` does
    if as_json:
        console.out(json.dumps([_finite(row) for row in printed.rows()], indent=2))
    else:
        print_table(printed, console, all_columns=columns is not None)
        if repeated:
            from jacoscope.comparison.paper_page import show_paper  # matplotlib is not needed for the table

            show_paper(repeated, folder, console)
        if page is True and refusal:
            console.print(refusal, markup=False, soft_wrap=True)
        rows = [("read", str(page_file))] if page_file else []
        for label, value in [*rows, ("look", tensorboard_command(folder))]:
            console.print(f"[bold]{label}[/bold]  {escape(value)}", soft_wrap=True)
        for file in exports:
            console.print(f"written: {file}", markup=False, soft_wrap=True)
    if refusal and (as_json or page is not True):
        raise UserError(refusal)


def _write_page(table: RunTable, folder: Path, page: bool | Path) -> tuple[Path | None, str]:
    """Write the page if it is wanted, and return its file, or none and why it was not written."""
    file = folder / "sweep.html" if page is True else page
    if not file:
        return None, ""
    if page is True and file.is_file() and b"jacoscope" not in file.read_bytes():
        return None, f"{file} is not written: that file is no page of jacoscope. Type --html FILE"
    if not any(run.metrics for run in table.runs):
        return None, "" if page is True else f"{file} is not written: no run below {folder} has metrics"
    from jacoscope.comparison.page import sweep_page  # plotly is not needed for the table

    try:
        write_whole(file, sweep_page(table, file.parent).encode())
    except UserError as error:  # the table is shown all the same
        return None, str(error)
    return file, ""


def _finite(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row for JSON, which knows neither NaN nor infinity."""
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}


def print_table(table: RunTable, console: Console, *, all_columns: bool = False) -> None:
    """Print all runs, their mean over seeds, and what went wrong; only as many settings as fit, or all columns."""
    if not console.is_terminal:
        console.width = WIDTH
    if all_columns:
        console.width = max(console.width, _narrowest(table, console))
    console.print(_as_wide_as_fits(table, console))
    if seeds := table.over_seeds_as_text():
        console.print("Mean ± standard deviation over seeds:")
        console.print(_grid(seeds))
    if len(table.objectives) > 1 and table.tradeoff:
        names = ", ".join(run.name for run in pareto_front(table.runs, *table.tradeoff))
        norm, accuracy = map(title, table.tradeoff)
        console.print(f"No run beats these in both {accuracy} and {norm}: {names}", markup=False)
    for run in table.runs:
        if run.failure:
            console.print(f"run {run.name} failed: {run.failure}", style="red", markup=False)
    counts = Counter(run.status for run in table.runs)
    console.print(", ".join(f"{number} {status}" for status, number in counts.items()))


def _as_wide_as_fits(table: RunTable, console: Console) -> Group:
    """Return the table with as many settings as fit, narrow ones first, and a line that names the others."""

    def fits(keys: list[str]) -> bool:
        return _narrowest(with_columns(table, [*keys, *table.metrics]), console) <= console.width

    shown = list(table.keys)
    if not fits(shown):
        shown = []
        for key in sorted(table.keys, key=lambda key: (key == "seed", len(table.labels[key]))):
            shown += [key] if fits([*shown, key]) else []
    columns = [key for key in table.keys if key in shown]
    left_out = [label for key, label in table.labels.items() if key not in shown]
    names = ",".join([*left_out[:2], *table.metrics[:1]])
    note = f"Not shown: {', '.join(left_out)}. To choose columns, type for example --columns={names}"
    grid = _grid(with_columns(table, [*columns, *table.metrics]).as_text())
    return Group(grid, *([Text(note)] if left_out else []))


def _narrowest(table: RunTable, console: Console) -> int:
    """Return how many letters wide the table is at least."""
    return console.measure(_grid(table.as_text()), options=console.options.update(width=10_000)).minimum


def _grid(table: TextTable) -> Table:
    """Return the table for rich: where the terminal is narrow, settings are folded and results stay in one line."""
    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, collapse_padding=True)
    for i, name in enumerate(table.settings):
        longest = max([len(name), *(len(row[i]) for row in table.rows)])
        grid.add_column(name, justify="left" if i == 0 else "right", overflow="fold", min_width=min(NARROWEST, longest))
    for name in table.results:
        grid.add_column(Text("\n".join(name.rsplit(" ", 1))), justify="right", no_wrap=True)
    for row in table.rows:
        grid.add_row(*(Text(text, style=STATUS_STYLES.get(text, "")) for text in row))  # str would be read as markup
    return grid
