"""The charts of the report."""

from collections.abc import Collection, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pyarrow as pa

from jacoscope.analysis.figures import bin_edges
from jacoscope.analysis.summary import Values, quantiles
from jacoscope.measures import MEASURES, shown_in
from jacoscope.pages import LIGHT, band, figure, plain, shortened
from jacoscope.visuals.heatmaps import percent
from jacoscope.visuals.numbers import number_text

RIGHT, WRONG, INK = LIGHT["right"], LIGHT["wrong"], LIGHT["ink"]
BINS = 40  # of the histogram
POINTS = 1500  # right decisions in a scatter plot, where few of them have maps; wrong ones are all shown
ENOUGH = 300  # right decisions with maps: then only these are shown
WEBGL_POINTS = 5000  # from which on points are drawn by WebGL
DOUBT = 2.0**-24  # 1 − confidence is drawn no smaller: float32 cannot tell it from 0
CLASSES = 20  # in a chart, at most
FEW_VALUES = 12  # singular values that get a tick each
LETTERS = 14  # of a class's name at an axis
QUANTILES = {"lowerfence": 0.05, "q1": 0.25, "median": 0.5, "q3": 0.75, "upperfence": 0.95}
NORM = MEASURES["frobenius"].axis()


def norm_histogram(table: pa.Table) -> go.Figure:
    """Return how many right and how many wrong decisions have which Frobenius norm, in a panel each."""
    values, correct = _column(table, "frobenius"), _column(table, "correct").astype(bool)
    edges = bin_edges(values, BINS)
    traces = []
    groups = [("right", correct, RIGHT), ("wrong", ~correct, WRONG)]
    shown = [group for group in groups if group[1].any()]
    for place, (name, which, color) in enumerate(shown):
        counts, _ = np.histogram(values[which], edges)
        traces.append(
            go.Bar(
                x=_rounded((edges[1:] + edges[:-1]) / 2),
                y=counts.tolist(),
                customdata=[f"{a:.6g}..{b:.6g}" for a, b in pairwise(edges.tolist())],
                hovertext=[f"{number_text(a)} to {number_text(b)}" for a, b in pairwise(edges.tolist())],
                meta={"click": "frobenius"},
                name=f"{name} decisions ({int(which.sum()):,})",
                marker_color=color,
                yaxis="y2" if place else "y",
                hovertemplate="norm %{hovertext}: %{y} samples<extra></extra>",
            )
        )
    domains = [[0.56, 1.0], [0.0, 0.44]] if len(shown) > 1 else [[0.0, 1.0]]
    axes: dict[str, Any] = {
        f"yaxis{place + 1 if place else ''}": {"domain": domain, "title": {"text": name}, "nticks": 4}
        for place, (domain, (name, _, _)) in enumerate(zip(domains, shown, strict=True))
    }
    below = "y2" if len(shown) > 1 else "y"
    return figure(*traces, bargap=0.02, showlegend=False, xaxis={"title": {"text": NORM}, "anchor": below}, **axes)


def calibration(summary: dict[str, Any]) -> go.Figure:
    """Return the share of right decisions against the confidence, with 95 % intervals and the line of equality."""
    bins, chance = summary["calibration"]["bins"], summary["calibration"]["chance"]
    accuracy = [each["accuracy"] for each in bins]
    line = {"dash": "dash", "width": 1, "color": INK}
    equal = go.Scatter(
        x=[chance, 1], y=[chance, 1], mode="lines", line=line, name="as sure as it should be", hoverinfo="skip"
    )
    found = go.Scatter(
        x=_rounded(np.array([each["confidence"] for each in bins])),
        y=_rounded(np.array(accuracy)),
        error_y={
            "array": [each["high"] - each["accuracy"] for each in bins],
            "arrayminus": [each["accuracy"] - each["low"] for each in bins],
            "thickness": 1.2,
            "color": RIGHT,
        },
        customdata=[[f"{100 * e['from']:.5g}..{100 * e['to']:.5g}", e["samples"]] for e in bins],
        meta={"click": "confidence"},
        mode="markers+lines",
        name="share of right decisions, with 95 % interval",
        line={"color": RIGHT, "width": 1.2},
        marker={"color": RIGHT, "size": 8},
        hovertemplate="confidence %{customdata[0]} %: %{y:.1%} of %{customdata[1]} are right<extra></extra>",
    )
    scale = {"tickformat": ".0%"}
    return figure(
        equal,
        found,
        xaxis={**scale, "title": {"text": "confidence"}, "range": [chance, 1.01]},
        yaxis={**scale, "title": {"text": "right decisions"}},
    )


