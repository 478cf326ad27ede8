"""Maps and digits as pictures inside the page."""

import base64
import io

import torch
from PIL import Image
from torch import Tensor

from jacoscope.visuals import Pixels, Scale, diverging, heatmap


def data_uri(pixels: Pixels) -> str:
    """Give ``[height, width, 3]`` bytes as a PNG inside a URI."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).quantize(256).save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def picture(pixels: Pixels, alt: str) -> str:
    """Give an ``<img>`` that the page enlarges without blurring its pixels."""
    height, width, _ = pixels.shape
    return f'<img class="px" src="{data_uri(pixels)}" width="{width}" height="{height}" alt="{alt}">'


def digit(image: Tensor, alt: str) -> str:
    """Draw an image ``[C, H, W]``, pixels in [0, 1]."""
    levels = image.clamp(0, 1).mul(255).round().byte()
    if levels.shape[0] not in (1, 3):
        levels = levels.float().mean(0, keepdim=True).byte()
    return picture(levels.expand(3, -1, -1).permute(1, 2, 0).contiguous().numpy(), alt)


def signed_map(values: Tensor, limit: float, alt: str) -> str:
    """Draw derivatives ``[C, H, W]``, summed over the channels: that of the pixel's brightness."""
    return picture(heatmap(values.sum(0), Scale.signed(values, limit=limit)), alt)


def magnitude_map(values: Tensor, limit: float, alt: str) -> str:
    """Draw magnitudes ``[C, H, W]``, as their L2 norm over the channels."""
    return picture(heatmap(torch.linalg.vector_norm(values, dim=0), Scale.magnitude(values, limit=limit)), alt)


def scale_bar(limit: float, unit: str) -> str:
    """Draw the signed scale, with its ends."""
    ramp = torch.linspace(-limit, limit, 128).unsqueeze(0)
    bar = picture(heatmap(ramp, Scale.signed(ramp, limit=limit)), "colour scale")
    return f'<div class="scale"><span>−{limit:.3g}</span>{bar}<span>+{limit:.3g}</span><span>{unit}</span></div>'


def color_table() -> list[list[int]]:
    """Give the colours of the signed scale from one end to the other, 0 to 255."""
    steps = [i / 254 for i in range(255)]
    return [[round(255 * float(channel)) for channel in diverging()(step)[:3]] for step in steps]
