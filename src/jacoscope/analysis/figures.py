"""Figures of answers: maps of several networks, scatter plots, curves over training, a change of a picture."""

import io
from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import Any

import matplotlib
import numpy as np
import pyarrow as pa
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from jacoscope.measures import MEASURES, SINGULAR, shown_in
from jacoscope.visuals.colors import THEME
from jacoscope.visuals.figure import add_color_bar, show_pixels
from jacoscope.visuals.fonts import drawable, families, shortened
from jacoscope.visuals.heatmaps import Scale, brightness_derivative, heatmap, paint_images

COLORS = THEME["light"]
DOTS = 160
"""Per inch."""
LETTERS = 11
"""Of a class's name above a small map."""


def mean_maps_figure(
    rows: Mapping[str, Tensor], class_names: list[str], output: str, about: str, max_classes: int = 10
) -> Figure:
    """Draw the mean derivative of each class's own output, a row for each network, all on one scale.

    Args:
        rows: maps ``[classes, H, W]`` of each network by its name; NaN for a class without samples.
        class_names: one for each class.
        output: what is differentiated.
        about: added to the title.
        max_classes: that are shown.
    """
    classes = min(len(class_names), max_classes)
    shown = [shortened(name, LETTERS) for name in drawable(class_names)[:classes]]
    unit = f"mean ∂ {SINGULAR[output]} / ∂ pixel"
    scale = Scale.signed(torch.stack([maps[:classes] for maps in rows.values()]), unit, quantile=0.999)
    figure = Figure(figsize=(1.05 * classes + 2.2, 1.1 * len(rows) + 0.9), layout="constrained", dpi=DOTS)
    axes = figure.subplots(len(rows), classes, squeeze=False)
    for row, (name, maps) in enumerate(rows.items()):
        for k in range(classes):
            show_pixels(axes[row, k], heatmap(maps[k], scale))
            axes[row, k].spines[:].set_visible(False)
            axes[0, k].set_title(shown[k], fontsize=10, fontfamily=families(*shown), parse_math=False)
        axes[row, 0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9, parse_math=False)
    figure.suptitle(f"mean derivative of each class's own {SINGULAR[output]}{about}", fontsize=11)
    add_color_bar(figure, axes.ravel().tolist(), scale, fraction=0.025, pad=0.01)
    return figure


def scatter_figure(table: pa.Table, names: tuple[str, str], output: str) -> Figure:
    """Draw each sample's norm in network a against b, and the cosines between the Jacobians.

    Args:
        table: columns of comparison.parquet.
        names: of a and b.
        output: what is differentiated.
    """
    a, b, cosine, right_a, right_b = (
        table[name].to_numpy() for name in ("frobenius_a", "frobenius_b", "cosine", "correct_a", "correct_b")
    )
    figure = Figure(figsize=(9.4, 4.6), layout="constrained", dpi=DOTS)
    left, right = figure.subplots(1, 2)
    left.axline((1, 1), slope=1, linestyle="--", color="0.5", linewidth=1, label="equally sensitive")
    both = right_a.astype(bool) & right_b.astype(bool)
    for which, color, size, label in (
        (both, COLORS["right"], 4, "both right"),
        (~both, COLORS["wrong"], 10, "one of them wrong, or both"),
    ):
        label += f" ({int(which.sum()):,})"
        left.scatter(a[which], b[which], s=size, alpha=0.5, linewidths=0, color=color, label=label)
    left.set(xlabel=f"a: {names[0]}", ylabel=f"b: {names[1]}", xlim=_ends(a), ylim=_ends(b))
    left.set_title(f"{MEASURES['frobenius'].label} of ∂ {output} / ∂ pixels", fontsize=11)
    left.legend(frameon=False, fontsize=8, markerscale=2)
    right.hist(cosine, bins=bin_edges(cosine), color=COLORS["right"])
    right.yaxis.get_major_locator().set_params(integer=True)
    right.axvline(float(np.median(cosine)), color=COLORS["wrong"], label=f"median {np.median(cosine):.2f}")
    right.set(xlabel="cosine: 1 same direction, 0 unrelated", ylabel="samples")
    right.set_title("Angle between the Jacobians of a and b", fontsize=11)
    right.legend(frameon=False, fontsize=9)
    return figure


