"""The charts of runs side by side."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from statistics import fmean
from typing import Any

import plotly.graph_objects as go

from jacoscope.comparison.collect import Curve, Run, Setting
from jacoscope.comparison.table import RunTable, are_numbers, is_share, metric_text, shortened, title
from jacoscope.pages import LIGHT, figure, plain
from jacoscope.visuals.colors import RUN_SCALE

Axis = dict[str, Any]
LINE_COLORS = [LIGHT[name] for name in ("right", "wrong", "accent", "soft", "ink")]
WIDE = 10  # values that span this factor are drawn on a logarithmic axis
FEW = 6  # numbers that get a tick each
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
    points = _points(table, runs, [run.metrics[x] for run in runs], y, name=f"runs ({len(runs)})", marker_size=9)
    return figure(*([line] if front else []), points, xaxis=_metric_axis(x, log=True), yaxis=_metric_axis(y))


def parallel_coordinates(table: RunTable) -> go.Figure:
    """Return every run as a line through its settings and metrics, coloured by the first metric."""
    runs = [run for run in table.runs if all(name in run.metrics for name in table.metrics)]
    dimensions = [
        _setting_dimension(table, key, label, [run.settings[key] for run in runs])
        for key, label in table.labels.items()
    ]
    for name in table.metrics:
        form = _metric_axis(name).get("tickformat", ".3g")
        dimensions.append(
            {"label": plain(title(name)), "values": [run.metrics[name] for run in runs], "tickformat": form}
        )
    first = table.metrics[0]
    bar = {"title": {"text": plain(title(first))}, "tickformat": _metric_axis(first).get("tickformat", "")}
    color = [run.metrics[first] for run in runs]
    line = {"color": color, "colorscale": RUN_SCALE, "showscale": True, "colorbar": bar}
    return figure(go.Parcoords(dimensions=dimensions, line=line), margin={"t": 60, "l": 70, "r": 40, "b": 30})


def effect(table: RunTable, key: str, metric: str) -> go.Figure:
    """Return a metric against one setting: every run, and the mean at each value."""
    runs = [run for run in table.runs if metric in run.metrics]
    groups: dict[Setting, list[float]] = {}
    for run in runs:
        groups.setdefault(run.settings[key], []).append(run.metrics[metric])
    values = [value for value in table.values(key) if value in groups]
    means = go.Scatter(
        x=values,
        y=[fmean(groups[value]) for value in values],
        name="mean",
        mode="lines+markers",
        line={"width": 1.5, "color": LIGHT["wrong"]},
        marker={"symbol": "line-ew", "size": 22, "line": {"width": 3, "color": LIGHT["wrong"]}},
    )
    points = _points(table, runs, [run.settings[key] for run in runs], metric, name="runs", opacity=0.55)
    drawn_once = are_numbers(values) and len(values) == len(runs)  # as by a search: each mean is of one run
    xaxis = {"title": {"text": plain(shortened(key))}, **_setting_axis(table, key, values)}
    traces = [points] if drawn_once else [means, points]
    return figure(*traces, xaxis=xaxis, yaxis=_metric_axis(metric), showlegend=False)


def importance(shares: Mapping[str, float], metric: str) -> go.Figure:
    """Return how much each setting matters for a metric."""
    names = sorted(shares, key=lambda name: shares[name])
    bars = go.Bar(x=[shares[name] for name in names], y=list(map(plain, names)), orientation="h")
    xaxis = {"title": {"text": f"importance<br>for {plain(title(metric))}"}}
    return figure(bars, xaxis=xaxis, yaxis={"type": "category"}, margin={"l": 150})


def curves(table: RunTable, series: Mapping[str, Curve], tag: str) -> go.Figure:
    """Return one metric of all runs over their training, coloured by the first setting."""
    key = next((key for key in table.keys if key != "seed"), None)
    values = [table.text(key, value) for value in table.values(key)] if key else []
    few = 0 < len(values) <= len(LINE_COLORS)
    in_legend: set[str] = set()
    traces = []
    for run in table.runs:
        if run.name not in series:
            continue
        value = table.text(key, run.settings[key]) if key else ""
        steps, measured = series[run.name]
        traces.append(
            go.Scatter(
                x=steps,
                y=measured,
                mode="lines",
                name=plain(shortened(f"{key} {value}")),
                legendgroup=value,
                showlegend=few and value not in in_legend,
                line={"width": 1.2, "color": LINE_COLORS[values.index(value) if few else 0]},
                opacity=0.7,
                text=_pointed_at(table, run),
                hovertemplate="%{text}<br>step %{x}: %{y:.5g}<extra></extra>",
            )
        )
        in_legend.add(value)
    return figure(*traces, xaxis_title="step", yaxis=_metric_axis(tag))


def _points(table: RunTable, runs: Sequence[Run], x: Sequence[Setting], metric: str, **look: Any) -> go.Scatter:
    """Return a point for each run; ``customdata`` names the run."""
    return go.Scatter(
        x=list(x),
        y=[run.metrics[metric] for run in runs],
        customdata=[run.name for run in runs],
        text=[_pointed_at(table, run) for run in runs],
        mode="markers",
        marker_color=LIGHT["right"],
        hovertemplate="%{text}<extra></extra>",
        **look,
    )


def _pointed_at(table: RunTable, run: Run) -> str:
    """Return what the box at the pointer says about a run."""
    lines = [f"run {run.name}", *(f"{key}={table.text(key, value)}" for key, value in run.settings.items())]
    lines += [f"{title(name)}: {metric_text(name, run.metrics.get(name))}" for name in table.metrics]
    return "<br>".join(map(plain, lines))


def _metric_axis(metric: str, log: bool = False) -> Axis:
    if is_share(metric):
        return {"title": {"text": plain(title(metric))}, "tickformat": ".2~%"}
    return {"title": {"text": plain(title(metric))}, **(LOGARITHMIC if log else {})}


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


def _setting_dimension(table: RunTable, key: str, label: str, values: Sequence[Setting]) -> Axis:
    """Return the axis of a setting in parallel coordinates, which know neither categories nor logarithms."""
    label = plain(label)
    if not are_numbers(values):
        order = table.values(key)
        texts = [shortened(table.text(key, value), TICK) for value in order]  # these are not read as HTML
        ticks = {"tickvals": list(range(len(order))), "ticktext": texts}
        return {"label": label, "values": [order.index(value) for value in values], **ticks}
    if _spans_magnitudes(values):
        ends = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
        powers = list(range(ends[0], ends[1] + 1))
        ticks = {"tickvals": powers, "ticktext": [f"{10.0**power:g}" for power in powers]}
        return {"label": label, "values": [math.log10(value) for value in values], "range": list(ends), **ticks}
    few = {"tickvals": table.values(key)} if len(set(values)) <= FEW else {}
    return {"label": label, "values": list(values), **few}


def _are_apart(values: Sequence[float]) -> bool:
    """Return whether the names of all values fit side by side."""
    places = sorted(values)
    return all(after - before > (places[-1] - places[0]) / (FEW + 2) for before, after in pairwise(places))


def _spans_magnitudes(values: Sequence[float]) -> bool:
    return min(values) > 0 and max(values) >= WIDE * min(values)
