"""One way to draw a heatmap: values in, coloured pixels out, on a scale that says what each colour means."""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from matplotlib.colors import Colormap
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from jacoscope.measures import DERIVATIVE
from jacoscope.visuals.colors import NOT_FINITE, Pixels, diverging, sequential
from jacoscope.visuals.numbers import number_text

SMALLEST = 1e-8
"""Of the largest derivative: what is smaller is not told from zero."""
EVEN = 0.05
"""Of the largest derivative: if the weakest map reaches this, an even scale shows all."""


@dataclass(frozen=True)
class Scale:
    r"""What the colours of a heatmap mean.

    Attributes:
        colors: the colour map; any of matplotlib's.
        low: value at its lower end; smaller values have the same colour.
        high: value at its upper end; larger values have the same colour.
        units: of the values, for the colour bar.
        bend: if given, the place of a value :math:`v` on the scale is
            :math:`\operatorname{asinh}(v / \text{bend}) / \operatorname{asinh}(\text{high} / \text{bend})`: even below
            ``bend``, logarithmic above, so that values of many orders of magnitude are seen on one scale.
    """

    colors: Colormap
    low: float
    high: float
    units: str = ""
    bend: float | None = None

    @classmethod
    def signed(
        cls,
        values: Tensor,
        units: str = "",
        *,
        limit: float | None = None,
        quantile: float = 0.998,
        bend: float | None = None,
        colors: Colormap | None = None,
    ) -> "Scale":
        """Return a symmetric scale for signed values, with zero in the middle.

        Args:
            values: all that is drawn on the scale.
            units: of the values.
            limit: the magnitude at both ends; by default :func:`symmetric_limit` of the values.
            quantile: share of the magnitudes within the scale, where no limit is given.
            bend: see :class:`Scale`.
            colors: the colour map.

        >>> scale = Scale.signed(torch.tensor([-4.0, 1.0, 2.0]), quantile=1.0)
        >>> scale.low, scale.high
        (-4.0, 4.0)
        """
        limit = symmetric_limit(values, quantile) if limit is None else limit
        return cls(colors or diverging(), -limit, limit, units, bend)

    @classmethod
    def of_derivatives(cls, maps: Tensor, output: str) -> "Scale":
        """Return one symmetric scale for the derivatives of several samples and classes.

        The derivatives of probabilities shrink with confidence, by orders of magnitude from one sample to the next: on
        an even scale the least certain sample would fade all others to nothing. Theirs is logarithmic if a row or a
        column of maps would be empty, from a tenth of the largest derivative of the weakest of them; ``units`` says so.

        Args:
            maps: ``[samples, classes, height, width]``, or ``[classes, height, width]`` of one sample.
            output: what was differentiated.

        >>> maps = torch.tensor([1.0, 0.001]).view(2, 1, 1).expand(2, 3, 3)
        >>> Scale.of_derivatives(maps, "probs").units, Scale.of_derivatives(maps, "logits").units
        ('∂ probability / ∂ pixel (log scale)', '∂ logit / ∂ pixel')
        """
        units = DERIVATIVE.get(output, f"∂ {output} / ∂ pixel")
        if output == "probs":
            limit = symmetric_limit(maps, 1.0)
            peaks = maps.detach().abs().nan_to_num(0.0).flatten(-2).amax(-1)
            for_all = peaks if peaks.ndim == 1 else torch.cat([peaks.amax(0), peaks.amax(1)])
            weakest = max(float(for_all.min()), SMALLEST * limit)
            if weakest < EVEN * limit:
                return cls.signed(maps, f"{units} (log scale)", limit=limit, bend=weakest / 10)
        return cls.signed(maps, units)

    @classmethod
    def magnitude(
        cls,
        values: Tensor,
        units: str = "",
        *,
        limit: float | None = None,
        quantile: float = 0.998,
        colors: Colormap | None = None,
    ) -> "Scale":
        """Return a scale for magnitudes, from 0 upwards; the arguments are those of :meth:`signed`."""
        limit = symmetric_limit(values, quantile) if limit is None else limit
        return cls(colors or sequential(), 0.0, limit, units)

    @cached_property
    def table(self) -> Pixels:
        """The colours from the lower end to the upper one, ``[levels, 3]``."""
        table: Pixels = np.rint(self.colors(np.arange(self.colors.N))[:, :3] * 255).astype(np.uint8)
        return table

    def ticks(self) -> list[str]:
        """Return the texts at even distances along a colour bar, from its upper end downwards.

        >>> Scale(diverging(), -2.0, 2.0).ticks()
        ['≥ 2', '0', '≤ −2']
        """
        if self.bend is not None:
            return [number(value) for value in self.bent_ticks()]
        lowest = f"≤ {number(self.low)}" if self.low else "0"
        return [f"≥ {number(self.high)}", number((self.low + self.high) / 2), lowest]

    def bent_ticks(self) -> list[float]:
        """Return the values at the ends, halfway to them and in the middle, from above, of a scale with a bend."""
        assert self.bend is not None
        halfway = self.bend * math.sinh(math.asinh(self.high / self.bend) / 2)
        return [self.high, halfway, 0.0, -halfway, self.low]


