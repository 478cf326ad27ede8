"""A labelled grid of small pictures, drawn as one array.

matplotlib needs seconds for the hundred axes of a probe sheet; this takes milliseconds, which is what makes it
possible to draw sheets during training.
"""

import struct
import zlib
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from jacoscope.visuals.colors import SHEET, Pixels
from jacoscope.visuals.fonts import face_for, font
from jacoscope.visuals.heatmaps import Scale

TILE_SIZE = 84
"""Pixels, about, of a picture's longer side on a sheet of many."""

_MARGIN = 14
_GAP = 4
_BAR_WIDTH = 20
_TITLE_FROM = 20
"""Points of a title, at least: TensorBoard shows a sheet some 340 pixels wide at first."""
_LABEL_FROM = 17
_LABEL_WIDTH = 220
"""Pixels of a row's label, at least before it is shortened."""


@dataclass(frozen=True)
class RowLabel:
    """The label left of a row: a large line and a small one; red if the row is marked."""

    title: str
    detail: str = ""
    marked: bool = False


def compose_sheet(
    tiles: Sequence[Sequence[Pixels | None]],
    title: str,
    row_labels: Sequence[RowLabel] = (),
    column_labels: Sequence[str] = (),
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
        scale: the colour bar, on the right; below a grid that is too low for its texts.
        tile_size: pixels that the longer side of a picture is enlarged to, by whole factors so that it stays sharp.
        captions: a text above each picture, in rows as ``tiles``.

    Returns:
        The sheet, ``[height, width, 3]``.
    """
    height, width = next(tile.shape[:2] for row in tiles for tile in row if tile is not None)
    factor = max(1, round(tile_size / max(height, width)))
    cell_h, cell_w = height * factor, width * factor
    grid_w = max(len(row) for row in tiles) * (cell_w + _GAP) - _GAP
    size = max(_TITLE_FROM, round(grid_w / 26))  # the wider the sheet, the larger its type
    large, small = font(size), font(max(_LABEL_FROM, round(0.6 * size)))
    heads = large if all(large.getlength(text) <= cell_w for text in column_labels) else small
    row_labels = [_fitted_label(label, large, small, max(_LABEL_WIDTH, grid_w / 4)) for label in row_labels]
    label_w = max((max(_width(label.title, large), _width(label.detail, small)) for label in row_labels), default=0)
    left = _MARGIN + int(label_w) + (10 if label_w else 0)
    top = _MARGIN + round(1.5 * size) + (round(1.3 * heads.size) if any(column_labels) else 0)
    above = round(1.4 * small.size) if captions else 0
    row_h = above + max(cell_h, round(2.2 * size if any(label.detail for label in row_labels) else 1.2 * size))
    grid_h = len(tiles) * (row_h + _GAP) - _GAP
    bar, bar_x, bar_y = None, left, top
    if scale is not None:
        face = font(max(_LABEL_FROM, round(0.75 * size)))
        stands = grid_h >= max(face.getlength(scale.units), 1.4 * face.size * len(scale.ticks()))
        bar = _standing_bar(scale, grid_h, face) if stands else _lying_bar(scale, grid_w, face)
        bar_x, bar_y = (left + grid_w + 18, top) if stands else (left, top + grid_h + 18)
    full_w = max(left + grid_w, bar_x + (bar.width if bar else 0), _MARGIN + int(large.getlength(title))) + _MARGIN
    full_h = max(top + grid_h, bar_y + (bar.height if bar else 0)) + _MARGIN

    page = Image.new("RGB", (full_w, full_h), SHEET["page"])
    draw = ImageDraw.Draw(page)
    draw.text((_MARGIN, _MARGIN - 4), title, SHEET["ink"], large)
    for column, text in enumerate(column_labels):
        center = left + column * (cell_w + _GAP) + cell_w / 2
        draw.text((center, top - 6), fitted(text, heads, cell_w), SHEET["ink"], face_for(text, heads), anchor="ms")
    for row, pictures in enumerate(tiles):
        y = top + row * (row_h + _GAP)
        if row_labels:
            _draw_row_label(draw, row_labels[row], left - 10, y + row_h / 2, large, small)
        for column, picture in enumerate(pictures):
            x = left + column * (cell_w + _GAP)
            if captions:
                caption = fitted(captions[row][column], small, cell_w)
                face = face_for(caption, small)
                draw.text((x + cell_w / 2, y + above - 5), caption, SHEET["ink"], face, anchor="ms")
            if picture is not None:
                enlarged = Image.fromarray(picture).resize((cell_w, cell_h), Image.Resampling.NEAREST)
                page.paste(enlarged, (x, y + (above + row_h - cell_h) // 2))
    if bar is not None:
        page.paste(bar, (bar_x, bar_y))
    return np.asarray(page)


def _width(text: str, face: ImageFont.FreeTypeFont) -> float:
    return face_for(text, face).getlength(text)


def _fitted_label(
    label: RowLabel, large: ImageFont.FreeTypeFont, small: ImageFont.FreeTypeFont, width: float
) -> RowLabel:
    return replace(label, title=fitted(label.title, large, width), detail=fitted(label.detail, small, width))


def fitted(text: str, face: ImageFont.FreeTypeFont, width: float) -> str:
    """Shorten a text until it is no wider than ``width`` pixels."""
    face = face_for(text, face)
    if face.getlength(text) <= width:
        return text
    while len(text) > 1 and face.getlength(f"{text}…") > width:
        text = text[:-1]
    return f"{text}…"


def turned_text(text: str, face: ImageFont.FreeTypeFont) -> Image.Image:
    """Return a mask of a text that is read from below."""
    mask = Image.new("L", (int(face.getlength(text)) + 4, round(1.4 * face.size)), 0)
    ImageDraw.Draw(mask).text((2, 0), text, 255, face)
    return mask.rotate(90, expand=True)


def encode_png(picture: Pixels) -> bytes:
    """Return a picture, ``[height, width, 3]``, as the bytes of a PNG file.

    2.5 times as fast as Pillow, which tries five filters on each row. Here each row is stored as its difference from
    the row above, which is zero in most rows of an enlarged map; the file is as small.
    """
    height, width, _ = picture.shape
    flat = picture.reshape(height, 3 * width)
    rows = np.empty((height, 1 + 3 * width), np.uint8)
    rows[:, 0] = 2  # the filter "up"
    rows[0, 1:] = flat[0]
    np.subtract(flat[1:], flat[:-1], out=rows[1:, 1:])
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)  # eight bits, colours, not interlaced
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows.data, 1)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def png_uri(png: bytes) -> str:
    """Return a PNG file as the address of a picture inside a page.

    >>> png_uri(b"png")
    'data:image/png;base64,cG5n'
    """
    return f"data:image/png;base64,{b64encode(png).decode()}"


def _draw_row_label(
    draw: ImageDraw.ImageDraw,
    label: RowLabel,
    right: float,
    middle: float,
    large: ImageFont.FreeTypeFont,
    small: ImageFont.FreeTypeFont,
) -> None:
    color = SHEET["wrong" if label.marked else "ink"]
    if label.detail:
        draw.text((right, middle + 0.1 * large.size), label.title, color, face_for(label.title, large), anchor="rs")
        faint = SHEET["wrong" if label.marked else "faint"]
        draw.text((right, middle + 0.3 * large.size), label.detail, faint, face_for(label.detail, small), "rt")
    else:
        draw.text((right, middle), label.title, color, face_for(label.title, large), anchor="rm")


def _lying_bar(scale: Scale, width: int, face: ImageFont.FreeTypeFont) -> Image.Image:
    """Draw a colour bar, ``width`` pixels wide or as its texts need, with ticks and units below it."""
    ticks = scale.ticks()[::-1]
    tick_w = max(face.getlength(tick) for tick in ticks) + face.size
    width = round(max(width, len(ticks) * tick_w, face.getlength(scale.units)))
    line = round(1.4 * face.size)
    page = Image.new("RGB", (width, _BAR_WIDTH + 6 + 2 * line), SHEET["page"])
    draw = ImageDraw.Draw(page)
    columns = np.linspace(0, len(scale.table) - 1, width).round().astype(int)
    page.paste(Image.fromarray(scale.table[columns][None].repeat(_BAR_WIDTH, 0)), (0, 0))
    draw.rectangle((0, 0, width - 1, _BAR_WIDTH - 1), outline=SHEET["faint"])
    for place, tick in enumerate(ticks):
        anchor = "lt" if place == 0 else "rt" if place == len(ticks) - 1 else "mt"
        x = place * (width - 1) / (len(ticks) - 1)
        draw.text((x, _BAR_WIDTH + 6), tick, SHEET["ink"], face, anchor=anchor)
    draw.text((width / 2, _BAR_WIDTH + 6 + line), scale.units, SHEET["ink"], face, anchor="mt")
    return page


def _standing_bar(scale: Scale, height: int, face: ImageFont.FreeTypeFont) -> Image.Image:
    """Draw a colour bar with ticks and units beside it, ``height`` pixels high."""
    ticks = scale.ticks()
    tick_w = int(max(face.getlength(tick) for tick in ticks)) + 1
    units = turned_text(scale.units, face)
    # Between two ticks where it fits, else beside them all.
    gap = (height - 1) / (len(ticks) - 1)
    fits = units.height < gap - 2 * face.size
    x = _BAR_WIDTH + (6 if fits else 10 + tick_w)
    y = round((gap if fits else height) / 2 - units.height / 2)
    full = max(_BAR_WIDTH + 6 + tick_w, x + units.width), max(height, units.height)
    page = Image.new("RGB", full, SHEET["page"])
    draw = ImageDraw.Draw(page)
    table = scale.table
    rows = np.linspace(len(table) - 1, 0, height).round().astype(int)
    page.paste(Image.fromarray(table[rows][:, None].repeat(_BAR_WIDTH, 1)), (0, 0))
    draw.rectangle((0, 0, _BAR_WIDTH - 1, height - 1), outline=SHEET["faint"])
    for place, tick in enumerate(ticks):
        anchor = "lt" if place == 0 else "lb" if place == len(ticks) - 1 else "lm"
        draw.text((_BAR_WIDTH + 6, place * gap), tick, SHEET["ink"], face, anchor=anchor)
    page.paste(Image.new("RGB", units.size, SHEET["ink"]), (x, max(0, y)), units)
    return page
