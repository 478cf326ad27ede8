"""The command line of a benchmark."""

import argparse


def parser(description: str | None) -> argparse.ArgumentParser:
    """Return a parser with the option ``--tiny``, which every benchmark has.

    Args:
        description: the docstring of the benchmark, shown as it is.
    """
    result = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    result.add_argument(
        "--tiny", action="store_true", help="a few samples and one round: seconds, to see that it runs, not how fast"
    )
    return result
