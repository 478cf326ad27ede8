"""``python -m jacoscope.runs FOLDER``: what the runs of a sweep, or below any folder, have come to."""

import argparse
import sys
from pathlib import Path

from jacoscope.errors import UserError


def main(words: list[str] | None = None) -> int:
    """Show the table, write what is asked for, and tell a mistake in one message."""
    parser = argparse.ArgumentParser("python -m jacoscope.runs", description="All runs below a folder, compared.")
    parser.add_argument("folder", type=Path, help="a sweep's directory, or any folder that runs are in: logs")
    parser.add_argument("--sort", metavar="COLUMN", help="sort by a column; --sort=-COLUMN from large to small")
    parser.add_argument(
        "--export",
        metavar="FILE",
        type=Path,
        action="append",
        help="write all columns, as .csv or .parquet; may be given several times",
    )
    parser.add_argument("--html", metavar="FILE", type=Path, help="where the page goes; by default FOLDER/sweep.html")
    parser.add_argument("--no-html", action="store_true", help="the table alone")
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
