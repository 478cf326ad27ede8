"""The charts of the report."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pyarrow as pa

from jacoscope.analysis.summary import Values, quantiles
from jacoscope.measures import MEASURES, shown_in
from jacoscope.pages import LIGHT, figure, plain

RIGHT, WRONG, INK = LIGHT["right"], LIGHT["wrong"], LIGHT["ink"]
BINS = 40  # of the histogram
POINTS = 1500  # right decisions in a scatter plot; wrong ones are all shown
WEBGL_POINTS = 5000  # from which on points are drawn by WebGL
DOUBT = 2.0**-24  # 1 − confidence is drawn no smaller: float32 cannot tell it from 0
QUANTILES = {"lowerfence": 0.05, "q1": 0.25, "median": 0.5, "q3": 0.75, "upperfence": 0.95}
NORM = MEASURES["frobenius"].axis()


def norm_histogram(table: pa.Table) -> go.Figure:
    """Return the distribution of the Frobenius norm, for right and for wrong decisions."""
    values, correct = _column(table, "frobenius"), _column(table, "correct").astype(bool)
    edges = np.linspace(0, float(values.max()) or 1.0, BINS + 1)
    traces = []
    for name, which, color in (("right decisions", correct, RIGHT), ("wrong decisions", ~correct, WRONG)):
        if which.any():
            counts, _ = np.histogram(values[which], edges)
            traces.append(
                go.Bar(
                    x=_rounded((edges[1:] + edges[:-1]) / 2),
                    y=_rounded(counts / which.sum() * 100),
                    customdata=counts.tolist(),
                    name=f"{name} ({int(which.sum()):,})",
                    marker_color=color,
                    opacity=0.62,
                    hovertemplate="%{x:.3g}: %{y:.1f} % (%{customdata} samples)<extra></extra>",
                )
            )
    axes = {"xaxis_title": NORM, "yaxis_title": "% of the decisions"}
    return figure(*traces, barmode="overlay", bargap=0.02, **axes)


def by_class(table: pa.Table, class_names: Sequence[str]) -> dict[str, go.Figure]:
    """Return quantiles for each class, a chart for each measure by its name."""
    labels = _column(table, "label")
    present = [k for k in range(len(class_names)) if (labels == k).any()]
    charts = {}
    for measure in shown_in("report"):
        values = _column(table, measure.name)
        found = np.array([quantiles(values[labels == k], list(QUANTILES.values())) for k in present])
        box = go.Box(
            x=[plain(class_names[k]) for k in present],
            **{name: _rounded(column) for name, column in zip(QUANTILES, found.T, strict=True)},
            name="",
            marker_color=RIGHT,
        )
        yaxis = {"title": {"text": measure.axis()}, "rangemode": "tozero"}
        charts[measure.name] = figure(
            box, xaxis={"type": "category", "title": {"text": "true class"}}, yaxis=yaxis, showlegend=False
        )
    return charts


def norm_against_confidence(table: pa.Table, class_names: Sequence[str]) -> go.Figure:
    """Return each sample by its confidence and its norm: every wrong decision, and an even choice of the right ones.

    Nearly all confidences are close to 1, so the axis is logarithmic in 1 − confidence, and labelled with the
    confidence.
    """
    correct = _column(table, "correct").astype(bool)
    right = np.flatnonzero(correct)
    if len(right) > POINTS:
        right = right[np.linspace(0, len(right) - 1, POINTS).round().astype(int)]
    groups = ((f"right ({len(right):,} shown)", right, RIGHT, 4), ("wrong (all)", np.flatnonzero(~correct), WRONG, 6))
    doubts = [0.5, *(10.0**-power for power in range(1, 8))]
    xaxis = {
        "type": "log",
        "autorange": "reversed",
        "tickvals": doubts,
        "ticktext": [f"{100 * (1 - doubt):.7g} %" for doubt in doubts],
        "title": {"text": "confidence<br>(logarithmic in 1 − confidence)"},
    }
    traces = [_points(table, name, rows, class_names, color, size) for name, rows, color, size in groups if len(rows)]
    return figure(*traces, xaxis=xaxis, yaxis={"title": {"text": NORM}, "rangemode": "tozero"})


def spectrum(summary: dict[str, Any]) -> go.Figure:
    """Return the singular values: their mean, and the range of the middle 90 % of the samples."""
    mean, low, high = (summary["spectrum"][key] for key in ("mean", "percentile_5", "percentile_95"))
    places = list(range(1, len(mean) + 1))
    edge: dict[str, Any] = {"x": places, "mode": "lines", "line": {"width": 0, "color": RIGHT}, "hoverinfo": "skip"}
    traces = [
        go.Scatter(y=high, showlegend=False, **edge),
        go.Scatter(y=low, fill="tonexty", name="middle 90 % of the samples", **edge),
        go.Scatter(
            x=places,
            y=mean,
            mode="lines+markers",
            line_color=RIGHT,
            name="mean",
            hovertemplate="σ<sub>%{x}</sub>: %{y:.3g}<extra></extra>",
        ),
    ]
    xaxis = {"title": {"text": "singular value, from the largest"}, **({"dtick": 1} if len(places) < 30 else {})}
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
        [i, names[k], names[j], f"{100 * p:.7g} %"]
        for i, k, j, p in zip(index, label, prediction, confidence.tolist(), strict=True)
    ]
    trace = go.Scattergl if len(rows) > WEBGL_POINTS else go.Scatter
    return trace(
        x=_rounded(np.maximum(1 - confidence, DOUBT)),
        y=_rounded(_column(table, "frobenius")[rows]),
        customdata=details,
        mode="markers",
        name=name,
        marker={"size": size, "color": color},
        opacity=0.6,
        hovertemplate="sample %{customdata[0]}: class %{customdata[1]}, predicted %{customdata[2]}<br>"
        "confidence %{customdata[3]}, norm %{y:.3g}<extra></extra>",
    )


def _column(table: pa.Table, name: str) -> Values:
    values: Values = table.column(name).to_numpy()
    return values


def _rounded(values: Values) -> list[float | None]:
    """Return five significant digits: more than a screen shows, in a smaller file; ``None`` for infinite values."""
    return [float(f"{value:.5g}") if np.isfinite(value) else None for value in values]