def by_class(table: pa.Table, class_names: Sequence[str]) -> dict[str, go.Figure]:
    """Return quantiles for each class, a chart for each measure by its name.

    Of more than :data:`CLASSES` classes, those with the lowest accuracy are shown.
    """
    labels, correct = _column(table, "label"), _column(table, "correct").astype(bool)
    present = [k for k in range(len(class_names)) if (labels == k).any()]
    if len(present) > CLASSES:
        present = sorted(sorted(present, key=lambda k: correct[labels == k].mean())[:CLASSES])
    charts = {}
    for measure in shown_in("report"):
        values = _column(table, measure.name)
        found = np.array([quantiles(values[labels == k], list(QUANTILES.values())) for k in present])
        box = go.Box(
            x=[str(k) for k in present],
            customdata=[class_names[k] for k in present],
            meta={"click": "label"},
            **{name: _rounded(column) for name, column in zip(QUANTILES, found.T, strict=True)},
            name="",
            marker_color=RIGHT,
        )
        names = {"tickvals": [str(k) for k in present], "ticktext": [_short(class_names[k]) for k in present]}
        xaxis = {"type": "category", "title": {"text": "true class"}, **names}
        yaxis = {"title": {"text": measure.axis()}, "hoverformat": ".3g"}
        charts[measure.name] = figure(box, xaxis=xaxis, yaxis=yaxis, showlegend=False)
    return charts


def norm_against_confidence(table: pa.Table, class_names: Sequence[str], with_maps: Collection[int] = ()) -> go.Figure:
    """Return samples by their confidence and their norm: every wrong decision, and an even choice of the right ones.

    Nearly all confidences are close to 1, so the axis is logarithmic in 1 − confidence, and labelled with the
    confidence, from chance on.

    Args:
        table: the content of samples.parquet.
        class_names: one for each class.
        with_maps: indices of the samples whose derivative maps the report has; right decisions are chosen from them.
    """
    correct = _column(table, "correct").astype(bool)
    right = np.flatnonzero(correct)
    mapped = right[np.isin(_column(table, "index")[right], list(with_maps))]
    if len(mapped) >= ENOUGH:
        right = mapped
    elif len(right) > POINTS:
        right = right[np.linspace(0, len(right) - 1, POINTS).round().astype(int)]
    groups = ((f"right ({len(right):,} shown)", right, RIGHT, 4), ("wrong (all)", np.flatnonzero(~correct), WRONG, 6))
    doubts = [0.5, *(10.0**-power for power in range(1, 8))]
    least = max(DOUBT, min(0.05, float(1 - _column(table, "confidence").max())))
    xaxis = {
        "type": "log",
        "range": [np.log10(1 - 1 / len(class_names)) + 0.02, np.log10(least) - 0.15],
        "tickvals": doubts,
        "ticktext": [f"{100 * (1 - doubt):.7g} %" for doubt in doubts],
        "title": {"text": "confidence<br>(logarithmic in 1 − confidence)"},
    }
    traces = [_points(table, name, rows, class_names, color, size) for name, rows, color, size in groups if len(rows)]
    return figure(*traces, xaxis=xaxis, yaxis={"title": {"text": NORM}})


