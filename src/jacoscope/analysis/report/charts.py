"""The charts, as plotly.js reads them: traces and axes; colours come from the page's theme."""

from html import escape
from typing import Any

import numpy as np
import pyarrow as pa

from jacoscope.analysis.summary import Values, quantiles
from jacoscope.measures import MEASURES, shown_in

RIGHT, WRONG = "right", "wrong"  # named colours of the page's theme
POINTS = 1500  # right decisions shown in a scatter plot; wrong ones are all shown
DOUBT = 2.0**-24  # 1 − confidence is drawn no smaller: float32 cannot tell it from nothing
Chart = dict[str, Any]


def norm_histogram(table: pa.Table) -> Chart:
    """Distribution of the Frobenius norm, of right and wrong decisions each as a share of its own."""
    values, correct = _column(table, "frobenius"), _column(table, "correct").astype(bool)
    edges = np.linspace(0, float(values.max()) or 1.0, 41)
    traces = []
    for name, which, color in (("right decisions", correct, RIGHT), ("wrong decisions", ~correct, WRONG)):
        if not which.any():
            continue
        counts, _ = np.histogram(values[which], edges)
        traces.append(
            {
                "type": "bar",
                "name": f"{name} ({int(which.sum()):,})",
                "x": _rounded((edges[1:] + edges[:-1]) / 2),
                "y": _rounded(counts / which.sum() * 100),
                "customdata": counts.tolist(),
                "theme": color,
                "opacity": 0.62,
                "hovertemplate": "%{x:.3g}: %{y:.1f} % (%{customdata} samples)<extra></extra>",
            }
        )
    axes: Chart = {
        "xaxis": {"title": {"text": "Frobenius norm of J"}},
        "yaxis": {"title": {"text": "% of the decisions"}},
    }
    return {"data": traces, "layout": {"barmode": "overlay", "bargap": 0.02, **axes}}


def by_class(table: pa.Table, class_names: list[str]) -> dict[str, Chart]:
    """Quantiles for each class, a chart for each measure."""
    labels = _column(table, "label")
    there = [k for k in range(len(class_names)) if (labels == k).any()]
    charts = {}
    for name in (measure.name for measure in shown_in("report")):
        values = _column(table, name)
        q = np.array([quantiles(values[labels == k], [0.05, 0.25, 0.5, 0.75, 0.95]) for k in there])
        fences: Chart = dict(zip(("lowerfence", "q1", "median", "q3", "upperfence"), map(_rounded, q.T), strict=True))
        box: dict[str, Any] = {
            "type": "box",
            "x": [escape(class_names[k]) for k in there],
            **fences,
            "theme": RIGHT,
            "name": "",
        }
        axes: Chart = {
            "xaxis": {"type": "category", "title": {"text": "true class"}},
            "yaxis": {"title": {"text": MEASURES[name].axis()}, "rangemode": "tozero"},
        }
        axes["showlegend"] = False
        charts[name] = {"data": [box], "layout": axes}
    return charts


def norm_against_confidence(table: pa.Table, class_names: list[str]) -> Chart:
    """Each sample by how sure and how sensitive the network is; every error, and an even choice of the others.

    Nearly all confidences are close to 1, so the axis is logarithmic in 1 − confidence, and named by the confidence.
    """
    correct = _column(table, "correct").astype(bool)
    right = np.flatnonzero(correct)
    right = right[np.linspace(0, len(right) - 1, min(len(right), POINTS)).round().astype(int)] if len(right) else right
    groups = ((f"right ({len(right):,} shown)", right, RIGHT, 4), ("wrong (all)", np.flatnonzero(~correct), WRONG, 6))
    traces = [
        _points(table, name, where, class_names, color, size) for name, where, color, size in groups if len(where)
    ]
    doubts = [0.5, *(10.0**-power for power in range(1, 8))]
    axes = {
        "xaxis": {
            "type": "log",
            "autorange": "reversed",
            "tickvals": doubts,
            "ticktext": [f"{100 * (1 - doubt):.7g} %" for doubt in doubts],
            "title": {"text": "confidence (logarithmic in the doubt)"},
        },
        "yaxis": {"title": {"text": "Frobenius norm of J"}, "rangemode": "tozero"},
    }
    return {"data": traces, "layout": axes}


