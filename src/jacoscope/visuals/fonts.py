"""The fonts of pictures, and what a picture shows instead of a class name that none of them can write."""

import unicodedata
import warnings
from collections.abc import Sequence
from functools import cache
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib
from PIL import ImageFont

if TYPE_CHECKING:
    from matplotlib.font_manager import FontEntry


def drawable(class_names: Sequence[str]) -> tuple[str, ...]:
    """Return class names as a picture can show them: ``class 7`` instead of one whose letters no font here has.

    Warns once if there are such names.

    >>> drawable(["cat", "Größe", "∂"])
    ('cat', 'Größe', '∂')
    """
    return _drawable(tuple(class_names))


def families(*texts: str) -> list[str]:
    """Return what matplotlib takes as ``fontfamily``: its own fonts, then those with the other letters."""
    others = {font.name for letters in map(_foreign, texts) if letters and (font := _font_with(letters))}
    return [*matplotlib.rcParams["font.family"], *sorted(others)]


def shortened(name: str, width: int) -> str:
    """Return a name of at most ``width`` letters; wide ones, such as Chinese, count twice.

    >>> shortened("eagle", 8), shortened("golden eagle", 8), shortened("手写数字识别", 8)
    ('eagle', 'golden …', '手写数…')
    """
    ends = list(accumulate(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in name))
    if not ends or ends[-1] <= width:
        return name
    return name[: sum(end < width for end in ends)] + "…"


@cache
def _drawable(class_names: tuple[str, ...]) -> tuple[str, ...]:
    lost = [k for k, name in enumerate(class_names) if (letters := _foreign(name)) and not _font_with(letters)]
    if lost:
        warnings.warn(
            f"No font of this machine has the letters of {len(lost)} class names: pictures show numbers, such as "
            f"class {lost[0]} for {class_names[lost[0]]}. Install one that has them, such as Noto Sans CJK",
            stacklevel=3,
        )
    return tuple(f"class {k}" if k in lost else name for k, name in enumerate(class_names))


def _foreign(text: str) -> tuple[str, ...]:
    """Return the letters of a text that DejaVu Sans lacks."""
    return tuple(sorted({letter for letter in text if letter not in "…" and ord(letter) not in _letters_of(None)}))


@cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """Return the font that matplotlib brings, DejaVu Sans, which has ∂ and subscripts."""
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf"), size)


def face_for(text: str, face: ImageFont.FreeTypeFont) -> ImageFont.FreeTypeFont:
    """Return a font of the same size that has all letters of a text: another one of this machine, if need be."""
    letters = _foreign(text)
    other = _font_with(letters) if letters else None
    return face if other is None else ImageFont.truetype(other.fname, face.size)


@cache
def _letters_of(path: str | None) -> frozenset[int]:
    """Return the letters of a font file; of DejaVu Sans, where none is given."""
    from matplotlib.ft2font import FT2Font

    file = path or str(Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf")
    try:
        return frozenset(FT2Font(file).get_charmap())
    except (RuntimeError, OSError):  # a file that is no font, or is gone
        return frozenset()


@cache
def _font_with(letters: tuple[str, ...]) -> "FontEntry | None":
    """Return an installed font that has some letters, such as Chinese ones; ``None`` if there is none."""
    from matplotlib.font_manager import fontManager  # takes a moment to import, and is seldom needed

    wanted = set(map(ord, letters))
    fonts = [font for font in fontManager.ttflist if "LastResort" not in font.fname]  # which has boxes for all
    return next((font for font in fonts if wanted <= _letters_of(font.fname)), None)
