r"""Compare a Jacobian with finite differences, in float64."""

from copy import deepcopy
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .engine import jacobian as _jacobian
from .errors import JacobianError
from .outputs import Output, outputs_of
from .purity import Model, pure, unwrapped

_KINK = 1e-4
"""A second difference this large beside the first is a kink; a smooth function's is of the order of the step."""


class CheckReport(NamedTuple):
    """How far a Jacobian is from finite differences."""

    max_error: float
    """The largest error of a directional derivative, relative to the largest derivative of that kind; NaN if all
    directions were skipped."""
    compared: int
    """Directions compared, over all samples."""
    skipped: int
    """Directions that cross a kink within the step or have no finite difference, and so say nothing."""


def check(
    model: Model,
    x: Tensor,
    output: Output = "logits",
    *,
    jacobian: Tensor | None = None,
    directions: int = 8,
    step: float = 1e-6,
    generator: torch.Generator | None = None,
) -> CheckReport:
    r"""Compare a Jacobian with central differences in float64, along random directions.

    For random unit directions :math:`v`, compares :math:`J v` with
    :math:`(f(x + h v) - f(x - h v)) / 2h`, on a copy of the model in float64. A direction is skipped, and counted,
    where the forward and the backward difference disagree: there is a kink in between (ReLU, max pooling).

    Args:
        model: as for `jacobian`.
        x: `[batch, *input_shape]`.
        output: as for `jacobian`.
        jacobian: the result to check, `[batch, outputs, *input_shape]`; by default that of the copy in float64.
        directions: how many for each sample.
        step: h, in units of the input.
        generator: where the directions come from; the global generator is left alone either way.

    Returns:
        `CheckReport(max_error, compared, skipped)`.

    Raises:
        JacobianError: `jacobian` has the wrong shape, there is no direction, or the model cannot be copied.

    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Tanh())
    >>> check(model, torch.rand(2, 4)).max_error < 1e-7
    True
    """
    if directions < 1:
        raise JacobianError(f"directions={directions!r}; expected a positive number.")
    precise = _in_float64(unwrapped(model))
    x = x.detach().double()
    generator = generator or torch.Generator(x.device).manual_seed(0)
    J = _jacobian(precise, x, output) if jacobian is None else jacobian.detach().double()
    with pure(precise, x.device, freeze=True) as called, torch.no_grad():
        function = outputs_of(called, output)
        middle = function(x.clone())
        if J.shape != (*middle.shape, *x.shape[1:]):
            expected = [*middle.shape, *x.shape[1:]]
            raise JacobianError(f"jacobian has shape {list(J.shape)}; for this model and x it is {expected}.")
        errors, scales = [], []
        skipped = 0
        for _ in range(directions):
            v = torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
            v = v / torch.linalg.vector_norm(v.flatten(1), dim=1).view(-1, *[1] * (x.ndim - 1))
            ahead, behind = function(x + step * v) - middle, middle - function(x - step * v)
            numeric = (ahead + behind) / (2 * step)
            exact = (J.flatten(2) @ v.flatten(1).unsqueeze(2)).squeeze(2)
            size = torch.maximum(numeric.abs().amax(1), exact.abs().amax(1))
            kink = (ahead - behind).abs().amax(1) > _KINK * step * size + 1e-13 * middle.abs().amax(1)
            kink |= ~numeric.isfinite().all(1)
            skipped += int(kink.sum())
            errors.append((numeric - exact).abs().amax(1)[~kink])
            scales.append(size[~kink])
    error, scale = torch.cat(errors), torch.cat(scales)
    if not len(error):
        return CheckReport(float("nan"), 0, skipped)
    largest = scale.max().item()
    return CheckReport(error.max().item() / largest if largest else error.max().item(), len(error), skipped)


def _in_float64(model: Model) -> Model:
    if not isinstance(model, nn.Module):
        return model
    try:
        return deepcopy(model).double()
    except RuntimeError as error:  # it holds tensors of a forward pass
        raise JacobianError(f"The model cannot be copied for a check in float64: {error}") from error
