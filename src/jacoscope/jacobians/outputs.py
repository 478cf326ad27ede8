"""Which quantity is differentiated: logits, probabilities, log-probabilities, or a function of the user's."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .checks import check_outputs
from .errors import JacobianError
from .purity import Model
from .strategies import Function

Output = str | Callable[[Any], Tensor]
"""A name from `OUTPUTS`, or a callable from what the model returns to a tensor `[batch, outputs]`."""


OUTPUTS: dict[str, Callable[[Any], Any]] = {
    "logits": lambda z: z,
    "probs": lambda z: torch.softmax(_several(z), dim=1),
    "log_probs": lambda z: torch.log_softmax(_several(z), dim=1),
}


def _several(z: Tensor) -> Tensor:
    if z.shape[1] == 1:
        raise JacobianError(
            "The model has one output, and the softmax of one is always 1. For the probability of two classes from "
            "one logit, use output=torch.sigmoid."
        )
    return z


def output_function(output: Output) -> Callable[[Any], Any]:
    """The function from what the model returns to the tensor that is differentiated."""
    if callable(output):
        return output
    if output in OUTPUTS:
        return OUTPUTS[output]
    raise JacobianError(
        f"output={output!r} is not known. Use one of {', '.join(map(repr, OUTPUTS))}, or a callable "
        "from what the model returns to a tensor [batch, outputs]."
    )


def outputs_of(model: Model, output: Output) -> Function:
    """Return the function that is differentiated, from inputs to outputs `[batch, outputs]`, which it checks."""
    pick = output_function(output)

    def function(x: Tensor) -> Tensor:
        returned = model(x)
        if not callable(output) and not isinstance(returned, Tensor):
            raise JacobianError(
                f"The model returns a {type(returned).__name__}{_contents(returned)}, not a tensor. Pass "
                "output=… a callable that picks the tensor [batch, outputs] from it, e.g. output=lambda r: r[0]."
            )
        if isinstance(returned, Tensor) and not callable(output):
            check_outputs(returned, x)
        values = pick(returned)
        check_outputs(values, x)
        return values  # type: ignore[no-any-return]

    return function


def _contents(returned: Any) -> str:
    if isinstance(returned, dict):
        return f" with keys {', '.join(map(repr, returned))}"
    if isinstance(returned, tuple | list):
        return f" of {len(returned)}"
    return ""


def check_classes(classes: Tensor, outputs: int) -> None:
    """Refuse classes that are not among the outputs."""
    if classes.numel() and (int(classes.min()) < 0 or int(classes.max()) >= outputs):
        raise JacobianError(
            f"classes are from {int(classes.min())} to {int(classes.max())}, but the outputs are 0 to {outputs - 1}."
        )


def probs_jacobian_from_logits(J: Tensor, logits: Tensor) -> Tensor:
    r"""Jacobian of the probabilities from the Jacobian of the logits, without a second pass.

    With :math:`p = \mathrm{softmax}(z)`, the chain rule gives
    :math:`\partial p_k = p_k \, (\partial z_k - \sum_j p_j \, \partial z_j)`,
    that is :math:`J_p = (\mathrm{diag}(p) - p p^\top) J_z`.

    Args:
        J: Jacobian of the logits, `[batch, outputs, *input_shape]`.
        logits: the logits at the same inputs, `[batch, outputs]`, as `jacobian(..., return_outputs=True)`
            gives them.

    Returns:
        The Jacobian of `probs`, of the shape of `J`.

    Raises:
        JacobianError: the shapes do not belong together.

    >>> model = torch.nn.Linear(4, 3)
    >>> x = torch.rand(2, 4)
    >>> from jacoscope.jacobians import jacobian
    >>> J, logits = jacobian(model, x, return_outputs=True)
    >>> torch.allclose(probs_jacobian_from_logits(J, logits), jacobian(model, x, "probs"), atol=1e-6)
    True
    """
    centred, p = _centred(J, logits)
    weights = p.view(*p.shape, *[1] * (J.ndim - 2))
    return centred * weights if centred.requires_grad else centred.mul_(weights)


def log_probs_jacobian_from_logits(J: Tensor, logits: Tensor) -> Tensor:
    r"""Jacobian of the log-probabilities, :math:`\partial \ln p_k = \partial z_k - \sum_j p_j \, \partial z_j`.

    Arguments, result and errors are those of `probs_jacobian_from_logits`.
    """
    return _centred(J, logits)[0]


def _centred(J: Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
    """Return the rows J_k - Σ_j p_j J_j, of the shape of `J`, and p, `[batch, outputs]`.

    The row of the most probable class is subtracted from all rows first. Its own result is then a sum of small terms;
    as a difference of two almost equal rows it would keep no digits where the network is confident.
    """
    if J.ndim < 3 or logits.shape != J.shape[:2]:
        raise JacobianError(
            f"J has shape {list(J.shape)} and logits {list(logits.shape)}; expected "
            "[batch, outputs, *input_shape] and [batch, outputs] of the same samples."
        )
    logits = logits.to(J.dtype)
    p = torch.softmax(logits, dim=1)
    likeliest = logits.argmax(1)
    apart = J - J[torch.arange(len(J), device=J.device), likeliest].unsqueeze(1)
    mean = (p.unsqueeze(1) @ apart.flatten(2)).view(J.shape[0], 1, *J.shape[2:])
    return (apart - mean if apart.requires_grad or mean.requires_grad else apart.sub_(mean)), p
