"""A chart of a few lines on a logarithmic axis, drawn as one array: ten times as fast as matplotlib."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from jacoscope.visuals.colors import SHEET, Pixels
from jacoscope.visuals.fonts import font
from jacoscope.visuals.sheet import turned_text

_SIZE = 640, 420
_BOX = 86, 38, 627, 365  # the corners of the axes
_PADDING = 0.045  # between the outermost points and the axes, as a share of these
_FINER = 3
_DOT = 4.2  # radius


@dataclass(frozen=True)
class Line:
    """One line of a chart.

    Attributes:
        values: at x = 1, 2, …; those that are not positive are left out.
        color: red, green, blue.
        name: in the legend; a line without a name has no dots and no place there.
    """

    values: NDArray[np.float64]
    color: tuple[int, ...]
    name: str = ""


class _Axes:
    """Where values are drawn, and where the ticks are."""

    def __init__(self, lines: Sequence[Line]) -> None:
        self.left, self.top, self.right, self.bottom = _BOX
        shown = np.concatenate([line.values[line.values > 0] for line in lines])
        self._low, self._high = (math.log10(shown.min()), math.log10(shown.max())) if len(shown) else (0.0, 0.0)
        if self._high - self._low < 0.1:  # a line that is level still has an axis with ticks
            self._low, self._high = self._low - 0.5, self._high + 0.5
        self._count = max(2, *(int(np.flatnonzero(line.values > 0).max(initial=0)) + 1 for line in lines))
        every = max(1, round(self._count / 10))
        self.x_ticks = [(x, round(self.across(x))) for x in range(every, self._count + 1, every)]
        decades = range(math.floor(self._low) - 1, math.ceil(self._high) + 1)
        digits = (1, 2, 5) if self._high - self._low < 5 else (1,)
        values = [digit * 10.0**decade for decade in decades[:: max(1, len(decades) // 8)] for digit in digits]
        ticks = [(value, round(self.down(value))) for value in values]
        self.y_ticks = [(value, y) for value, y in ticks if self.top <= y <= self.bottom]

    def across(self, x: float) -> float:
        padding = _PADDING * (self.right - self.left)
        return self.left + padding + (x - 1) / (self._count - 1) * (self.right - self.left - 2 * padding)

    def down(self, value: float) -> float:
        padding = _PADDING * (self.bottom - self.top)
        share = (math.log10(value) - self._low) / (self._high - self._low)
        return self.bottom - padding - share * (self.bottom - self.top - 2 * padding)


def line_chart(lines: Sequence[Line], title: str, x_title: str, y_title: str) -> Pixels:
    """Draw lines over x = 1, 2, … on a logarithmic vertical axis.

    Args:
        lines: later ones are drawn above earlier ones.
        title: above the axes.
        x_title: below them.
        y_title: left of them.

    Returns:
        The chart, ``[height, width, 3]``.
    """
    axes, face = _Axes(lines), font(14)
    named = [line for line in lines if line.name]
    beside = axes.right - 14 - max((face.getlength(line.name) for line in named), default=0)
    legend = [(line, beside, axes.top + 20 + 21 * row) for row, line in enumerate(named)]
    page = _draw_lines(axes, lines, legend)
    draw, ink = ImageDraw.Draw(page), SHEET["ink"]
    draw.text(((axes.left + axes.right) / 2, axes.top - 12), title, ink, font(15), anchor="ms")
    draw.text(((axes.left + axes.right) / 2, axes.bottom + 42), x_title, ink, face, anchor="ms")
    for value, y in axes.y_ticks:
        draw.line((axes.left - 4, y, axes.left, y), ink)
        draw.text((axes.left - 8, y), f"{value:g}", ink, face, anchor="rm")
    for place, x in axes.x_ticks:
        draw.line((x, axes.bottom, x, axes.bottom + 4), ink)
        draw.text((x, axes.bottom + 8), str(place), ink, face, anchor="mt")
    for line, left, y in legend:
        draw.text((left, y), line.name, ink, face, anchor="lm")
    mask = turned_text(y_title, face)
    page.paste(Image.new("RGB", mask.size, ink), (2, round((axes.top + axes.bottom - mask.height) / 2)), mask)
    return np.asarray(page)


def _draw_lines(axes: _Axes, lines: Sequence[Line], legend: Sequence[tuple[Line, float, float]]) -> Image.Image:
    """Draw everything except the texts, at three times the size and then reduced, which makes lines smooth."""
    page = Image.new("RGB", (_SIZE[0] * _FINER, _SIZE[1] * _FINER), SHEET["page"])
    draw = ImageDraw.Draw(page)
    for _, y in axes.y_ticks:
        draw.line(_enlarged((axes.left, y), (axes.right, y)), SHEET["grid"], _FINER)
    for _, x in axes.x_ticks:
        draw.line(_enlarged((x, axes.top), (x, axes.bottom)), SHEET["grid"], _FINER)
    for line in lines:
        values = enumerate(line.values.tolist(), start=1)
        points = [(axes.across(x), axes.down(value)) for x, value in values if value > 0]
        if len(points) > 1:
            draw.line(_enlarged(*points), line.color, 2 * _FINER, joint="curve")
        for point in points if line.name else ():
            draw.circle(_enlarged(point), _DOT * _FINER, line.color)
    for line, left, down in legend:
        draw.line(_enlarged((left - 38, down), (left - 10, down)), line.color, 2 * _FINER)
        draw.circle(_enlarged((left - 24, down)), _DOT * _FINER, line.color)
    draw.rectangle(_enlarged((axes.left, axes.top), (axes.right, axes.bottom)), outline=SHEET["ink"], width=_FINER)
    return page.reduce(_FINER)


def _enlarged(*points: tuple[float, float]) -> list[float]:
    """The coordinates on the larger picture."""
    return [coordinate * _FINER for point in points for coordinate in point]
