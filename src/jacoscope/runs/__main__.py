"""``python -m jacoscope.runs FOLDER``: show the runs of a sweep, or of any folder, in a table and on a page."""

import argparse
import sys
from pathlib import Path

from jacoscope.errors import UserError


def main(words: list[str] | None = None) -> int:
    """Show the table, write the files that are asked for, and return the exit status."""
    parser = argparse.ArgumentParser("python -m jacoscope.runs", description="Compare all runs below a folder.")
    parser.add_argument(
        "folder", type=Path, help="the directory of a sweep, or any folder that contains runs, such as logs"
    )
    parser.add_argument("--sort", metavar="COLUMN", help="sort by a column; with --sort=-COLUMN from large to small")
    parser.add_argument(
        "--export",
        metavar="FILE",
        type=Path,
        action="append",
        help="write all columns to a .csv or .parquet file; may be typed several times",
    )
    parser.add_argument("--html", metavar="FILE", type=Path, help="file of the page; by default FOLDER/sweep.html")
    parser.add_argument("--no-html", action="store_true", help="show the table, and write no page")
    options = parser.parse_args(words)
    try:
        from jacoscope.comparison.answer import answer
        from jacoscope.comparison.table import Table

        table = Table.of(options.folder, options.sort)
        for file in options.export or []:
            table.export(file)
        answer(table, None if options.no_html else options.html or options.folder / "sweep.html")
        for file in options.export or []:
            print(f"written: {file}")
    except UserError as mistake:
        print(f"\n{mistake}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
