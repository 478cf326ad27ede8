r"""All colours: the colour maps of derivatives, the theme of pages and figures, and the words for them in texts.

The colour maps are perceptually uniform, safe for colour-blind readers, and have a neutral zero. Each arm of a map is a
straight line in Oklab (Ottosson, A perceptual color space for image processing, 2020), so that equal steps of the value
are equal steps to the eye. Both arms of the diverging map end at the same lightness: only the hue shows the sign, and
the two hues are told apart with every common kind of colour blindness. Zero is the same light grey in all maps, a shade
off the white page, so that a map's edge is seen.

To change the colours of all heatmaps, change the entries of :data:`MAP_COLORS`, with their words. The three ends have
to be told apart. Tests hold any colours to the above: even steps, and ends that are equally dark. Few of matplotlib's
maps pass.

This file imports neither torch nor matplotlib until a colour map is used: pages read the theme from here.
"""

import math
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.colors import ListedColormap

Pixels = NDArray[np.uint8]
"""A picture, ``[height, width, 3]``, red, green, blue from 0 to 255."""


class MapColor(NamedTuple):
    """The colour at an end of a colour map, in Oklab's polar form, and what it is called in texts."""

    word: str
    lightness: float
    chroma: float
    hue: float
    """In degrees."""


MAP_COLORS = {
    "zero": MapColor("light grey", 0.97, 0.0, 0.0),
    "negative": MapColor("blue", 0.48, 0.137, 250.0),
    "positive": MapColor("orange", 0.48, 0.137, 45.0),
    "strong": MapColor("violet", 0.30, 0.14, 305.0),
}
"""The ends of the colour maps: zero, the two signs, and the largest magnitude."""
WORDS = {name: color.word for name, color in MAP_COLORS.items()}
"""What these colours are called in texts: ``WORDS["positive"]`` raises an output, ``WORDS["negative"]`` lowers it."""
KINDS = ("#3b82c4", "#d1661c", "#8a63d2", "#1f9d76", "#d0457a", "#9a7b16", "#2596a8", "#7d8590")
"""The colours of runs by a setting of few values, to be seen on light and on dark paper."""
RUN_SCALE = "Viridis"
"""Plotly's name of the scale that colours runs by a number."""
NOT_FINITE = 90
"""The grey of values that are NaN or infinite."""

THEME = {
    "light": {
        "paper": "#fcfcfa",
        "card": "#ffffff",
        "ink": "#1d2430",
        "soft": "#5b6472",
        "line": "#e2e4e8",
        "right": "#2b6cb0",
        "wrong": "#c65a11",
        "accent": "#5b3fa0",
        "second": "#0b7d5c",
        "mark": "#12b886",
    },
    "dark": {
        "paper": "#14171c",
        "card": "#1c2027",
        "ink": "#e7e9ee",
        "soft": "#a0a8b5",
        "line": "#313743",
        "right": "#6cabec",
        "wrong": "#f0924a",
        "accent": "#b49cf0",
        "second": "#3fd3a6",
        "mark": "#12b886",
    },
}
"""Colours of pages and charts by what they are for, on light and on dark paper; figures have those of light paper.

Of two networks or runs, the first has the colour `accent`, the second `second`."""
SHEET = {
    "page": (255, 255, 255),
    "ink": (30, 30, 30),
    "faint": (110, 110, 110),
    "grid": (232, 232, 232),
    "wrong": (176, 0, 32),
}
"""Colours of the paper, of texts and of lines on a sheet of pictures."""

_LEVELS = 256
_OKLAB_TO_LMS = np.array(
    [
        [1.0, 0.3963377774, 0.2158037573],
        [1.0, -0.1055613458, -0.0638541728],
        [1.0, -0.0894841775, -1.2914855480],
    ]
)
_LMS_TO_LINEAR_RGB = np.array(
    [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]
)


@cache
def diverging() -> "ListedColormap":
    """Return the map for signed values, which has a neutral zero in the middle.

    >>> [round(float(channel), 2) for channel in diverging()(0.5)[:3]]
    [0.96, 0.96, 0.96]
    """
    return _colormap(_diverging_rgb(), "jacoscope.diverging")


def diverging_table() -> Pixels:
    """Return the colours of :func:`diverging` in order, ``[colours, 3]``, without loading matplotlib.

    >>> table = diverging_table()
    >>> table.shape, table[256].tolist()
    ((513, 3), [245, 245, 245])
    """
    table: Pixels = np.rint(_diverging_rgb() * 255).astype(np.uint8)
    return table


@cache
def sequential() -> "ListedColormap":
    """Return the map for magnitudes, which begins with the neutral zero."""
    steps = np.linspace(0.0, 1.0, _LEVELS)[:, None]
    return _colormap(_rgb(_between("strong", steps)), "jacoscope.sequential")


def css() -> str:
    """Return the theme as custom properties of CSS: ``--ink`` and so on, for light and dark pages.

    >>> css().splitlines()[0][:33]
    ':root { --paper: #fcfcfa; --card:'
    """
    light, dark = (" ".join(f"--{name}: {color};" for name, color in colors.items()) for colors in THEME.values())
    return f':root {{ {light} }}\n:root[data-theme="dark"] {{ {dark} color-scheme: dark; }}\n'


def _colormap(rgb: NDArray[np.float64], name: str) -> "ListedColormap":
    from matplotlib.colors import ListedColormap

    return ListedColormap(rgb, name)


def _diverging_rgb() -> NDArray[np.float64]:
    steps = np.linspace(-1.0, 1.0, 2 * _LEVELS + 1)[:, None]  # an odd number: zero has a colour of its own
    return _rgb(np.where(steps < 0, _between("negative", -steps), _between("positive", steps)))


def _rgb(oklab: NDArray[np.float64]) -> NDArray[np.float64]:
    linear = (((oklab @ _OKLAB_TO_LMS.T) ** 3) @ _LMS_TO_LINEAR_RGB.T).clip(0, 1)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    rgb: NDArray[np.float64] = encoded.clip(0, 1)
    return rgb


def _between(end: str, share: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points of the straight line in Oklab from zero's colour (share 0) to the end (share 1)."""
    start = _oklab(MAP_COLORS["zero"])
    line: NDArray[np.float64] = start + (_oklab(MAP_COLORS[end]) - start) * share
    return line


def _oklab(color: MapColor) -> NDArray[np.float64]:
    angle = math.radians(color.hue)
    return np.array([color.lightness, color.chroma * math.cos(angle), color.chroma * math.sin(angle)])
