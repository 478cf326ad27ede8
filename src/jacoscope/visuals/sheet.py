"""A labelled grid of small pictures, drawn as one array.

matplotlib needs seconds for the hundred axes of a probe sheet; this takes milliseconds, which is what makes it
possible to draw sheets during training.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.colors import ListedColormap
from PIL import Image, ImageDraw, ImageFont

from jacoscope.visuals.colors import Pixels

_INK = (30, 30, 30)
_FAINT = (110, 110, 110)
_WRONG = (176, 0, 32)
_PAGE = (255, 255, 255)
_MARGIN = 14
_GAP = 4
_BAR_WIDTH = 20


@dataclass(frozen=True)
class Scale:
    """A colour bar: the map, the values at its two ends, and the units."""

    colors: ListedColormap
    low: float
    high: float
    units: str


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
    tile_size: int = 84,
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
    large, small = font(20), font(17)
    columns = max(len(row) for row in tiles)
    label_w = max((max(large.getlength(label.title), small.getlength(label.detail)) for label in row_labels), default=0)
    left = _MARGIN + int(label_w) + (10 if label_w else 0)
    top = _MARGIN + 30 + (26 if any(column_labels) else 0)
    grid_w = columns * (cell_w + _GAP) - _GAP
    bar_w = 0 if scale is None else _BAR_WIDTH + 18 + int(max(_tick_widths(scale))) + 26
    above = 24 if captions else 0
    row_h = above + max(cell_h, 44 if any(label.detail for label in row_labels) else 24)
    grid_h = len(tiles) * (row_h + _GAP) - _GAP
    full_w = max(left + grid_w + bar_w, _MARGIN + int(large.getlength(title))) + _MARGIN
    full_h = top + max(grid_h, 150 if scale is not None else 0) + _MARGIN

    page = Image.new("RGB", (full_w, full_h), _PAGE)
    draw = ImageDraw.Draw(page)
    draw.text((_MARGIN, _MARGIN - 4), title, _INK, large)
    for column, text in enumerate(column_labels):
        center = left + column * (cell_w + _GAP) + cell_w / 2
        draw.text((center, top - 6), fitted(text, small, cell_w), _INK, small, anchor="ms")
    for row, pictures in enumerate(tiles):
        y = top + row * (row_h + _GAP)
        if row_labels:
            _draw_row_label(draw, row_labels[row], left - 10, y + row_h / 2)
        for column, picture in enumerate(pictures):
            x = left + column * (cell_w + _GAP)
            if captions:
                caption = fitted(captions[row][column], small, cell_w)
                draw.text((x + cell_w / 2, y + above - 5), caption, _INK, small, anchor="ms")
            if picture is not None:
                enlarged = picture.repeat(factor, 0).repeat(factor, 1)
                page.paste(Image.fromarray(enlarged), (x, y + (above + row_h - cell_h) // 2))
    if scale is not None:
        _draw_bar(page, scale, left + grid_w + 18, top, max(grid_h, 150))
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


def _draw_row_label(draw: ImageDraw.ImageDraw, label: RowLabel, right: float, middle: float) -> None:
    color = _WRONG if label.marked else _INK
    if label.detail:
        draw.text((right, middle - 2), label.title, color, font(20), anchor="rs")
        draw.text((right, middle + 4), label.detail, color if label.marked else _FAINT, font(17), anchor="rt")
    else:
        draw.text((right, middle), label.title, color, font(20), anchor="rm")


def _draw_bar(page: Image.Image, scale: Scale, x: int, y: int, height: int) -> None:
    draw = ImageDraw.Draw(page)
    colors = np.asarray(scale.colors.colors)
    rows = np.linspace(len(colors) - 1, 0, height).round().astype(int)
    strip = np.rint(colors[rows] * 255).astype(np.uint8)[:, None].repeat(_BAR_WIDTH, 1)
    page.paste(Image.fromarray(strip), (x, y))
    draw.rectangle((x, y, x + _BAR_WIDTH - 1, y + height - 1), outline=_FAINT)
    for position, tick in zip((0.0, 0.5, 1.0), _ticks(scale), strict=True):
        anchor = ("lt", "lm", "lb")[int(2 * position)]
        draw.text((x + _BAR_WIDTH + 6, y + position * (height - 1)), tick, _INK, font(17), anchor=anchor)
    units = Image.new("L", (int(font(17).getlength(scale.units)) + 4, 24), 0)
    ImageDraw.Draw(units).text((2, 0), scale.units, 255, font(17))
    turned = units.rotate(90, expand=True)
    where = (x + _BAR_WIDTH + 12 + int(max(_tick_widths(scale))), max(0, y + (height - turned.height) // 2))
    page.paste(Image.new("RGB", turned.size, _INK), where, turned)


def _ticks(scale: Scale) -> tuple[str, str, str]:
    middle = (scale.low + scale.high) / 2
    beyond = "≥ "  # the ends hold what lies beyond them
    low = f"≤ {scale.low:.2g}".replace("-", "−") if scale.low else "0"
    return f"{beyond}{scale.high:.2g}", f"{middle:.2g}", low


def _tick_widths(scale: Scale) -> list[float]:
    return [font(17).getlength(tick) for tick in _ticks(scale)]
