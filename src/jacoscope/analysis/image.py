"""The question about pictures of the user's own: from files of any size and mode to what a network takes."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from rich.console import Console
from rich.markup import escape
from torch import Tensor

from jacoscope.analysis.folder import short_digest
from jacoscope.analysis.network import NetworkSpec, TrainedNetwork
from jacoscope.analysis.question import Question, find_pictures
from jacoscope.analysis.sample import own_folders, read, save, show
from jacoscope.analysis.streaming import Devices
from jacoscope.analysis.terminal import show_files
from jacoscope.data.pictures import opened, plain
from jacoscope.errors import UserError

DARK_ON_LIGHT = 0.6
"""Brightness of the rim above which a picture counts as ink on paper."""


def answer(question: Question, specs: Sequence[NetworkSpec], devices: Devices, console: Console) -> None:  # noqa: ARG001
    """Answer the question about pictures of the user's own, one by one, as for samples of a split.

    Raises:
        UserError: if one of them cannot be read, then none is; or one has no finite Jacobian.
    """
    assert question.image is not None
    (spec,) = specs
    pictures = {path: read_picture(path, spec.shape, question.invert) for path in find_pictures(question.image)}
    network = TrainedNetwork.load(spec)
    mean = spec.config["images"]["mean"]
    inverted = "_inverted" if question.invert else ""
    names = [f"image_{picture_name(path)}{inverted}_{question.output_name}" for path in pictures]
    for (path, pixels), (folder, asked) in zip(pictures.items(), own_folders(question, spec, names), strict=True):
        reading = read(network, path.name, pixels, None, question, asked)
        files = save(reading, network.class_names, folder)
        console.print(f"\nwhat the network saw of {escape(str(path))} ({pixels.shape[2]}×{pixels.shape[1]}):")
        console.print(in_blocks(pixels), highlight=False)
        if looks_inverted(pixels, sum(mean) / len(mean)):
            hint = "It looks like dark ink on light paper; the network learnt light on dark: type invert=true"
            console.print(hint, highlight=False, soft_wrap=True)
        show(console, reading, network.class_names)
        show_files(console, files)


def picture_name(path: Path) -> str:
    """Return the name of a picture in that of its folder: its file's, and a digest of the whole name and the content.

    Pictures of one name in two folders, or of two types, have different digests.
    """
    content = hashlib.sha256(path.read_bytes()).hexdigest()
    return f"{path.stem}_{short_digest([path.name, content])}"


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
