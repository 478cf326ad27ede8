"""Figures for people, drawn with matplotlib, which also writes SVG: one sample's Jacobian.

No pyplot: figures made here belong to whoever asked for them, and no global state is touched.
"""

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import AsinhNorm, Normalize
from matplotlib.figure import Figure
from torch import Tensor

from jacoscope.visuals.colors import Pixels
from jacoscope.visuals.fonts import drawable, families, shortened
from jacoscope.visuals.heatmaps import Scale, brightness_derivative, heatmap, paint_images, percent

_LETTERS = 20  # of a class's name above a map
_ONE_LINE = 8  # letters of a class's name that stands in one line with a probability


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

    All maps share one symmetric scale, which is logarithmic where maps of probabilities would be empty. The true class
    has a heavy frame; above each map stand the class and its probability. With more than ``max_classes`` outputs, the
    most probable ones are shown.

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
    scale = Scale.of_derivatives(maps[shown], output)
    columns = -(-len(shown) // 2) if len(shown) > 3 else len(shown)
    rows = -(-len(shown) // columns)
    figure = Figure(figsize=(1.75 * (columns + rows) + 1.1, 2.0 * rows + 0.6), layout="constrained", dpi=150)
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(rows, columns + rows)
    digit = figure.add_subplot(grid[:, :rows])
    show_pixels(digit, paint_images(image.unsqueeze(0))[0])
    names = [shortened(name, _LETTERS) for name in drawable(class_names)]
    look: dict[str, Any] = {"fontfamily": families(*names), "parse_math": False}
    digit.set_title(_heading(probabilities, label, names), fontsize=12, **look)
    axes = [digit]
    for place, k in enumerate(shown):
        axis = figure.add_subplot(grid[place // columns, rows + place % columns])
        show_pixels(axis, heatmap(maps[k], scale))
        axis.set_title(_side_by_side(names[k], percent(float(probabilities[k]))), fontsize=10, **look)
        axes.append(axis)
        for side in axis.spines.values():
            side.set_linewidth(2.0 if k == label else 0.4)
    add_color_bar(figure, axes, scale)
    return figure


def show_pixels(axis: Axes, pixels: Pixels) -> None:
    """Show a picture, such as a heatmap, without ticks; its pixels stay sharp."""
    axis.imshow(pixels, interpolation="nearest")
    axis.set_xticks([])
    axis.set_yticks([])


def add_color_bar(
    figure: Figure, axes: Sequence[Axes], scale: Scale, fraction: float = 0.03, pad: float = 0.02, aspect: float = 30
) -> None:
    """Add the colour bar of a scale beside axes.

    Args:
        figure: whose axes they are.
        axes: beside which it stands.
        scale: of the axes' pictures.
        fraction: share of the axes' width that it takes.
        pad: share of the axes' width between them and the bar.
        aspect: how many times as high as wide it is.
    """
    is_even = scale.bend is None
    norm = Normalize(scale.low, scale.high) if scale.bend is None else AsinhNorm(scale.bend, scale.low, scale.high)
    extend = "neither" if not is_even else "both" if scale.low else "max"
    colors = ScalarMappable(norm, scale.colors)
    bar = figure.colorbar(colors, ax=axes, extend=extend, fraction=fraction, pad=pad, aspect=aspect)
    if not is_even:
        bar.set_ticks(scale.bent_ticks(), labels=scale.ticks(), minor=False)
        bar.minorticks_off()
    bar.set_label(scale.units)


def _heading(probabilities: Tensor, label: int | None, class_names: Sequence[str]) -> str:
    predicted = int(probabilities.argmax())
    guess = f"predicted {class_names[predicted]}, {percent(float(probabilities[predicted]))}"
    return guess if label is None else _side_by_side(f"{class_names[label]}:", guess, " ")


def _side_by_side(first: str, second: str, between: str = "   ") -> str:
    """Return two texts in one line, or in two lines where they are long."""
    return f"{first}{between if len(first) <= _ONE_LINE else chr(10)}{second}"
