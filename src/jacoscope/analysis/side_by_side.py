"""Figures of several networks side by side."""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from matplotlib.figure import Figure
from numpy.typing import NDArray

from jacoscope.visuals import diverging

BLUE, ORANGE = "#2b6cb0", "#c65a11"
CLASSES = 10  # shown at most
Maps = NDArray[np.float32]


def maps_figure(rows: Sequence[tuple[str, Maps]], class_names: list[str], title: str, unit: str) -> Figure:
    """Draw the mean map of each class, a row for each network, all on one scale.

    Args:
        rows: name and maps ``[classes, H, W]`` of each network; NaN for a class without samples.
        class_names: one for each class.
        title: of the figure.
        unit: of the maps.
    """
    classes = min(len(class_names), CLASSES)
    limit = max(float(np.nanquantile(np.abs(maps[:classes]), 0.999)) for _, maps in rows) or 1.0
    figure = Figure(figsize=(1.05 * classes + 2.2, 1.1 * len(rows) + 0.9), layout="constrained", dpi=160)
    axes = figure.subplots(len(rows), classes, squeeze=False)
    for row, (name, maps) in enumerate(rows):
        for k in range(classes):
            axis = axes[row, k]
            shown = axis.imshow(maps[k], cmap=diverging(), vmin=-limit, vmax=limit, interpolation="nearest")
            axis.set_xticks([])
            axis.set_yticks([])
            axis.spines[:].set_visible(False)
            if row == 0:
                axis.set_title(class_names[k], fontsize=10)
        axes[row, 0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
    figure.suptitle(title, fontsize=11)
    figure.colorbar(shown, ax=axes.ravel().tolist(), fraction=0.025, pad=0.01).set_label(unit, fontsize=9)
    return figure


def scatter_figure(table: pa.Table, names: tuple[str, str], output: str) -> Figure:
    """Draw each sample's norm in network a against b, and the cosines between the Jacobians."""
    a, b, cosine, right_a, right_b = (
        table.column(name).to_numpy() for name in ("frobenius_a", "frobenius_b", "cosine", "correct_a", "correct_b")
    )
    top = float(max(a.max(), b.max())) * 1.03 or 1.0
    figure = Figure(figsize=(9.4, 4.6), layout="constrained", dpi=160)
    left, right = figure.subplots(1, 2)
    left.plot([0, top], [0, top], "--", color="0.5", linewidth=1, label="equally sensitive")
    both = right_a.astype(bool) & right_b.astype(bool)
    for which, color, size, label in ((both, BLUE, 4, "both right"), (~both, ORANGE, 10, "one of them wrong, or both")):
        left.scatter(
            a[which], b[which], s=size, alpha=0.5, linewidths=0, color=color, label=f"{label} ({int(which.sum()):,})"
        )
    left.set(xlabel=f"a: {names[0]}", ylabel=f"b: {names[1]}", aspect="equal", xlim=(0, top), ylim=(0, top))
    left.set_title(f"Frobenius norm of ∂ {output} / ∂ pixels", fontsize=11)
    left.legend(frameon=False, fontsize=8, markerscale=2)
    right.hist(cosine, bins=np.linspace(min(0.0, float(cosine.min())), 1, 41), color=BLUE)
    right.yaxis.get_major_locator().set_params(integer=True)
    right.axvline(float(np.median(cosine)), color=ORANGE, label=f"median {np.median(cosine):.2f}")
    right.set(xlabel="cosine: 1 same direction, 0 unrelated", ylabel="samples")
    right.set_title("Angle between the Jacobians of a and b", fontsize=11)
    right.legend(frameon=False, fontsize=9)
    return figure


def history_figure(rows: list[dict[str, Any]], samples: str, output: str) -> Figure:
    """Draw norm, boundary distance, effective rank and accuracy over the steps of training."""
    steps = [row["global_step"] for row in rows]
    figure = Figure(figsize=(9.4, 5.6), layout="constrained", dpi=160)
    panels = figure.subplots(2, 2, sharex=True)
    for axis, name, title in (
        (panels[0, 0], "frobenius", f"Frobenius norm of ∂ {output} / ∂ pixels"),
        (panels[0, 1], "boundary_distance", "first-order distance to the decision boundary"),
        (panels[1, 0], "effective_rank", "effective rank of J"),
    ):
        low, median, high = (
            [row[f"{name}_{key}"] for row in rows] for key in ("percentile_5", "median", "percentile_95")
        )
        axis.fill_between(steps, low, high, alpha=0.2, color=BLUE, linewidth=0, label="middle 90 % of the samples")
        axis.plot(steps, median, "o-", color=BLUE, markersize=4, label="median")
        axis.set_ylim(0, 1.05 * axis.get_ylim()[1])
        axis.set_title(title, fontsize=11)
    panels[0, 0].legend(frameon=False, fontsize=9)
    panels[1, 1].plot(steps, [100 * row["accuracy"] for row in rows], "o-", color=ORANGE, markersize=4)
    panels[1, 1].set_title("accuracy, %", fontsize=11)
    for axis in panels[1]:
        axis.set_xlabel("training step")
        axis.xaxis.get_major_locator().set_params(integer=True)
    figure.suptitle(samples, fontsize=11)
    return figure


def as_png(figure: Figure) -> bytes:
    """Give a figure as the bytes of a PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()