def spectrum(summary: dict[str, Any]) -> Chart:
    """Singular values: the mean and the range of the middle 90 %."""
    mean, low, high = (summary["spectrum"][key] for key in ("mean", "percentile_5", "percentile_95"))
    x = list(range(1, len(mean) + 1))
    band = {"type": "scatter", "mode": "lines", "line": {"width": 0}, "hoverinfo": "skip", "showlegend": False, "x": x}
    traces = [
        {**band, "y": high},
        {**band, "y": low, "fill": "tonexty", "theme": RIGHT, "name": "middle 90 % of the samples", "showlegend": True},
        {
            "type": "scatter",
            "mode": "lines+markers",
            "x": x,
            "y": mean,
            "theme": RIGHT,
            "name": "mean",
            "hovertemplate": "σ<sub>%{x}</sub>: %{y:.3g}<extra></extra>",
        },
    ]
    axes = {
        "xaxis": {"title": {"text": "singular value, from the largest"}, "dtick": 1 if len(x) < 30 else None},
        "yaxis": {"title": {"text": "σ of J"}, "rangemode": "tozero"},
    }
    return {"data": traces, "layout": axes}


def distances(table: pa.Table) -> Chart:
    """Predicted against found distance, with the line where they agree."""
    predicted = np.asarray(_column(table, "predicted_distance"), np.float64)
    traces: list[dict[str, Any]] = []
    largest, smallest = 0.0, np.inf  # of the predictions: the line of equals needs to go no further
    for name, column, color in (
        ("along the predicted direction", "along_distance", RIGHT),
        ("by the attack, pixels within [0, 1]", "attack_distance", WRONG),
    ):
        found = np.asarray(_column(table, column), np.float64)
        both = np.isfinite(found) & np.isfinite(predicted) & (predicted > 0) & (found > 0)
        if not both.any():
            continue
        largest, smallest = max(largest, predicted[both].max()), min(smallest, predicted[both].min())
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": name,
                "x": _rounded(predicted[both]),
                "y": _rounded(found[both]),
                "customdata": _column(table, "index")[both].tolist(),
                "theme": color,
                "marker": {"size": 6},
                "hovertemplate": "sample %{customdata}<br>predicted %{x:.3g}, found %{y:.3g}<extra></extra>",
            }
        )
    if traces:
        ends = [float(smallest), float(largest)]
        line = {"dash": "dash", "width": 1}
        equal = {"type": "scatter", "mode": "lines", "x": ends, "y": ends, "line": line, "theme": "ink"}
        traces.insert(0, {**equal, "name": "found as predicted", "hoverinfo": "skip"})
    ticks = [digit * 10.0**power for power in range(-6, 7) for digit in (1, 2, 5)]
    scale = {"type": "log", "tickvals": ticks, "ticktext": [f"{tick:g}" for tick in ticks]}
    axes = {
        "xaxis": {**scale, "title": {"text": "predicted distance (first order)"}},
        "yaxis": {**scale, "title": {"text": "found distance"}},
    }
    return {"data": traces, "layout": axes}


def _points(table: pa.Table, name: str, where: Values, class_names: list[str], color: str, size: int) -> dict[str, Any]:
    index, label, prediction = (_column(table, key)[where].tolist() for key in ("index", "label", "prediction"))
    named = [escape(name) for name in class_names]  # plotly reads tags in what it shows
    confidence = _column(table, "confidence")[where].astype(np.float64)
    details = [
        [i, named[k], named[j], f"{100 * sure:.7g} %"]
        for i, k, j, sure in zip(index, label, prediction, confidence.tolist(), strict=True)
    ]
    return {
        "type": "scattergl" if len(where) > 5000 else "scatter",
        "mode": "markers",
        "name": name,
        "x": _rounded(np.maximum(1 - confidence, DOUBT)),
        "y": _rounded(_column(table, "frobenius")[where]),
        "customdata": details,
        "theme": color,
        "marker": {"size": size},
        "opacity": 0.6,
        "hovertemplate": "sample %{customdata[0]}: class %{customdata[1]}, predicted %{customdata[2]}<br>"
        "confidence %{customdata[3]}, norm %{y:.3g}<extra></extra>",
    }


def _column(table: pa.Table, name: str) -> Values:
    values: Values = table.column(name).to_numpy()
    return values


def _rounded(values: Values) -> list[float | None]:
    """Five significant digits: more than a screen shows, less than a file suffers from."""
    return [float(f"{value:.5g}") if np.isfinite(value) else None for value in values]
