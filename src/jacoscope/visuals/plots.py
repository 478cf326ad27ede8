"""Figures for people, drawn with matplotlib: one sample's Jacobian, and the spectrum over training.

No pyplot: figures made here belong to whoever asked for them, and no global state is touched.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator
from torch import Tensor

from jacoscope.visuals.colors import Pixels, diverging, sequential, symmetric_limit
from jacoscope.visuals.maps import UNITS, brightness_derivative, paint_image, percent


def jacobian_figure(
    image: Tensor,
    J: Tensor,
    probabilities: Tensor,
    label: int | None,
    class_names: Sequence[str],
    output: str = "probs",
    max_classes: int = 10,
) -> Figure:
    """Draw one sample and the derivative of every output with respect to its pixels.

    All maps share one symmetric scale. The true class has a heavy frame; above each map stand the class and its
    probability. With more than ``max_classes`` outputs, the most probable ones are shown.

    Args:
        image: pixels in [0, 1], ``[channels, height, width]``.
        J: ``[outputs, channels, height, width]``.
        probabilities: ``[outputs]``.
        label: true class, or ``None``.
        class_names: one for each output.
        output: what was differentiated, for the units.
        max_classes: maps at most.

    Returns:
        A figure; ``figure.savefig("jacobian.png")``, or ``.svg``, writes it.

    >>> import torch
    >>> figure = jacobian_figure(torch.rand(1, 8, 8), torch.randn(3, 1, 8, 8), torch.eye(3)[0], 0, "abc")
    >>> len(figure.axes)
    5
    """
    maps = brightness_derivative(J)
    shown = sorted(probabilities.topk(min(max_classes, len(probabilities))).indices.tolist())
    limit = symmetric_limit(maps[shown])
    columns = -(-len(shown) // 2) if len(shown) > 3 else len(shown)
    rows = -(-len(shown) // columns)
    figure = Figure(figsize=(1.75 * (columns + rows) + 1.1, 2.0 * rows + 0.6), layout="constrained", dpi=150)
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(rows, columns + rows)
    digit = figure.add_subplot(grid[:, :rows])
    digit.imshow(paint_image(image.unsqueeze(0))[0], interpolation="nearest")
    digit.set_title(_heading(probabilities, label, class_names), fontsize=12)
    axes = [digit]
    for place, k in enumerate(shown):
        axis = figure.add_subplot(grid[place // columns, rows + place % columns])
        axis.imshow(maps[k].cpu().numpy(), cmap=diverging(), vmin=-limit, vmax=limit, interpolation="nearest")
        axis.set_title(f"{class_names[k]}   {percent(float(probabilities[k]))}", fontsize=10)
        axes.append(axis)
        for side in axis.spines.values():
            side.set_linewidth(2.0 if k == label else 0.4)
    for axis in axes:
        axis.set_xticks([])
        axis.set_yticks([])
    colors = ScalarMappable(Normalize(-limit, limit), diverging())
    bar = figure.colorbar(colors, ax=axes, extend="both", fraction=0.03, pad=0.02, aspect=30)
    bar.set_label(UNITS.get(output, f"∂ {output} / ∂ pixel"))
    return figure


def spectrum_over_epochs(history: Mapping[int, Tensor], output: str = "logits") -> Pixels:
    """Plot the mean singular values of the Jacobian, a line for each epoch, later ones darker.

    Args:
        history: by epoch, singular values in descending order, ``[values]``; zeros are left out.
        output: what was differentiated, for the title.
    """
    figure = Figure(figsize=(6.4, 4.2), dpi=100)
    canvas = FigureCanvasAgg(figure)
    axis = figure.add_axes((0.12, 0.13, 0.86, 0.78))  # a layout engine would take longer than the plot
    epochs = sorted(history)
    shades = sequential()(np.linspace(0.25, 1.0, len(epochs)))
    for epoch, shade in zip(epochs, shades, strict=True):
        values = history[epoch].detach().float().cpu().numpy()
        values = np.where(values > 1e-6 * max(values.max(initial=0.0), 1e-30), values, np.nan)
        marker = "o" if epoch in (epochs[0], epochs[-1]) else None
        name = f"epoch {epoch}" if marker else None
        axis.plot(range(1, len(values) + 1), values, color=shade, marker=marker, label=name)
    axis.set_yscale("log")
    # Ticks, texts and where a title goes take most of the time: few, plain, and at a place that is given.
    axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.yaxis.set_minor_locator(NullLocator())
    axis.yaxis.set_major_formatter("{x:g}")
    axis.set_xlabel("singular value, from the largest")
    axis.set_ylabel(f"mean σ of ∂ {output} / ∂ pixels")
    axis.set_title("How many directions of the input matter, and how much", fontsize=11, y=1.02)
    axis.grid(alpha=0.25)
    axis.legend(frameon=False)
    canvas.draw()  # type: ignore[no-untyped-call]
    drawn: Pixels = np.asarray(canvas.buffer_rgba())[..., :3].copy()  # type: ignore[no-untyped-call]
    return drawn


def _heading(probabilities: Tensor, label: int | None, class_names: Sequence[str]) -> str:
    predicted = int(probabilities.argmax())
    guess = f"predicted {class_names[predicted]}, {percent(float(probabilities[predicted]))}"
    return guess if label is None else f"{class_names[label]}: {guess}"
