"""The section of the report about robustness: charts of the curves, the distances, a table of all sizes, sentences."""

from typing import Any, NamedTuple

import plotly.graph_objects as go
import pyarrow as pa

from jacoscope.analysis.report import charts
from jacoscope.analysis.robustness.figure import curve_label, look_of, norm_of, panels
from jacoscope.analysis.robustness.perturbations import CORRUPTIONS, NORMS
from jacoscope.analysis.robustness.summary import FIRST_ORDER, distances_in_words, verdict
from jacoscope.pages import band, figure

_SHARES = ("accuracy", "low", "high")


class RobustnessSection(NamedTuple):
    """What the template shows about robustness."""

    charts: dict[str, go.Figure]
    """All charts by their names."""
    norms: list[str]
    """The names of the charts of attacks."""
    corruptions: dict[str, str]
    """The labels of the charts of corruptions by their names."""
    headings: list[str]
    rows: list[list[str]]
    """Of the table of all sizes."""
    sentences: list[str]
    summary: dict[str, Any]
    """The content of robustness.json."""


def robustness_section(summary: dict[str, Any], table: pa.Table) -> RobustnessSection:
    """Return what the report shows.

    Args:
        summary: the content of robustness.json.
        table: the content of robustness.parquet, without rows that are not finite.
    """
    drawn = {}
    for title, names in panels(summary):
        drawn[f"robustness-{norm_of(names[0]) or names[0]}"] = _chart(summary, title, names)
    corruptions = {f"robustness-{name}": each.label for name, each in CORRUPTIONS.items() if name in summary["curves"]}
    distances = {}
    if "distances" in summary:
        distances = {"robustness-distances": charts.distances(table)}
    rows = [
        [curve_label(name), _unit(name), f"{point['size']:g}", *(f"{point[key]:.2%}" for key in _SHARES)]
        for name, points in summary["curves"].items()
        for point in points
    ]
    return RobustnessSection(
        charts={**drawn, **distances},
        norms=[name for name in drawn if name not in corruptions],
        corruptions=corruptions,
        headings=["change", "size", "", "accuracy", "from", "to"],
        rows=rows,
        sentences=[text for text in (f"{distances_in_words(summary)}.", f"{verdict(summary)}.") if text != "."],
        summary=summary,
    )


def _unit(name: str) -> str:
    norm = norm_of(name)
    return CORRUPTIONS[name].unit if norm is None else NORMS[norm].symbol


def _chart(summary: dict[str, Any], title: str, names: list[str]) -> go.Figure:
    """Return the accuracies against the size, with their 95 % intervals as bands."""
    traces: list[go.Scatter] = []
    for name in names:
        points = [summary["accuracy"], *summary["curves"][name]]
        x, color = [point["size"] for point in points], look_of(name)["color"]
        low, high = ([point[end] for point in points] for end in ("low", "high"))
        traces += [
            *band(x, low, high, color, legendgroup=name),
            go.Scatter(
                x=x,
                y=[point["accuracy"] for point in points],
                customdata=[[point["low"], point["high"]] for point in points],
                mode="lines" if name == FIRST_ORDER else "lines+markers",
                line={"color": color, "dash": "dash" if name == FIRST_ORDER else "solid"},
                name=curve_label(name),
                legendgroup=name,
                showlegend=len(names) > 1,
                hovertemplate=f"{curve_label(name)}, size %{{x:.3g}}: %{{y:.2%}} (%{{customdata[0]:.2%}} to "
                "%{customdata[1]:.2%})<extra></extra>",
            ),
        ]
    yaxis = {"title": {"text": "accuracy"}, "tickformat": ".0%", "range": [0, 1.02]}
    return figure(*traces, xaxis={"title": {"text": title}, "rangemode": "tozero"}, yaxis=yaxis)
