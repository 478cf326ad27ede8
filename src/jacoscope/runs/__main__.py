"""Compare the runs of a sweep, or all runs below any folder: ``python -m jacoscope.runs FOLDER``."""

import argparse
import sys
from pathlib import Path

from jacoscope.commands import typed
from jacoscope.comparison import show_sweep
from jacoscope.errors import UserError


def main(words: list[str] | None = None) -> int:
    """Show the table, write the page and the exports, and return the exit status."""
    parser = argparse.ArgumentParser(typed("runs"), description="Compare all runs below a folder.")
    parser.add_argument("folder", type=Path, help="the directory of a sweep, or any folder that holds runs, as logs")
    parser.add_argument("--sort", metavar="COLUMN", help="sort by a column; --sort=-COLUMN from large to small")
    parser.add_argument(
        "--filter",
        metavar="CONDITION",
        action="append",
        default=[],
        help="show only runs that meet it: test/accuracy>0.99, model=lenet5; may be given several times",
    )
    parser.add_argument("--columns", metavar="A,B", help="show these settings and metrics; a setting by its last part")
    parser.add_argument("--json", action="store_true", help="print the runs as JSON, and nothing else")
    parser.add_argument(
        "--export",
        metavar="FILE",
        type=Path,
        action="append",
        default=[],
        help="write all columns to a .csv or .parquet file; may be given several times",
    )
    parser.add_argument(
        "--paper", action="store_true", help="require the table of the paper that the sweep repeats, beside ours"
    )
    page_options = parser.add_mutually_exclusive_group()
    page_options.add_argument(
        "--html", metavar="FILE", type=Path, help="the file for the page; by default FOLDER/sweep.html"
    )
    page_options.add_argument("--no-html", action="store_true", help="write no page")
    options = parser.parse_args(words)
    try:
        page = False if options.no_html else options.html or True
        show_sweep(
            options.folder,
            sort=options.sort,
            conditions=options.filter,
            columns=None if options.columns is None else options.columns.split(","),
            page=page,
            export=options.export,
            as_json=options.json,
            paper=options.paper or None,
        )
    except UserError as mistake:
        print(f"\n{mistake}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
