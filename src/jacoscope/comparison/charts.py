"""The charts of many runs, as plotly.js reads them; colours come from the page's theme."""

import math
from collections.abc import Mapping, Sequence
from html import escape
from itertools import pairwise
from statistics import fmean
from typing import Any

from jacoscope.comparison.runs import Run
from jacoscope.comparison.table import Table, are_numbers
from jacoscope.comparison.words import shortened, title, written

Chart = dict[str, Any]
COLORS = ("right", "wrong", "accent", "soft", "ink")  # of the page's theme, for lines to be told apart
WIDE = 10  # values that span this factor are drawn on a logarithmic axis
FEW = 6  # numbers that each get a tick of their own
DECADES = 4  # up to which a logarithmic axis has ticks at 2 and 5 too
TICK = 20  # letters of a value at an axis
LOGARITHMIC = {"type": "log", "exponentformat": "none", "nticks": 8}


def scatter(table: Table, x: str, y: str, front: Sequence[Run] = (), log: bool = True) -> Chart:
    """Every run by two of its metrics; the Pareto front ringed, on a line."""
    there = [run for run in table.runs if {x, y} <= run.metrics.keys()]
    points = {
        "type": "scatter",
        "mode": "markers",
        "name": f"runs ({len(there)})",
        "x": [run.metrics[x] for run in there],
        "y": [run.metrics[y] for run in there],
        "text": [describe(table, run) for run in there],
        "theme": "right",
        "marker": {"size": 9},
        "hovertemplate": "%{text}<extra></extra>",
    }
    line = {
        "type": "scatter",
        "mode": "lines+markers",
        "name": "Pareto front",
        "x": [run.metrics[x] for run in front],
        "y": [run.metrics[y] for run in front],
        "theme": "wrong",
        "line": {"shape": "hv", "width": 1.5},
        "marker": {"size": 15, "symbol": "circle-open"},
        "hoverinfo": "skip",
    }
    return {"data": [line, points] if front else [points], "layout": {"xaxis": axis(x, log=log), "yaxis": axis(y)}}


def parallel_coordinates(table: Table) -> Chart:
    """Every run a line through its settings and metrics, coloured by the first metric."""
    there = [i for i, run in enumerate(table.runs) if all(name in run.metrics for name in table.metrics)]
    dimensions = [
        _dimension(table, key, label, [table.settings[i][key] for i in there])
        for key, label in zip(table.keys, table.labels, strict=True)
    ]
    for name in table.metrics:
        form = {"tickformat": axis(name).get("tickformat", ".3g")}
        dimensions.append({"label": title(name), "values": [table.runs[i].metrics[name] for i in there], **form})
    color = [table.runs[i].metrics[table.metrics[0]] for i in there]
    bar = {"title": {"text": title(table.metrics[0])}, "tickformat": axis(table.metrics[0]).get("tickformat", "")}
    line = {"color": color, "colorscale": "Viridis", "showscale": True, "colorbar": bar}
    margin = {"t": 60, "l": 70, "r": 40, "b": 30}
    return {"data": [{"type": "parcoords", "dimensions": dimensions, "line": line}], "layout": {"margin": margin}}


def effect(table: Table, key: str, metric: str) -> Chart:
    """A metric against one setting: every run, and the mean at each value."""
    there = [i for i, run in enumerate(table.runs) if metric in run.metrics]
    groups: dict[Any, list[float]] = {}
    for i in there:
        groups.setdefault(table.settings[i][key], []).append(table.runs[i].metrics[metric])
    order = [value for value in table.values(key) if value in groups]
    numbers = are_numbers(order)
    runs = {
        "type": "scatter",
        "mode": "markers",
        "name": "runs",
        "x": [table.settings[i][key] for i in there],
        "y": [table.runs[i].metrics[metric] for i in there],
        "text": [describe(table, table.runs[i]) for i in there],
        "theme": "right",
        "opacity": 0.55,
        "hovertemplate": "%{text}<extra></extra>",
    }
    means = {
        "type": "scatter",
        "mode": "lines+markers",
        "name": "mean",
        "x": order,
        "y": [fmean(groups[value]) for value in order],
        "theme": "wrong",
        "marker": {"symbol": "line-ew", "size": 22, "line": {"width": 3}},
        "line": {"width": 1.5},
    }
    xaxis = {"title": {"text": shortened(key)}, **_axis_of_values(table, key, order)}
    layout = {"xaxis": xaxis, "yaxis": axis(metric), "showlegend": False}
    alone = numbers and len(order) == len(there)  # as a search draws them: a mean of one says nothing
    return {"data": [runs] if alone else [means, runs], "layout": layout}