def history_figure(rows: Sequence[dict[str, Any]], samples: str, output: str) -> Figure:
    """Draw the accuracy and the measures that compare networks over the steps of training, one panel for each.

    Args:
        rows: of history.parquet.
        samples: of which samples, for the title.
        output: what is differentiated.
    """
    steps = [row["global_step"] for row in rows]
    measures = shown_in("networks")
    height = -(-(len(measures) + 1) // 2)
    figure = Figure(figsize=(9.4, 2.8 * height), layout="constrained", dpi=DOTS)
    panels = list(figure.subplots(height, 2, squeeze=False).flat)
    for axis, measure in zip(panels, measures, strict=False):
        low, median, high = (
            [row[f"{measure.name}_{key}"] for row in rows] for key in ("percentile_5", "median", "percentile_95")
        )
        band = {"alpha": 0.2, "linewidth": 0, "label": "middle 90 % of the samples"}
        axis.fill_between(steps, low, high, color=COLORS["right"], **band)
        axis.plot(steps, median, "o-", color=COLORS["right"], markersize=4, label="median")
        axis.set_title(measure.axis().replace(" of J", f" of ∂ {output} / ∂ pixels"), fontsize=11)
    panels[0].legend(frameon=False, fontsize=9)
    accuracy = panels[len(measures)]
    accuracy.plot(steps, [100 * row["accuracy"] for row in rows], "o-", color=COLORS["wrong"], markersize=4)
    accuracy.set_title("accuracy, %", fontsize=11)
    for axis in panels[len(measures) + 1 :]:
        axis.set_axis_off()
    for axis in panels:
        axis.xaxis.get_major_locator().set_params(integer=True)
    for axis in panels[-2:]:
        axis.set_xlabel("training step")
    figure.suptitle(samples, fontsize=11)
    return figure


def picture_figure(pixels: Tensor, caption: str, title: str) -> Figure:
    """Draw one picture ``[C, H, W]``."""
    figure = Figure(figsize=(8.4, 3.2), layout="constrained")
    _show_image(figure.subplots(), pixels, caption)
    figure.suptitle(fill(title, 90, break_long_words=True), fontsize=11)
    return figure


def change_figure(before: Tensor, after: Tensor, titles: tuple[str, str, str], title: str) -> Figure:
    """Draw a picture ``[C, H, W]``, the change of its pixels, and the changed picture.

    Args:
        before: the picture.
        after: the changed picture.
        titles: of the picture, the change and the changed picture.
        title: of the figure.
    """
    figure = Figure(figsize=(8.4, 3.2), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    _show_image(left, before, titles[0])
    change = brightness_derivative(after - before)
    scale = Scale.signed(change, "change of pixel", quantile=1.0)
    show_pixels(middle, heatmap(change, scale))
    middle.set_axis_off()
    middle.set_title(titles[1], fontsize=10)
    add_color_bar(figure, [middle], scale, fraction=0.046, pad=0.03)
    _show_image(right, after, titles[2])
    figure.suptitle(title, fontsize=11)
    return figure


def rendered(figure: Figure, kind: str = "png") -> bytes:
    """Return a figure as the bytes of a PNG or an SVG file."""
    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.fonttype": "none"}):
        figure.savefig(buffer, format=kind, dpi=DOTS)
    return buffer.getvalue()


def bin_edges(values: "np.ndarray[Any, Any]", bins: int = 40) -> "np.ndarray[Any, Any]":
    """Return the edges of the bins of a histogram that the values fill; of values that hardly differ, some width.

    >>> bin_edges(np.array([1.0, 3.0]), 2).tolist(), bin_edges(np.array([1.0, 1.0]), 2).tolist()
    ([1.0, 2.0, 3.0], [0.99, 0.995, 1.0])
    """
    low, high = float(values.min()), float(values.max())
    least = 0.01 * max(abs(low), abs(high)) or 1.0
    edges: np.ndarray[Any, Any] = np.linspace(min(low, high - least), high, bins + 1)
    return edges


def _ends(values: "np.ndarray[Any, Any]") -> tuple[float, float]:
    """Return the ends of an axis that the values fill."""
    low, high = float(values.min()), float(values.max())
    margin = 0.03 * (high - low) or 0.5
    return low - margin, high + margin


def _show_image(axis: Axes, pixels: Tensor, title: str) -> None:
    show_pixels(axis, paint_images(pixels.clamp(0, 1).unsqueeze(0))[0])
    axis.set_axis_off()
    axis.set_title(title, fontsize=10, fontfamily=families(title), parse_math=False)
