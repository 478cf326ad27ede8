"""What an analysis asks of a network: logits, one for each of two classes or more."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from jacoscope.errors import UserError


def check_logits(network: nn.Module, images: dict[str, Any], path: Path) -> None:
    """See, with a black image, that a network gives what can be analysed.

    Args:
        network: in evaluation mode, on the CPU.
        images: ``shape`` and ``classes``, as the config says.
        path: of the checkpoint, for the messages.

    Raises:
        UserError: if it does not take such images, or gives anything but their logits.
    """
    shape, classes = list(images["shape"]), images["classes"]
    try:
        with torch.no_grad():
            given = network(torch.zeros(1, *shape))
    except Exception as error:  # whatever a network of the user's own raises
        raise UserError(
            f"{path}: this network does not take images of images.shape={shape}: {error}\n"
            "Name the network that it was trained with, model=…, or its images, images.shape=[C,H,W]"
        ) from error
    if not isinstance(given, Tensor) or given.shape != (1, classes):
        what = f"a tensor {list(given.shape)}" if isinstance(given, Tensor) else f"a {type(given).__name__}"
        raise UserError(
            f"{path}: of one image this network gives {what}; an analysis needs its logits and nothing else, "
            f"[1, {classes}] for images.classes={classes}. Name a network that gives them, model=…"
        )
    if classes < 2:
        raise UserError(
            f"{path}: this network has one output, and an analysis needs two classes or more: margins and boundaries "
            "are between two. Analyse a network that has a logit for either class"
        )
