"""The page of two networks on the same samples."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from jacoscope.analysis.figures import bin_edges
from jacoscope.analysis.report.explorer import BESIDE
from jacoscope.analysis.report.listing import ReadImages, spread
from jacoscope.analysis.report.networks import SamplesOfNetworks
from jacoscope.analysis.report.numbers import short
from jacoscope.files import write_whole
from jacoscope.measures import MEASURES, SINGULAR, shown_in
from jacoscope.pages import LIGHT, figure, render
from jacoscope.visuals.numbers import number_text

POINTS = 2000
"""Samples in the scatter plot where both networks are right; all others are shown."""


def write_comparison(
    path: Path,
    summary: Mapping[str, Any],
    samples: SamplesOfNetworks,
    cosine: NDArray[Any],
    shape: tuple[int, ...],
    gallery: Mapping[str, Any] | None,
    read_images: ReadImages,
) -> None:
    """Write the page, and beside it the pictures of its samples.

    Args:
        path: the HTML file.
        summary: the content of comparison.json.
        samples: in both networks.
        cosine: between the Jacobians of each sample, ``[samples]``.
        shape: of an image, ``(C, H, W)``.
        gallery: the pictures of each class, if maps were kept.
        read_images: reads pixels of samples by their indices.

    Raises:
        UserError: if a file cannot be written.
    """
    listed, unit = samples.listed(), SINGULAR[summary["output"]]
    right = [_who(*each) for each in samples.correct[:, listed].T.tolist()]
    cosines = [float(f"{value:.4g}") for value in cosine[listed].tolist()]
    between = (("right", "right", right), ("cosine", "cosine", cosines))
    shown = ("prediction_a", "prediction_b", "frobenius_a", "frobenius_b")
    names = [network.title for network in samples.networks]
    page = render(
        "analysis/report/comparison.html",
        title=f"{names[0]} and {names[1]}",
        subtitle=f"{summary['samples']:,} {summary['split']} samples, ∂ {summary['output']} / ∂ pixels",
        charts={"norms": _norms(samples), "cosines": _cosines(cosine)},
        data={"samples": samples.table(between, shown), "explorer": samples.explorer(shape, unit)},
        summary=summary,
        names=names,
        unit=unit,
        measures=shown_in("networks"),
        listed=len(listed),
        with_maps=samples.count_kept(),
        short=lambda value: "–" if value is None else short(value),
        gallery_of_classes=gallery,
    )
    write_whole(path, page.encode())
    write_whole(path.parent / BESIDE, samples.beside(read_images))


def _norms(samples: SamplesOfNetworks) -> go.Figure:
    both = samples.correct.all(0)
    a, b = (network.rows["frobenius"] for network in samples.networks)
    groups: Sequence[tuple[str, NDArray[Any], str, int]] = (
        ("both right", spread(np.flatnonzero(both), POINTS), "right", 4),
        ("not both right", np.flatnonzero(~both), "wrong", 6),
    )
    traces = [
        go.Scatter(
            x=[float(f"{value:.4g}") for value in a[rows].tolist()],
            y=[float(f"{value:.4g}") for value in b[rows].tolist()],
            customdata=samples.index[rows].tolist(),
            meta={"click": "sample"},
            mode="markers",
            name=f"{name} ({len(rows):,} shown)",
            marker={"size": size, "color": LIGHT[color]},
            opacity=0.6,
            hovertemplate="sample %{customdata}: a %{x:.3g}, b %{y:.3g}<extra></extra>",
        )
        for name, rows, color, size in groups
        if len(rows)
    ]
    ends = [float(max(a.min(), b.min())), float(min(a.max(), b.max()))]
    if ends[0] < ends[1]:
        line = {"dash": "dash", "width": 1, "color": LIGHT["ink"]}
        traces.append(go.Scatter(x=ends, y=ends, mode="lines", line=line, name="equally sensitive", hoverinfo="skip"))
    label = MEASURES["frobenius"].axis()
    return figure(*traces, xaxis={"title": {"text": f"{label}, a"}}, yaxis={"title": {"text": f"{label}, b"}})


def _cosines(cosine: NDArray[Any]) -> go.Figure:
    counts, edges = np.histogram(cosine, bin_edges(cosine))
    bars = go.Bar(
        x=[float(f"{middle:.4g}") for middle in (edges[1:] + edges[:-1]) / 2],
        y=counts.tolist(),
        customdata=[f"{low:.6g}..{high:.6g}" for low, high in pairwise(edges.tolist())],
        hovertext=[f"{number_text(low)} to {number_text(high)}" for low, high in pairwise(edges.tolist())],
        meta={"click": "cosine"},
        marker_color=LIGHT["right"],
        hovertemplate="cosine %{hovertext}: %{y} samples<extra></extra>",
    )
    xaxis = {"title": {"text": "cosine<br>(1: the same direction, 0: unrelated)"}}
    return figure(bars, bargap=0.02, xaxis=xaxis, yaxis={"title": {"text": "samples"}})


def _who(a: bool, b: bool) -> str:
    return ("both" if b else "a alone") if a else ("b alone" if b else "neither")