def _axis_of_values(table: Table, key: str, values: Sequence[Any]) -> Chart:
    """Give the axis of a setting; where it has few values, with a tick at each."""
    names = [shortened(table.text(key, value), TICK) for value in values]
    ticks = {"tickvals": list(values), "ticktext": names}
    if not are_numbers(values):
        return {"type": "category", "categoryorder": "array", "categoryarray": list(values), **ticks}
    if _spans_magnitudes(values):
        few = len(values) <= FEW and _are_apart([math.log(value) for value in values])
        decades = math.log10(max(values) / min(values))
        return {**LOGARITHMIC, **(ticks if few else {"dtick": "D2" if decades < DECADES else 1})}
    return ticks if len(values) <= FEW and _are_apart(values) else {}


def _are_apart(values: Sequence[float]) -> bool:
    """Whether names of all values fit side by side, as those that a search draws need not."""
    places = sorted(values)
    return all(after - before > (places[-1] - places[0]) / (FEW + 2) for before, after in pairwise(places))


def _spans_magnitudes(values: Sequence[float]) -> bool:
    return min(values) > 0 and max(values) >= WIDE * min(values)


def _dimension(table: Table, key: str, label: str, values: Sequence[Any]) -> Chart:
    if not are_numbers(values):
        order = table.values(key)
        names = [shortened(table.text(key, value), TICK) for value in order]
        ticks = {"tickvals": list(range(len(names))), "ticktext": names}
        return {"label": label, "values": [order.index(value) for value in values], **ticks}
    if _spans_magnitudes(values):
        ends = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
        powers = range(ends[0], ends[1] + 1)
        ticks = {"tickvals": list(powers), "ticktext": [f"{10.0**power:g}" for power in powers], "range": list(ends)}
        return {"label": label, "values": [math.log10(value) for value in values], **ticks}
    few = {"tickvals": table.values(key)} if len(set(values)) <= FEW else {}
    return {"label": label, "values": list(values), **few}


def importance(values: Mapping[str, float], metric: str) -> Chart:
    """How much each setting has to do with a metric being good."""
    names = sorted(values, key=lambda name: values[name])
    bars = {"type": "bar", "orientation": "h", "x": [values[n] for n in names], "y": names, "theme": "right"}
    layout = {"xaxis": {"title": {"text": f"importance<br>for {title(metric)}"}}, "yaxis": {"type": "category"}}
    return {"data": [bars], "layout": {**layout, "margin": {"l": 150}}}


def curves(table: Table, series: Mapping[str, tuple[list[int], list[float]]], tag: str) -> Chart:
    """One metric of all runs while they trained."""
    key = next((key for key in table.keys if key != "seed"), None)
    values = [table.text(key, value) for value in table.values(key)] if key else []
    told: set[str] = set()
    traces = []
    for run, settings in zip(table.runs, table.settings, strict=True):
        if run.name not in series:
            continue
        value = table.text(key, settings[key]) if key else ""
        trace = {
            "type": "scatter",
            "mode": "lines",
            "name": shortened(f"{key} {value}"),
            "legendgroup": value,
            "showlegend": bool(key) and value not in told and len(values) <= len(COLORS),
            "x": series[run.name][0],
            "y": series[run.name][1],
            "theme": COLORS[values.index(value) if 0 < len(values) <= len(COLORS) else 0],
            "line": {"width": 1.2},
            "opacity": 0.7,
            "text": describe(table, run),
            "hovertemplate": "%{text}<br>step %{x}: %{y:.5g}<extra></extra>",
        }
        told.add(value)
        traces.append(trace)
    return {"data": traces, "layout": {"xaxis": {"title": {"text": "step"}}, "yaxis": axis(tag)}}


def describe(table: Table, run: Run) -> str:
    """Say of a run what it is and what came out, for the box that appears at the pointer."""
    settings = table.settings[table.runs.index(run)]
    lines = [f"run {run.name}", *(f"{key}={table.text(key, value)}" for key, value in settings.items())]
    lines += [f"{title(name)}: {written(name, run.metrics.get(name))}" for name in table.metrics]
    return "<br>".join(map(escape, lines))


def axis(metric: str, log: bool = False) -> Chart:
    """Give the axis of a metric."""
    percent = {"tickformat": ".2~%"} if metric.endswith("accuracy") or metric == "gap" else {}
    scale = LOGARITHMIC if log and not percent else {}
    return {"title": {"text": title(metric)}, **percent, **scale}
