"""The result of a paper beside the runs of a sweep that repeats it: table, figure, and whether it was reproduced."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import yaml

from jacoscope.comparison.collect import Run
from jacoscope.comparison.table import RunTable
from jacoscope.errors import UserError
from jacoscope.runs.result import flatten
from jacoscope.sweeps.directory import MANIFEST, SweepDirectory, result_of
from jacoscope.visuals.numbers import number_text

DEVIATIONS = 2.0  # of ours, within which a figure of the paper counts as met
SAME_ORDER = 0.8  # the rank correlation from which on two orders count as the same
MIN_ROWS = 3  # for a rank correlation


@dataclass(frozen=True)
class Metric:
    """A metric of runs that a paper reports.

    Attributes:
        name: of the metric of our runs.
        title: in the table, with the paper's unit.
        factor: from our unit to the paper's.
        rounded_to: the last digit of the paper's figures.
    """

    name: str
    title: str
    factor: float = 1.0
    rounded_to: float = 0.0


@dataclass(frozen=True)
class Comparison:
    """One figure of a paper beside ours.

    Attributes:
        row: what was trained, in the paper's words.
        metric: what was measured.
        theirs: the paper's figure; None where it reports none.
        ours: of each run, in the paper's unit.
    """

    row: str
    metric: Metric
    theirs: float | None
    ours: tuple[float, ...]

    @property
    def mean(self) -> float:
        """The mean of ours."""
        return fmean(self.ours)

    @property
    def deviation(self) -> float | None:
        """Our standard deviation over seeds, with n − 1; None for one seed."""
        return stdev(self.ours) if len(self.ours) > 1 else None

    @property
    def agrees(self) -> bool | None:
        """Whether the paper's figure lies within two of our deviations; None if there are too few figures to say."""
        if self.theirs is None or self.deviation is None:
            return None
        return abs(self.mean - self.theirs) <= DEVIATIONS * self.deviation + self.metric.rounded_to / 2

    def cells(self) -> list[str]:
        """Return the cells of its row in the table."""
        digits = max(0, -math.floor(math.log10(self.metric.rounded_to or 0.01)))
        spread = "" if self.deviation is None else f" ± {self.deviation:.{digits + 1}f}"
        theirs = "" if self.theirs is None else f"{self.theirs:.{digits}f}"
        form = f"+.{digits + 1}f"
        difference = "" if self.theirs is None else number_text(self.mean - self.theirs, form)
        ours = f"{self.mean:.{digits + 1}f}{spread}"
        return [self.row, self.metric.title, theirs, ours, str(len(self.ours)), difference]


