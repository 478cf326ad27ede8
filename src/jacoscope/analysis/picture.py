"""Pictures of the user's own: from a file of any size and mode to what a network takes."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from jacoscope.data.pictures import opened, plain
from jacoscope.errors import UserError

DARK_ON_LIGHT = 0.6
"""Brightness of the rim above which a picture counts as ink on paper."""


def read_picture(path: Path, shape: tuple[int, int, int], invert: bool) -> Tensor:
    """Read a picture as pixels in [0, 1], ``[C, H, W]``.

    It may be stored in any mode that :func:`jacoscope.data.pictures.plain` reads. It is padded to the network's
    proportions with the brightness of its rim, so that nothing is cut off, then resampled.

    Args:
        path: the file.
        shape: ``(C, H, W)`` that the network takes; C is 1 (grey) or 3 (colour).
        invert: swap dark and light.

    Raises:
        UserError: if it is not a picture, is damaged, or is too large.
    """
    channels, height, width = shape
    if channels not in (1, 3):
        raise UserError(f"image={path}: a picture has 1 channel or 3, this network takes {channels}")
    with opened(path) as picture:
        drawing = plain(picture, channels)
    fitted = ImageOps.pad(drawing, (width, height), Image.Resampling.LANCZOS, color=_rim_colour(drawing))
    pixels = torch.from_numpy(np.array(fitted, dtype=np.float32) / 255)
    pixels = pixels.unsqueeze(0) if channels == 1 else pixels.permute(2, 0, 1).contiguous()
    return 1 - pixels if invert else pixels


def looks_inverted(pixels: Tensor, training_mean: float) -> bool:
    """Return whether a picture seems to be dark on light although the network learnt light on dark."""
    return _rim(pixels.mean(0)) > DARK_ON_LIGHT and training_mean < 0.5


def in_blocks(pixels: Tensor) -> str:
    """Draw a picture with text, two rows of pixels a line, for a terminal; light is light."""
    grey = pixels.mean(0)
    levels = " ░▒▓█"
    rows = (grey[0::2] + torch.nn.functional.pad(grey[1::2], (0, 0, 0, grey.shape[0] % 2))) / 2
    steps = (rows.clamp(0, 1) * (len(levels) - 1)).round().int().tolist()
    return "\n".join("".join(levels[step] for step in row) for row in steps)


def _rim_colour(picture: Image.Image) -> int | tuple[int, ...]:
    values = torch.from_numpy(np.array(picture))
    if values.ndim == 2:
        return round(_rim(values.float()))
    return tuple(round(_rim(values[..., channel].float())) for channel in range(values.shape[2]))


def _rim(values: Tensor) -> float:
    """The median along the four sides."""
    return float(torch.cat([values[0], values[-1], values[:, 0], values[:, -1]]).median())
