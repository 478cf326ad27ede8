"""What ``analyze.py compare=FOLDER robustness=curves`` has found out about the runs below a folder."""

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import pstdev
from typing import Any

from jacoscope.runs.records import NOT_A_RECORD, read_json

_log = logging.getLogger(__name__)

PREFIX = "robustness/"
DISTANCE = f"{PREFIX}ddn/median_distance"
IN_TABLE = ("pgd_linf", "pgd_l2")
"""The attacks that have a column, at one size each; all others are in the exports."""


def robustness_below(folder: Path) -> dict[str, dict[str, float]]:
    """Return the metrics of the latest comparison: for each run by its name, accuracies and distances by theirs.

    All runs were measured with the same settings. Nothing where there is no such comparison; if
    it cannot be read, a warning is logged.

    Args:
        folder: the directory of a sweep, or any folder that holds runs.
    """
    files = sorted(folder.glob("analysis/robustness_*/robustness.json"), key=lambda file: file.stat().st_mtime)
    if not files:
        return {}
    try:
        networks: dict[str, Any] = read_json(files[-1])["networks"]
        return {
            str(network["run"]): {
                str(name): float(value) for name, value in network["metrics"].items() if name.startswith(PREFIX)
            }
            for network in networks.values()
        }
    except NOT_A_RECORD as error:
        _log.warning("%s cannot be read (%s): its columns are left out", files[-1], error)
        return {}


def robustness_columns(measured: Iterable[dict[str, float]]) -> list[str]:
    """Return the metrics that have a column: DDN's distance, and PGD of the size at which the runs differ most.

    Args:
        measured: the metrics of each run.

    >>> runs = [{"robustness/pgd_l2/eps=1": 0.5, "robustness/pgd_l2/eps=2": value} for value in (0.1, 0.3)]
    >>> robustness_columns(runs)
    ['robustness/pgd_l2/eps=2']
    """
    values: dict[str, list[float]] = {}
    for metrics in measured:
        for name, value in metrics.items():
            if name.startswith(PREFIX):
                values.setdefault(name, []).append(value)
    columns = [DISTANCE] if DISTANCE in values else []
    for attack in IN_TABLE:
        sizes: Sequence[str] = [name for name in values if name.startswith(f"{PREFIX}{attack}/")]
        if sizes:
            columns.append(max(sizes, key=lambda name: pstdev(values[name])))
    return columns


def robustness_title(metric: str) -> str:
    """Return the name of such a metric for people.

    >>> robustness_title("robustness/pgd_linf/eps=0.1"), robustness_title(DISTANCE)
    ('PGD L∞ ε=0.1', 'DDN distance')
    """
    name, _, size = metric.removeprefix(PREFIX).partition("/")
    words = {"pgd_linf": "PGD L∞", "pgd_l2": "PGD L2", "fgsm": "FGSM", "ddn": "DDN"}
    if size == "median_distance":
        return f"{words.get(name, name.replace('_', ' '))} distance"
    return f"{words.get(name, name.replace('_', ' '))} {size.replace('eps', 'ε')}"