@dataclass(frozen=True)
class Paper:
    """What a paper reports, and the runs of a sweep that repeats it.

    Attributes:
        name: of the experiment.
        reported: the content of the paper's file in ``papers/``.
        runs: the finished runs.
        configs: their flattened configs, by the names of the runs.
    """

    name: str
    reported: dict[str, Any]
    runs: list[Run]
    configs: dict[str, dict[str, Any]]

    @classmethod
    def of_sweep(cls, folder: Path) -> "Paper | None":
        """Return the paper that a sweep repeats, or None if it repeats none.

        Raises:
            UserError: if the record of the sweep cannot be read.
        """
        name = _experiment(folder)
        file = files("jacoscope.comparison.papers") / f"{name}.yaml"
        if name is None or not file.is_file():
            return None
        table = RunTable.read(folder)
        results = {run.name: result_of(run.path) for run in table.runs if run.status == "finished"}
        configs = {name: flatten(result.config) for name, result in results.items() if result}
        return cls(name, yaml.safe_load(file.read_text()), [run for run in table.runs if run.name in configs], configs)

    @classmethod
    def require(cls, folder: Path) -> "Paper":
        """Return the paper that a sweep repeats.

        Raises:
            UserError: if it repeats none.
        """
        paper = cls.of_sweep(folder)
        if paper is None:
            names = (file.name.removesuffix(".yaml") for file in files("jacoscope.comparison.papers").iterdir())
            known = sorted(name for name in names if not name.startswith("_"))
            raise UserError(
                f"{folder} is not a sweep that repeats a paper: --paper is for those of experiment={', '.join(known)}"
            )
        return paper

    @property
    def comparisons(self) -> list[Comparison]:
        """Every figure of the paper with runs of ours, metric after metric."""
        return list(self._compare())

    def _compare(self) -> Iterator[Comparison]:
        for number, (name, about) in enumerate(self.reported["metrics"].items()):
            for row, told in self.reported.get("rows", {}).items():
                metric, runs = Metric(name, **about), [run for run in self.runs if self._fits(run, told["where"])]
                values = [run.metrics[name] * metric.factor for run in runs if name in run.metrics]
                if values and all(map(math.isfinite, values)):
                    yield Comparison(row, metric, told["theirs"][number], tuple(values))

    def _fits(self, run: Run, where: Mapping[str, Any]) -> bool:
        config = self.configs[run.name]
        return all(_number(config.get(key)) == _number(value) for key, value in where.items())

    @property
    def pairs(self) -> list[tuple[float, float]]:
        """The two metrics whose correlation the paper is about, of each run."""
        about = self.reported.get("correlation")
        if not about:
            return []
        x, y = about["x"]["metric"], about["y"]["metric"]
        pairs = [(run.metrics[x], run.metrics[y]) for run in self.runs if {x, y} <= run.metrics.keys()]
        return [pair for pair in pairs if all(map(math.isfinite, pair))]

    def departures(self) -> list[str]:
        """Return in what the runs differ from the paper."""
        found = []
        for key, theirs in self.reported.get("protocol", {}).items():
            ours = list(dict.fromkeys(config.get(key) for config in self.configs.values()))
            if ours and [_number(value) for value in ours] != [_number(theirs)]:
                found.append(f"{key} is {', '.join(map(str, ours))} here and {theirs} in the paper")
        seeds = len({config.get("seed") for config in self.configs.values()})
        if self.reported.get("seeds", seeds) != seeds:
            found.append(f"{seeds} seeds here and {self.reported['seeds']} in the paper")
        return [*found, *self.reported["departures"]]

    def verdicts(self) -> list[str]:
        """Return a sentence for each metric: whether the paper was reproduced."""
        if "correlation" in self.reported:
            return [_verdict_on_correlation(self.reported["correlation"], self.pairs)]
        by_metric: dict[str, list[Comparison]] = {}
        for comparison in self.comparisons:
            by_metric.setdefault(comparison.metric.title, []).append(comparison)
        return [f"{title}: {_verdict(found)}" for title, found in by_metric.items()]


def _experiment(folder: Path) -> str | None:
    if not (folder / MANIFEST).exists():
        return None
    words = [word.partition("=") for word in SweepDirectory.read(folder).command]
    return next((value for key, _, value in words if key.lstrip("+") == "experiment"), None)


def _number(value: Any) -> Any:
    """Return numbers, also those that YAML takes for text (5e-4), as floats."""
    try:
        return value if value is None or isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        return value


def _verdict(found: list[Comparison]) -> str:
    judged = [each for each in found if each.agrees is not None]
    if not judged:
        return "it cannot be said whether it was reproduced: that takes two seeds of a row that the paper reports."
    met = sum(bool(each.agrees) for each in judged)
    told = f"{met} of {len(judged)} figures lie within {DEVIATIONS:g} of our standard deviations"
    order = _order(judged)
    if met == len(judged):
        head = "reproduced"
    elif order is not None and round(order, 9) >= SAME_ORDER:
        head = "reproduced in the order of the rows, not in the figures"
    else:
        head = "not reproduced"
    if order is not None:
        told += f"; the rank correlation of theirs and ours is {number_text(order, '+.2f')}"
    return f"{head}: {told}."


def _order(found: list[Comparison]) -> float | None:
    pairs = [(each.theirs, each.mean) for each in found if each.theirs is not None]
    if len(pairs) < MIN_ROWS:
        return None
    from jacoscope.intervals import rank_correlation  # scipy takes a second to import

    return rank_correlation(*zip(*pairs, strict=True)).spearman


def _verdict_on_correlation(about: Mapping[str, Any], pairs: list[tuple[float, float]]) -> str:
    from jacoscope.intervals import rank_correlation  # scipy takes a second to import

    rank, low, high = rank_correlation(*zip(*pairs, strict=True)) if pairs else (None, None, None)
    if rank is None or low is None or high is None:
        return "It cannot be said whether it was reproduced: the correlation has no interval, as with too few networks."
    shown = [number_text(value, "+.2f") for value in (rank, low, high)]
    told = f"the rank correlation over {len(pairs)} networks is {shown[0]}, 95 % interval {shown[1]} to {shown[2]}"
    head = "Reproduced" if low > 0 else "Not reproduced" if high < 0 else "Not decided"
    return f"{head}: {told}; in the paper it is {about['theirs']}."
