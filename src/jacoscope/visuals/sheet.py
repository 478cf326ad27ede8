"""A labelled grid of small pictures, drawn as one array.

matplotlib needs seconds for the hundred axes of a probe sheet; this takes milliseconds, which is what makes it
possible to draw sheets during training.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.colors import ListedColormap
from PIL import Image, ImageDraw, ImageFont

from jacoscope.visuals.colors import Pixels

TILE_SIZE = 84
"""Pixels, about, of a picture's longer side on a sheet of many."""

_INK = (30, 30, 30)
_FAINT = (110, 110, 110)
_WRONG = (176, 0, 32)
_PAGE = (255, 255, 255)
_MARGIN = 14
_GAP = 4
_BAR_WIDTH = 20


@dataclass(frozen=True)
class Scale:
    """A colour bar: the map, the values at its two ends, and the units.

    With ``bend``, the scale is that of ``paint_signed`` with the same ``bend``; else it is even, and what lies beyond
    its ends has the colour of the end.
    """

    colors: ListedColormap
    low: float
    high: float
    units: str
    bend: float | None = None


@dataclass(frozen=True)
class RowLabel:
    """What stands left of a row: a large line and a small one; a row that is marked is drawn in red."""

    title: str
    detail: str = ""
    marked: bool = False


def compose_sheet(
    tiles: Sequence[Sequence[Pixels | None]],
    title: str,
    row_labels: Sequence[RowLabel],
    column_labels: Sequence[str],
    scale: Scale | None = None,
    tile_size: int = TILE_SIZE,
    captions: Sequence[Sequence[str]] = (),
) -> Pixels:
    """Set pictures into a grid with labels, a title and a colour bar.

    Args:
        tiles: rows of pictures ``[height, width, 3]``, all of one shape; ``None`` leaves a place empty.
        title: above the grid.
        row_labels: one for each row, or none at all.
        column_labels: one for each column; shortened where a column is too narrow.
        scale: the colour bar on the right.
        tile_size: pixels that the longer side of a picture is enlarged to, by whole factors so that it stays sharp.
        captions: a text above each picture, in rows as ``tiles``.

    Returns:
        The sheet, ``[height, width, 3]``.
    """
    height, width = next(tile.shape[:2] for row in tiles for tile in row if tile is not None)
    factor = max(1, round(tile_size / max(height, width)))
    cell_h, cell_w = height * factor, width * factor
    columns = max(len(row) for row in tiles)
    grid_w = columns * (cell_w + _GAP) - _GAP
    # TensorBoard shows a sheet some 340 pixels wide at first: the wider the sheet, the larger its type.
    size = max(20, round(grid_w / 26))
    large, small = font(size), font(max(17, round(0.6 * size)))
    heads = large if all(large.getlength(text) <= cell_w for text in column_labels) else small
    label_w = max((max(large.getlength(label.title), small.getlength(label.detail)) for label in row_labels), default=0)
    left = _MARGIN + int(label_w) + (10 if label_w else 0)
    top = _MARGIN + round(1.5 * size) + (round(1.3 * heads.size) if any(column_labels) else 0)
    above = round(1.4 * small.size) if captions else 0
    row_h = above + max(cell_h, round(2.2 * size if any(label.detail for label in row_labels) else 1.2 * size))
    grid_h = len(tiles) * (row_h + _GAP) - _GAP
    bar = None if scale is None else _bar(scale, max(grid_h, 150), font(max(17, round(0.75 * size))))
    bar_w = 0 if bar is None else 18 + bar.width
    full_w = max(left + grid_w + bar_w, _MARGIN + int(large.getlength(title))) + _MARGIN
    full_h = top + max(grid_h, 0 if bar is None else bar.height) + _MARGIN

    page = Image.new("RGB", (full_w, full_h), _PAGE)
    draw = ImageDraw.Draw(page)
    draw.text((_MARGIN, _MARGIN - 4), title, _INK, large)
    for column, text in enumerate(column_labels):
        center = left + column * (cell_w + _GAP) + cell_w / 2
        draw.text((center, top - 6), fitted(text, heads, cell_w), _INK, heads, anchor="ms")
    for row, pictures in enumerate(tiles):
        y = top + row * (row_h + _GAP)
        if row_labels:
            _draw_row_label(draw, row_labels[row], left - 10, y + row_h / 2, large, small)
        for column, picture in enumerate(pictures):
            x = left + column * (cell_w + _GAP)
            if captions:
                caption = fitted(captions[row][column], small, cell_w)
                draw.text((x + cell_w / 2, y + above - 5), caption, _INK, small, anchor="ms")
            if picture is not None:
                enlarged = picture.repeat(factor, 0).repeat(factor, 1)
                page.paste(Image.fromarray(enlarged), (x, y + (above + row_h - cell_h) // 2))
    if bar is not None:
        page.paste(bar, (left + grid_w + 18, top))
    return np.asarray(page)


@cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """Give the font that matplotlib brings, DejaVu Sans, which has ∂ and subscripts."""
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf"), size)


def fitted(text: str, face: ImageFont.FreeTypeFont, width: float) -> str:
    """Shorten a text until it is no wider than ``width`` pixels."""
    if face.getlength(text) <= width:
        return text
    while len(text) > 1 and face.getlength(f"{text}…") > width:
        text = text[:-1]
    return f"{text}…"


def _draw_row_label(
    draw: ImageDraw.ImageDraw,
    label: RowLabel,
    right: float,
    middle: float,
    large: ImageFont.FreeTypeFont,
    small: ImageFont.FreeTypeFont,
) -> None:
    color = _WRONG if label.marked else _INK
    if label.detail:
        draw.text((right, middle + 0.1 * large.size), label.title, color, large, anchor="rs")
        draw.text((right, middle + 0.3 * large.size), label.detail, color if label.marked else _FAINT, small, "rt")
    else:
        draw.text((right, middle), label.title, color, large, anchor="rm")


def _bar(scale: Scale, height: int, face: ImageFont.FreeTypeFont) -> Image.Image:
    """Draw a colour bar with ticks and units, ``height`` pixels high."""
    ticks = _ticks(scale)
    tick_w = int(max(face.getlength(tick) for tick in ticks)) + 1
    units = Image.new("L", (int(face.getlength(scale.units)) + 4, round(1.4 * face.size)), 0)
    ImageDraw.Draw(units).text((2, 0), scale.units, 255, face)
    turned = units.rotate(90, expand=True)
    # Between two ticks where it fits, else beside them all.
    gap = (height - 1) / (len(ticks) - 1)
    fits = turned.height < gap - 2 * face.size
    x = _BAR_WIDTH + (6 if fits else 10 + tick_w)
    y = round((gap if fits else height) / 2 - turned.height / 2)
    page = Image.new("RGB", (max(_BAR_WIDTH + 6 + tick_w, x + turned.width), max(height, turned.height)), _PAGE)
    draw = ImageDraw.Draw(page)
    colors = np.asarray(scale.colors.colors)
    rows = np.linspace(len(colors) - 1, 0, height).round().astype(int)
    strip = np.rint(colors[rows] * 255).astype(np.uint8)[:, None].repeat(_BAR_WIDTH, 1)
    page.paste(Image.fromarray(strip), (0, 0))
    draw.rectangle((0, 0, _BAR_WIDTH - 1, height - 1), outline=_FAINT)
    for place, tick in enumerate(ticks):
        anchor = "lt" if place == 0 else "lb" if place == len(ticks) - 1 else "lm"
        draw.text((_BAR_WIDTH + 6, place * gap), tick, _INK, face, anchor=anchor)
    page.paste(Image.new("RGB", turned.size, _INK), (x, max(0, y)), turned)
    return page


def _ticks(scale: Scale) -> list[str]:
    """What stands at even distances along the bar, from the top."""
    if scale.bend is not None:
        reach = math.asinh(scale.high / scale.bend)
        halfway = scale.bend * math.sinh(reach / 2)
        return [_number(value) for value in (scale.high, halfway, 0.0, -halfway, scale.low)]
    ends = f"≥ {_number(scale.high)}", f"≤ {_number(scale.low)}" if scale.low else "0"
    return [ends[0], _number((scale.low + scale.high) / 2), ends[1]]


def _number(value: float) -> str:
    return f"{value:.2g}".replace("-", "−").replace("e−0", "e−")
