"""The decision boundary to first order: its distance, the class behind it, and the direction to it."""

from typing import NamedTuple

import torch
from torch import Tensor

from .errors import JacobianError
from .norms import as_rows
from .outputs import check_classes


class BoundaryDistance(NamedTuple):
    """First-order distance of every sample to the decision boundary."""

    distance: Tensor
    """`[batch]`; in units of the input, L2. Negative where `classes` was given and another class scores
    higher."""
    nearest: Tensor
    """`[batch]`, int64: the class behind the nearest boundary."""
    direction: Tensor
    """`[batch, *input_shape]`, of unit L2 length: `x + distance * direction` lies on the boundary of the
    linearised model."""


def boundary_distance(J: Tensor, logits: Tensor, classes: Tensor | None = None) -> BoundaryDistance:
    r"""First-order distance to the decision boundary, the nearest class, and the direction that attains it.

    .. math:: d = \min_{j \ne y} \frac{z_y - z_j}{\| \nabla_x (z_y - z_j) \|_2}

    The linearised model changes its decision for class :math:`y` after a step of this L2 length along
    :math:`-\nabla_x (z_y - z_j)`, and for no shorter step. One step of DeepFool (Moosavi-Dezfooli et al.,
    2016).
    The differences of log-probabilities are those of logits, so both give the same answer; probabilities do
    not.

    Args:
        J: Jacobian of the logits, `[batch, outputs, *input_shape]`.
        logits: the logits at the same inputs, `[batch, outputs]`.
        classes: class :math:`y` of every sample, `[batch]`; by default the predicted one, so that the
            distance is never negative.

    Returns:
        `BoundaryDistance(distance, nearest, direction)`. Where no input feature moves any margin the
        distance is infinite and the direction zero.

    Raises:
        JacobianError: fewer than two outputs, shapes that do not belong together, or classes beyond the outputs.

    >>> J = torch.tensor([[[1.0, 0.0], [-1.0, 0.0]]])
    >>> distance, nearest, direction = boundary_distance(J, torch.tensor([[3.0, 1.0]]))
    >>> distance, nearest
    (tensor([1.]), tensor([1]))
    """
    A = as_rows(J)
    if A.shape[1] < 2 or logits.shape != A.shape[:2]:
        raise JacobianError(
            f"J has shape {list(J.shape)} and logits {list(logits.shape)}; expected "
            "[batch, outputs, *input_shape] and [batch, outputs] of the same samples, with two outputs or more."
        )
    y = logits.argmax(1) if classes is None else classes.to(logits.device, torch.int64)
    if y.shape != logits.shape[:1]:
        raise JacobianError(f"classes has shape {list(y.shape)}; expected one class a sample, [{logits.shape[0]}].")
    check_classes(y, logits.shape[1])
    column = y.unsqueeze(1)
    margins = logits.gather(1, column) - logits
    chosen = A.gather(1, column.unsqueeze(2).expand(-1, 1, A.shape[2]))
    slopes = torch.linalg.vector_norm(chosen - A, dim=2)
    # A margin that no input moves is never crossed; on the boundary itself (0 / 0) the distance is 0 only if
    # it can be crossed.
    distances = (margins / slopes).where(slopes > 0, torch.full_like(slopes, torch.inf))
    distances = distances.scatter(1, column, torch.inf)
    distance, nearest = distances.min(1)
    # Where every distance is infinite, min() may name the sample's own class; name the runner-up instead.
    runner_up = logits.scatter(1, column, -torch.inf).argmax(1)
    nearest = runner_up.where(distance.isinf(), nearest)
    behind = A.gather(1, nearest.view(-1, 1, 1).expand(-1, 1, A.shape[2]))
    downhill = (behind - chosen).squeeze(1)
    length = torch.linalg.vector_norm(downhill, dim=1, keepdim=True)
    direction = downhill / length.where(length > 0, torch.ones_like(length))
    return BoundaryDistance(distance, nearest, direction.view(J.shape[0], *J.shape[2:]))
