"""The charts of runs side by side."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from statistics import fmean
from typing import Any

import plotly.graph_objects as go

from jacoscope.comparison.collect import Curve, Run, Setting
from jacoscope.comparison.table import RunTable, are_numbers
from jacoscope.comparison.text import is_share, metric_text, title
from jacoscope.pages import LIGHT, figure, named, plain, shortened
from jacoscope.visuals.numbers import number_text

Axis = dict[str, Any]
WIDE = 10  # values that span this factor are drawn on a logarithmic axis
FEW = 6  # numbers that get a tick each
SOME = 4  # below this factor, plotly chooses the ticks of a logarithmic axis well
DECADES = 4  # up to which a logarithmic axis has ticks at 2 and 5 too
TICK = 20  # letters of a value at an axis
LOGARITHMIC = {"type": "log", "exponentformat": "none", "nticks": 8}


def scatter(table: RunTable, x: str, y: str, front: Sequence[Run] = ()) -> go.Figure:
    """Return every run by two of its metrics, with the Pareto front ringed, on a line."""
    runs = [run for run in table.runs if {x, y} <= run.metrics.keys()]
    line = go.Scatter(
        x=[run.metrics[x] for run in front],
        y=[run.metrics[y] for run in front],
        name="Pareto front",
        mode="lines+markers",
        line={"shape": "hv", "width": 1.5, "color": LIGHT["wrong"]},
        marker={"size": 15, "symbol": "circle-open"},
        hoverinfo="skip",
    )
    points = _points(table, runs, [run.metrics[x] for run in runs], y, name=f"runs ({len(runs)})")
    return figure(
        *([line] if front else []),
        points,
        xaxis=_metric_axis(x) | _logarithmic([run.metrics[x] for run in runs]),
        yaxis=_metric_axis(y),
    )


def effect(table: RunTable, key: str, metric: str) -> go.Figure:
    """Return a metric against one setting: every run, and the mean at each value that several runs have."""
    runs = [run for run in table.runs if metric in run.metrics]
    groups: dict[Setting, list[float]] = {}
    for run in runs:
        groups.setdefault(run.settings[key], []).append(run.metrics[metric])
    values = [value for value in table.values(key) if value in groups]
    several = [value for value in values if len(groups[value]) > 1]
    means = go.Scatter(
        x=several,
        y=[fmean(groups[value]) for value in several],
        name="mean",
        mode="lines+markers" if are_numbers(several) else "markers",
        line={"width": 1.5, "color": LIGHT["ink"]},
        marker={"symbol": "line-ew", "size": 22, "line": {"width": 2, "color": LIGHT["ink"]}},
        hoverinfo="skip",
    )
    points = _points(table, runs, [run.settings[key] for run in runs], metric, name="runs")
    xaxis = {"title": {"text": plain(shortened(key))}, **_setting_axis(table, key, values)}
    return figure(*([means] if several else []), points, xaxis=xaxis, yaxis=_metric_axis(metric), showlegend=False)


def importance(shares: Mapping[str, float], metric: str) -> go.Figure:
    """Return how much each setting matters for a metric."""
    names = sorted(shares, key=lambda name: shares[name])
    bars = go.Bar(
        x=[shares[name] for name in names],
        y=list(map(plain, names)),
        orientation="h",
        marker_color=LIGHT["right"],
        hovertemplate="%{y}: %{x:.0%}<extra></extra>",
    )
    xaxis = {"title": {"text": f"importance<br>for {named(title(metric))}"}, "tickformat": ".0%"}
    return figure(bars, xaxis=xaxis, yaxis={"type": "category"}, margin={"l": 150})


def curves(table: RunTable, series: Mapping[str, Curve], tag: str) -> go.Figure:
    """Return one metric of all runs over their training; the page colours them as it does the points."""
    traces = [
        go.Scatter(
            x=series[run.name][0],
            y=series[run.name][1],
            mode="lines",
            meta={"click": "run", "value": run.name},
            line={"width": 1.3, "color": LIGHT["right"]},
            text=_pointed_at(table, run),
            hovertemplate="%{text}<br>step %{x}: %{y:.4g}<extra></extra>",
        )
        for run in table.runs
        if run.name in series
    ]
    return figure(*traces, xaxis_title="step", yaxis=_metric_axis(tag), showlegend=False)


def _points(table: RunTable, runs: Sequence[Run], x: Sequence[Setting], metric: str, **look: Any) -> go.Scatter:
    """Return a point for each run; ``customdata`` names the run, which a click opens."""
    return go.Scatter(
        x=list(x),
        y=[run.metrics[metric] for run in runs],
        customdata=[run.name for run in runs],
        meta={"click": "run"},
        text=[_pointed_at(table, run) for run in runs],
        mode="markers",
        marker={"color": LIGHT["right"], "size": 9, "line": {"width": 1, "color": LIGHT["card"]}},
        hovertemplate="%{text}<extra></extra>",
        **look,
    )


def _pointed_at(table: RunTable, run: Run) -> str:
    """Return what the box at the pointer says about a run."""
    lines = [f"run {run.name}", *(f"{key}={table.text(key, value)}" for key, value in run.settings.items())]
    lines += [f"{title(name)}: {metric_text(name, run.metrics.get(name))}" for name in table.metrics]
    return "<br>".join(map(named, lines))


def _metric_axis(metric: str) -> Axis:
    if is_share(metric):
        return {"title": {"text": named(title(metric))}, "tickformat": ".2~%", "nticks": 6}
    return {"title": {"text": named(title(metric))}, "hoverformat": ".4g"}


def _logarithmic(values: Sequence[float]) -> Axis:
    """Return a logarithmic axis; over a factor of more than a few, with ticks at 1, 2 and 5 of each power of ten."""
    positive = [value for value in values if 0 < value < math.inf]
    if not positive or max(positive) < SOME * min(positive):
        return LOGARITHMIC
    powers = range(math.floor(math.log10(min(positive))), math.ceil(math.log10(max(positive))) + 1)
    digits = (1, 2, 5) if len(powers) <= DECADES else (1,)
    ticks = [digit * 10.0**power for power in powers for digit in digits]
    return {"type": "log", "tickvals": ticks, "ticktext": [number_text(tick, "g") for tick in ticks]}


def _setting_axis(table: RunTable, key: str, values: Sequence[Setting]) -> Axis:
    """Return the axis of a setting; where it has few values, with a tick at each."""
    texts = [plain(shortened(table.text(key, value), TICK)) for value in values]
    ticks = {"tickvals": list(values), "ticktext": texts}
    if not are_numbers(values):
        return {"type": "category", "categoryorder": "array", "categoryarray": list(values), **ticks}
    if _spans_magnitudes(values):
        few = len(values) <= FEW and _are_apart([math.log(value) for value in values])
        decades = math.log10(max(values) / min(values))
        return {**LOGARITHMIC, **(ticks if few else {"dtick": "D2" if decades < DECADES else 1})}
    return ticks if len(values) <= FEW and _are_apart(values) else {}


def _are_apart(values: Sequence[float]) -> bool:
    """Return whether the names of all values fit side by side."""
    places = sorted(values)
    return all(after - before > (places[-1] - places[0]) / (FEW + 2) for before, after in pairwise(places))


def _spans_magnitudes(values: Sequence[float]) -> bool:
    return min(values) > 0 and max(values) >= WIDE * min(values)
