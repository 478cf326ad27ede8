"""How settings and metrics of runs are written: names for people, and as many digits as tell runs apart."""

import math
from collections.abc import Callable, Sequence

from jacoscope.comparison.collect import Setting
from jacoscope.comparison.robustness import PREFIX, robustness_title
from jacoscope.measures import MEASURES, shown_in
from jacoscope.visuals.numbers import number_text

NORM = MEASURES["frobenius"].tag()
"""The metric of sensitivity that the accuracy is weighed against."""

TITLES = {
    "val/accuracy": "val accuracy",
    "test/accuracy": "test accuracy",
    "gap": "train − test",
    **{measure.tag(): measure.title() for measure in shown_in("runs")},
}
"""The metrics that have a column, and how it is headed. To add a measure, add ``runs`` to its entry in measures.py."""

FEWEST, MOST = 2, 4
"""Significant digits of a number in a column."""


def title(metric: str) -> str:
    """Return the name of a metric for people."""
    return robustness_title(metric) if metric.startswith(PREFIX) else TITLES.get(metric, metric)


def is_share(metric: str) -> bool:
    """Return whether a metric is written in percent."""
    if metric.startswith(PREFIX):
        return not metric.endswith("distance")
    return metric.endswith("accuracy") or metric == "gap"


def metric_text(name: str, value: float | None, decimals: int = 2) -> str:
    """Return the value of a metric as text; ``decimals`` are those of a percentage.

    >>> metric_text("val/accuracy", 0.98765), metric_text("gap", -0.00001), metric_text("val/loss", 0.03456)
    ('98.77 %', '0.00 %', '0.03456')
    """
    if value is None or not math.isfinite(value):
        return "" if value is None else str(value)
    if is_share(name):
        return number_text(value, f".{decimals}%").replace("%", " %")
    return number_text(value, ".4g")


def spread_text(name: str, mean: float, deviation: float) -> str:
    """Return a mean and its standard deviation, both to the two leading digits of the latter.

    >>> spread_text("test/accuracy", 0.9938, 0.00031), spread_text("val/loss", 0.03456, 0.00123)
    ('99.38 % ± 0.03 %', '0.0346 ± 0.0012')
    >>> spread_text(NORM, 73.23, 16.4), spread_text(NORM, 73.23, 0.0)
    ('73 ± 16', '73.23 ± 0')
    """
    text = metric_text(name, deviation)
    if text.endswith("%") or not (deviation > 0 and math.isfinite(mean) and math.isfinite(deviation)):
        return f"{metric_text(name, mean)} ± {text}"
    digits = max(0, 1 - math.floor(math.log10(deviation)))
    return f"{number_text(mean, f'.{digits}f')} ± {deviation:.{digits}f}"


def value_text(value: Setting, digits: int = MOST) -> str:
    """Return the value of a setting as text, a number to some significant digits.

    >>> value_text(0.00431171), value_text(1e-4), value_text(1234567.0), value_text("lenet5")
    ('0.004312', '0.0001', '1234567', 'lenet5')
    """
    if not isinstance(value, float):
        return str(value)
    return str(int(value)) if value.is_integer() and abs(value) < 1e15 else f"{value:.{digits}g}"


def numbers_text(values: Sequence[float | None]) -> list[str]:
    """Return the numbers of a column as text, with as many digits as tell them apart, from 2 to 4.

    >>> numbers_text([0.00431171, 0.02645]), numbers_text([3.8974, 3.9012, None]), numbers_text([64.0, 128.0])
    (['0.0043', '0.026'], ['3.897', '3.901', ''], ['64', '128'])
    """
    return _told_apart(values, lambda value, digits: value_text(value, digits), range(FEWEST, MOST + 1))


def metrics_text(name: str, values: Sequence[float | None]) -> list[str]:
    """Return the values of a metric as text, with as many digits as tell them apart.

    >>> metrics_text("test/accuracy", [0.9, 0.95]), metrics_text("test/accuracy", [0.991, 0.99137])
    (['90.0 %', '95.0 %'], ['99.10 %', '99.14 %'])
    """
    if is_share(name):
        return _told_apart(values, lambda value, digits: metric_text(name, value, digits), (1, 2))
    return [text.replace("-", "−") for text in numbers_text(values)]


def _told_apart(values: Sequence[float | None], text: Callable[[float, int], str], digits: Sequence[int]) -> list[str]:
    """Return texts with the fewest digits that make as many different ones as the most digits do."""
    written = {number: ["" if value is None else text(value, number) for value in values] for number in digits}
    different = len(set(written[digits[-1]]))
    return next(texts for texts in written.values() if len(set(texts)) == different)