def spectrum(summary: dict[str, Any]) -> go.Figure:
    """Return the singular values: their mean, and the range of the middle 90 % of the samples."""
    mean, low, high = (summary["spectrum"][key] for key in ("mean", "percentile_5", "percentile_95"))
    places = list(range(1, len(mean) + 1))
    traces = [
        *band(places, low, high, RIGHT, name="middle 90 % of the samples", showlegend=True),
        go.Scatter(
            x=places,
            y=mean,
            mode="lines+markers",
            line_color=RIGHT,
            name="mean",
            hovertemplate="σ<sub>%{x}</sub>: %{y:.3g}<extra></extra>",
        ),
    ]
    ticks = {"dtick": 1} if len(places) <= FEW_VALUES else {}
    xaxis = {"title": {"text": "singular value, from the largest"}, **ticks}
    return figure(*traces, xaxis=xaxis, yaxis={"title": {"text": "σ of J"}, "rangemode": "tozero"})


def distances(table: pa.Table) -> go.Figure:
    """Return found against predicted distances, with the line where they agree."""
    predicted = np.asarray(_column(table, "predicted_distance"), np.float64)
    traces = []
    shown = []
    for name, column, color in (
        ("along the predicted direction", "along_distance", RIGHT),
        ("by the attack, pixels within [0, 1]", "attack_distance", WRONG),
    ):
        found = np.asarray(_column(table, column), np.float64)
        both = np.isfinite(found) & np.isfinite(predicted) & (predicted > 0) & (found > 0)
        if both.any():
            shown += [float(predicted[both].min()), float(predicted[both].max())]
            traces.append(
                go.Scatter(
                    x=_rounded(predicted[both]),
                    y=_rounded(found[both]),
                    customdata=_column(table, "index")[both].tolist(),
                    meta={"click": "sample"},
                    mode="markers",
                    name=name,
                    marker={"size": 6, "color": color},
                    hovertemplate="sample %{customdata}<br>predicted %{x:.3g}, found %{y:.3g}<extra></extra>",
                )
            )
    if traces:
        ends = [min(shown), max(shown)]
        line = {"dash": "dash", "width": 1, "color": INK}
        traces.insert(
            0, go.Scatter(x=ends, y=ends, mode="lines", name="found as predicted", line=line, hoverinfo="skip")
        )
    ticks = [digit * 10.0**power for power in range(-6, 7) for digit in (1, 2, 5)]
    scale = {"type": "log", "tickvals": ticks, "ticktext": [f"{tick:g}" for tick in ticks]}
    return figure(
        *traces,
        xaxis={**scale, "title": {"text": "predicted distance (first order)"}},
        yaxis={**scale, "title": {"text": "found distance"}},
    )


def _points(
    table: pa.Table, name: str, rows: Values, class_names: Sequence[str], color: str, size: int
) -> "go.Scatter | go.Scattergl":
    """Return a point for each of some rows; the first entry of ``customdata`` is the index of the sample."""
    index, label, prediction = (_column(table, key)[rows].tolist() for key in ("index", "label", "prediction"))
    names = [plain(name) for name in class_names]
    confidence = _column(table, "confidence")[rows].astype(np.float64)
    details = [
        [i, names[k], names[j], percent(p)]
        for i, k, j, p in zip(index, label, prediction, confidence.tolist(), strict=True)
    ]
    trace = go.Scattergl if len(rows) > WEBGL_POINTS else go.Scatter
    return trace(
        x=_rounded(np.maximum(1 - confidence, DOUBT)),
        y=_rounded(_column(table, "frobenius")[rows]),
        customdata=details,
        meta={"click": "sample"},
        mode="markers",
        name=name,
        marker={"size": size, "color": color},
        opacity=0.6,
        hovertemplate="sample %{customdata[0]}: class %{customdata[1]}, predicted %{customdata[2]}<br>"
        "confidence %{customdata[3]}, norm %{y:.3g}<extra></extra>",
    )


def _short(name: str) -> str:
    """Return a name that fits an axis."""
    return plain(shortened(name, LETTERS))


def _column(table: pa.Table, name: str) -> Values:
    values: Values = table.column(name).to_numpy()
    return values


def _rounded(values: Values) -> list[float | None]:
    """Return five significant digits: more than a screen shows, in a smaller file; ``None`` for infinite values."""
    return [float(f"{value:.5g}") if np.isfinite(value) else None for value in values]
