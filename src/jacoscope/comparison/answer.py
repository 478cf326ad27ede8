"""What a sweep ends in: the table in the terminal, and the page."""

from pathlib import Path
from shlex import quote

from rich.console import Console
from rich.markup import escape

from jacoscope.comparison.table import Table
from jacoscope.comparison.terminal import show
from jacoscope.errors import UserError
from jacoscope.files import write_whole


def answer(table: Table, page: Path | None) -> None:
    """Write the page and print the table.

    Args:
        table: the runs.
        page: where the page goes; none for no page.
    """
    from jacoscope.comparison.page import sweep_page

    rows = [("look", f"tensorboard --logdir {quote(str(table.folder))}")]
    refused = None
    if page is not None and any(run.metrics for run in table.runs):
        try:  # before anything is printed: who reads the beginning only, by head, has the page all the same
            write_whole(page, sweep_page(table, page.parent).encode())
        except UserError as mistake:  # what was measured is shown, whether it can be drawn or not
            refused = str(mistake)
        else:
            rows.insert(0, ("read", str(page)))
    console = Console(highlight=False)
    show(table, console)
    if refused:
        console.print(refused, markup=False)
    for label, value in rows:
        console.print(f"[bold]{label}[/bold]  {escape(value)}", soft_wrap=True)
