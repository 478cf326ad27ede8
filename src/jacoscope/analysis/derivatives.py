"""The Jacobians of what is analysed."""

from collections.abc import Iterator

import torch
from torch import Tensor

from jacoscope.analysis.subject import Subject
from jacoscope.errors import UserError
from jacoscope.jacobians import (
    JacobianError,
    jacobian,
    log_probs_jacobian_from_logits,
    probs_jacobian_from_logits,
)


def jacobian_of(subject: Subject, x: Tensor) -> tuple[Tensor, Tensor]:
    """Give the Jacobians of the logits, ``[batch, classes, C, H, W]``, and the logits, both on the CPU.

    They are given as they come, NaN or infinite too.

    Args:
        subject: the network, on any device.
        x: images, ``[batch, C, H, W]``, pixels in [0, 1].

    Raises:
        UserError: if they do not exist.
    """
    try:
        images = x.to(subject.device)
        J, logits = jacobian(subject.network, images, "logits", return_outputs=True, check_finite=False)
    except JacobianError as error:
        raise UserError(f"{subject.origin.checkpoint.path}: {error}") from error
    return J.cpu(), logits.cpu()


def jacobians_one_by_one(subject: Subject, x: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Give what :func:`jacobian_of` gives of each image, as a batch of one: there is one at a time in memory."""
    for image in torch.split(x, 1):
        yield jacobian_of(subject, image)


def of_output(J: Tensor, logits: Tensor, output: str) -> Tensor:
    """Turn Jacobians of the logits into those of ``output``: ``logits``, ``probs`` or ``log_probs``."""
    if output == "probs":
        return probs_jacobian_from_logits(J, logits)
    return log_probs_jacobian_from_logits(J, logits) if output == "log_probs" else J
