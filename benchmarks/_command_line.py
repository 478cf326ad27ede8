"""The command line of a benchmark."""

import argparse


def parser(description: str | None, rounds: int | None = None, *, data: bool = False) -> argparse.ArgumentParser:
    """Return a parser with the options that benchmarks share: ``--tiny`` always, ``--rounds`` and ``--data``.

    Args:
        description: the docstring of the benchmark, shown as it is.
        rounds: the default of ``--rounds``; None for a benchmark without it.
        data: whether it reads data sets.
    """
    result = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    result.add_argument(
        "--tiny", action="store_true", help="a few samples and one round: seconds, to see that it runs, not how fast"
    )
    if rounds is not None:
        result.add_argument("--rounds", type=int, default=rounds, help="how often each way is measured")
    if data:
        result.add_argument("--data", default="data", help="the folder of data sets")
    return result
