"""What the scripts of a page read: the explorer of samples in one network or several, and the pictures of classes."""

import io
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor

from jacoscope.measures import shown_in
from jacoscope.visuals.colors import WORDS, Pixels, diverging
from jacoscope.visuals.heatmaps import Scale, heatmap, paint_images
from jacoscope.visuals.sheet import png_uri

BESIDE = "report_samples.js"
"""The file beside a page with pictures of all its samples, and derivative maps of those that are not in the page."""


class Network(NamedTuple):
    """A network whose maps the explorer shows."""

    command: str
    """Analyses one sample, with its number added; empty where the page is about one sample."""
    title: str = ""
    """Above its maps."""
    suffix: str = ""
    """Of the keys of its columns in the table of samples."""


def explorer_settings(
    entries: Sequence[Mapping[str, Any]],
    shape: tuple[int, ...],
    class_names: Sequence[str],
    unit: str,
    networks: Sequence[Network],
) -> dict[str, Any]:
    """Return what ``explorer.js`` reads.

    Args:
        entries: the samples whose maps are in the page, as :func:`for_explorer` returns them.
        shape: of an image, ``(C, H, W)``.
        class_names: one for each class.
        unit: what is differentiated, in words.
        networks: as many as each entry has maps of.
    """
    channels, height, width = shape
    return {
        "samples": list(entries),
        "networks": [network._asdict() for network in networks],
        "shape": [3 if channels == 3 else 1, height, width],
        "names": list(class_names),
        "output": unit,
        "measures": [{"key": measure.name, "title": measure.label} for measure in shown_in("samples")],
        "scale": Scale(diverging(), -1.0, 1.0).table.tolist(),
        "colors": WORDS,
        "beside": BESIDE if networks[0].command else "",
    }


def class_gallery(
    images: Tensor, own: Mapping[str, Tensor], classes: Sequence[int], class_names: Sequence[str]
) -> dict[str, Any]:
    """Return pictures for each class: its mean image, then maps, all on one scale.

    Args:
        images: mean images of all classes, ``[classes, C, H, W]``.
        own: maps of all classes by what they show, ``[classes, H, W]`` each.
        classes: that are shown.
        class_names: one for each class.
    """
    chosen = torch.stack([maps[classes] for maps in own.values()])
    scale = Scale.signed(chosen)
    painted = [paint_images(images[classes]), *(heatmap(maps, scale) for maps in chosen)]
    alts = ["mean image of", *(f"{name}," for name in own)]
    return {
        "classes": [
            {
                "name": class_names[k],
                "pictures": [
                    picture(each[row]) | {"alt": f"{alt} class {class_names[k]}"}
                    for alt, each in zip(alts, painted, strict=True)
                ],
            }
            for row, k in enumerate(classes)
        ],
        "columns": len(painted),
        "limit": scale.high,
        "scale": picture(scale.table[None]),
    }


def picture(pixels: Pixels) -> dict[str, Any]:
    """Return pixels, ``[height, width, 3]``, as what the template's ``picture`` shows: a PNG inside a URI."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).quantize(256).save(buffer, "PNG", optimize=True)
    height, width, _ = pixels.shape
    return {"uri": png_uri(buffer.getvalue()), "width": width, "height": height}
