r"""Colour maps made for derivatives: perceptually uniform, safe for colour-blind readers, with a neutral zero.

Each arm of a map is a straight line in Oklab (Ottosson, A perceptual color space for image processing, 2020),
so that equal steps of the value are equal steps to the eye. Both arms of the diverging map end at the same
lightness: only the hue tells the sign, and blue against orange is told apart with every common kind of colour
blindness. Zero is the same light grey in all maps, a shade off the white page, so that a map's edge is seen.
"""

import math
from functools import cache

import numpy as np
import torch
from matplotlib.colors import ListedColormap
from numpy.typing import NDArray
from torch import Tensor

Pixels = NDArray[np.uint8]
"""A picture, ``[height, width, 3]``, red, green, blue from 0 to 255."""

_NEUTRAL = (0.97, 0.0, 0.0)  # lightness, chroma, hue in degrees
_NEGATIVE = (0.48, 0.137, 250.0)
_POSITIVE = (0.48, 0.137, 45.0)
_STRONG = (0.30, 0.14, 305.0)
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
def diverging() -> ListedColormap:
    """Give the map for signed values: blue below zero, light grey at zero, orange above.

    >>> [round(float(channel), 2) for channel in diverging()(0.5)[:3]]
    [0.96, 0.96, 0.96]
    """
    steps = np.linspace(-1.0, 1.0, 2 * _LEVELS + 1)[:, None]  # an odd number: zero has a colour of its own
    arms = np.where(steps < 0, _between(_NEGATIVE, -steps), _between(_POSITIVE, steps))
    return ListedColormap(_to_srgb(arms), "jacoscope.diverging")


@cache
def sequential() -> ListedColormap:
    """Give the map for magnitudes: light grey at zero, deep violet at the largest."""
    steps = np.linspace(0.0, 1.0, _LEVELS)[:, None]
    return ListedColormap(_to_srgb(_between(_STRONG, steps)), "jacoscope.sequential")


def symmetric_limit(values: Tensor, quantile: float = 0.998) -> float:
    """Give the value at which the two ends of a diverging scale are set.

    The given quantile of the magnitudes, so that one hot pixel does not fade all the others; what lies beyond it
    is drawn in the colour of the end. Zero or non-finite everywhere gives 1, as a scale needs some length.

    Args:
        values: any shape.
        quantile: share of the magnitudes within the scale.

    >>> import torch
    >>> symmetric_limit(torch.tensor([-4.0, 1.0, 2.0]), quantile=1.0)
    4.0
    """
    magnitudes = values.detach().cpu().abs().flatten().double().numpy()  # not every device has float64
    magnitudes = magnitudes[np.isfinite(magnitudes)]
    limit = float(np.quantile(magnitudes, quantile)) if magnitudes.size else 0.0
    if limit == 0.0 and magnitudes.size:
        limit = float(magnitudes.max())
    return limit if limit > 0 and math.isfinite(limit) else 1.0


def paint_signed(values: Tensor, limit: float, bend: float | None = None) -> Pixels:
    r"""Colour signed values, ``[..., height, width]`` to ``[..., height, width, 3]``; ``±limit`` are the ends.

    Values that are not finite are dark grey.

    Args:
        values: any shape.
        limit: the magnitude at the ends of the scale.
        bend: if given, the place of a value :math:`v` on the scale is
            :math:`\operatorname{asinh}(v / \text{bend}) / \operatorname{asinh}(\text{limit} / \text{bend})`: even below
            ``bend``, logarithmic above, so that values of many orders of magnitude are seen on one scale.
    """
    if bend is not None:
        values = torch.asinh(values.detach().cpu().double() / bend) * (limit / math.asinh(limit / bend))
    return _paint(values, diverging(), -limit, limit)


def paint_magnitude(values: Tensor, limit: float) -> Pixels:
    """Colour magnitudes, ``[..., height, width]`` to ``[..., height, width, 3]``, from 0 to ``limit``."""
    return _paint(values, sequential(), 0.0, limit)


def _paint(values: Tensor, colors: ListedColormap, low: float, high: float) -> Pixels:
    table: Pixels = np.rint(np.asarray(colors.colors) * 255).astype(np.uint8)
    array = values.detach().float().cpu().numpy()
    finite = np.isfinite(array)
    share = (np.where(finite, array, low) - low) / (high - low)
    pixels: Pixels = table[np.rint(share.clip(0, 1) * (len(table) - 1)).astype(np.int64)]
    pixels[~finite] = 90
    return pixels


def _between(end: tuple[float, float, float], share: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points of the straight line in Oklab from neutral (share 0) to the end (share 1)."""
    start = _oklab(*_NEUTRAL)
    line: NDArray[np.float64] = start + (_oklab(*end) - start) * share
    return line


def _oklab(lightness: float, chroma: float, hue: float) -> NDArray[np.float64]:
    angle = math.radians(hue)
    return np.array([lightness, chroma * math.cos(angle), chroma * math.sin(angle)])


def _to_srgb(oklab: NDArray[np.float64]) -> NDArray[np.float64]:
    linear = ((oklab @ _OKLAB_TO_LMS.T) ** 3) @ _LMS_TO_LINEAR_RGB.T
    linear = linear.clip(0, 1)
    encoded: NDArray[np.float64] = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return encoded.clip(0, 1)