def heatmap(values: Tensor, scale: Scale) -> Pixels:
    """Colour values, ``[..., height, width]`` to ``[..., height, width, 3]``; what is not finite is dark grey.

    Every heatmap of this package is drawn by this function. :func:`jacoscope.visuals.sheet.compose_sheet` sets several
    side by side, with labels and the colour bar of their scale.

    Args:
        values: any number of maps. Reduce the channels of colour images first, by :func:`brightness_derivative` or
            :func:`channel_magnitude`, and large images by :func:`shrink`.
        scale: what the colours mean; :meth:`Scale.signed` and :meth:`Scale.magnitude` make one that fits the values.

    >>> J = torch.tensor([[1.0, 0.0], [-1.0, torch.nan]])
    >>> heatmap(J, Scale.signed(J))[0, 1].tolist(), heatmap(J, Scale.signed(J))[1, 1].tolist()
    ([245, 245, 245], [90, 90, 90])
    """
    array = values.detach().cpu()  # not every device has float64
    low, high = scale.low, scale.high
    if scale.bend is not None:
        array = torch.asinh(array.double() / scale.bend)
        low, high = math.asinh(low / scale.bend), math.asinh(high / scale.bend)
    table = np.vstack([scale.table, np.full((1, 3), NOT_FINITE, np.uint8)])
    last = len(table) - 2
    places = ((array.float() - low) * (last / (high - low))).round_().clamp_(0, last)
    pixels: Pixels = table[places.where(array.isfinite(), last + 1.0).to(torch.int16).numpy()]
    return pixels


def symmetric_limit(values: Tensor, quantile: float = 0.998) -> float:
    """Return the value at which the two ends of a symmetric scale are set.

    The given quantile of the magnitudes, so that one hot pixel does not fade all the others; what lies beyond it
    is drawn in the colour of the end. Zero or non-finite everywhere gives 1, as a scale needs some length.

    Args:
        values: any shape.
        quantile: share of the magnitudes within the scale.

    >>> symmetric_limit(torch.tensor([-4.0, 1.0, 2.0]), quantile=1.0)
    4.0
    """
    magnitudes = values.detach().cpu().abs().flatten().double().numpy()  # not every device has float64
    magnitudes = magnitudes[np.isfinite(magnitudes)]
    limit = float(np.quantile(magnitudes, quantile)) if magnitudes.size else 0.0
    if limit == 0.0 and magnitudes.size:
        limit = float(magnitudes.max())
    return limit if limit > 0 and math.isfinite(limit) else 1.0


def shrink(pictures: Tensor, size: int) -> Tensor:
    """Average over blocks of pixels, where a side of ``[..., height, width]`` is longer than ``size``.

    >>> shrink(torch.rand(2, 3, 336, 168), 84).shape, shrink(torch.rand(28, 28), 84).shape
    (torch.Size([2, 3, 84, 42]), torch.Size([28, 28]))
    """
    height, width = pictures.shape[-2:]
    scale = size / max(height, width)
    if scale >= 1:
        return pictures
    small = max(1, round(height * scale)), max(1, round(width * scale))
    averaged = adaptive_avg_pool2d(pictures.detach().float().reshape(-1, height, width), small)
    return averaged.reshape(*pictures.shape[:-2], *small)


def brightness_derivative(J: Tensor) -> Tensor:
    """Sum over the channels, ``[..., channels, height, width]`` to ``[..., height, width]``.

    The derivative when all channels of a pixel grow together.
    """
    return J.detach().float().sum(-3)


def channel_magnitude(maps: Tensor) -> Tensor:
    """L2 norm over the channels, ``[..., channels, height, width]`` to ``[..., height, width]``."""
    length: Tensor = torch.linalg.vector_norm(maps.detach().float(), dim=-3)
    return length


def to_unit_range(images: Tensor) -> Tensor:
    """Leave images with pixels in [0, 1] as they are; stretch any other from its own darkest value to its brightest.

    Standardised images would else be drawn as their brightest parts on black. All channels of an image are stretched
    together; values that are not finite become 0.

    Args:
        images: ``[samples, channels, height, width]``.

    >>> to_unit_range(torch.tensor([[[[0.2, 0.4]]], [[[-2.0, 2.0]]]])).flatten(1).tolist()
    [[0.20000000298023224, 0.4000000059604645], [0.0, 1.0]]
    """
    images = images.detach().float()
    images = images.where(images.isfinite(), 0.0)
    low, high = images.amin((1, 2, 3), keepdim=True), images.amax((1, 2, 3), keepdim=True)
    stretched = (images - low) / (high - low).clamp_min(torch.finfo(images.dtype).tiny)
    return stretched.where((low < 0) | (high > 1), images)


def paint_images(images: Tensor) -> Pixels:
    """Turn images, ``[samples, channels, height, width]``, into pictures ``[samples, height, width, 3]``.

    One channel is grey, three are red, green and blue; of any other number the mean is drawn.
    """
    shown = to_unit_range(images)
    if shown.shape[1] not in (1, 3):
        shown = shown.mean(1, keepdim=True)
    bytes_ = shown.mul(255).round().byte().cpu()
    return bytes_.expand(-1, 3, -1, -1).permute(0, 2, 3, 1).contiguous().numpy()


def strongest_outputs(maps: Tensor, limit: int) -> list[int]:
    """Return the outputs with the largest maps ``[samples, outputs, height, width]``, in their own order."""
    strength = maps.nan_to_num(0.0).abs().sum((0, 2, 3))
    return sorted(strength.topk(min(limit, len(strength))).indices.tolist())


def number(value: float) -> str:
    """Write a number of a scale with two digits.

    >>> number(-0.00012), number(0.69)
    ('−0.00012', '0.69')
    """
    return number_text(value, ".2g")


def percent(probability: float) -> str:
    """Write a probability, with more digits near the ends, where they matter.

    >>> percent(0.9996), percent(0.42), percent(0.997), percent(1e-5)
    ('>99.9 %', '42 %', '99.7 %', '<0.1 %')
    """
    if 0.999 <= probability < 1:
        return ">99.9 %"
    if 0 < probability < 0.001:
        return "<0.1 %"
    digits = 0 if 0.01 <= probability < 0.99 or probability in (0, 1) else 1
    return f"{100 * probability:.{digits}f} %"
