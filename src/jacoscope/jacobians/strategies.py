"""Ways to compute the Jacobian of some samples. All give the same numbers; they differ in time and in what they ask.

Each takes a function from `[batch, *input_shape]` to `[batch, outputs]`, the samples, and how many outputs (or inputs)
to differentiate at a time. It returns the Jacobian, `[batch, outputs, *input_shape]`, and the outputs.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from .convolution import gradients_of_inputs_only
from .fast_layers import fast_layers

Function = Callable[[Tensor], Tensor]
"""From `[batch, *input_shape]` to `[batch, outputs]`."""
Result = tuple[Tensor, Tensor]
"""The Jacobian and the outputs."""


def vmap_jacrev(function: Function, x: Tensor, rows: int, outputs: int) -> Result:
    """`torch.func.jacrev` of one sample, under `torch.func.vmap` over the batch: the definition."""

    def of_one_sample(sample: Tensor) -> Result:
        with fast_layers(cotangents=len(x) * min(rows, outputs)):
            values = function(sample.clone().unsqueeze(0)).squeeze(0)
        return values, values

    jacrev = torch.func.jacrev(of_one_sample, has_aux=True, chunk_size=None if rows >= outputs else rows)
    with gradients_of_inputs_only():
        result: Result = torch.func.vmap(jacrev, randomness="different")(x)
    return result


def vmap_vjp(function: Function, x: Tensor, rows: int, outputs: int) -> Result:
    """One forward pass of the batch, pulled back for all outputs at once by `torch.func.vmap`.

    Samples do not depend on each other, so the cotangent that is one at output k of every sample pulls back to row k
    of every sample's Jacobian. That is what `torch.func.jacrev` does of the sum over the batch.
    """
    return pulled_back(*forward(function, x, cotangents=len(x) * min(rows, outputs)), rows)


def vmap_jacfwd(function: Function, x: Tensor, rows: int, outputs: int) -> Result:
    """`torch.func.jvp` of one sample along every input feature, under `vmap`: a pass for each input, not each output.

    That is `torch.func.jacfwd`, but only as many inputs at a time as there may be outputs, for a tangent takes the
    memory of a cotangent.
    """

    def push(sample: Tensor, tangent: Tensor) -> tuple[Tensor, Tensor]:
        pushed: Any = torch.func.jvp(lambda x: function(x.clone().unsqueeze(0)).squeeze(0), (sample,), (tangent,))
        return pushed[0], pushed[1]

    along_each = torch.func.vmap(push, (None, 0), randomness="different")
    of_each = torch.func.vmap(along_each, (0, None), randomness="different")
    features = x[0].numel()
    columns = []
    for part in _slices(features, rows):
        basis = torch.nn.functional.one_hot(torch.arange(part.start, part.stop, device=x.device), features)
        values, tangents = of_each(x, basis.to(x.dtype).view(-1, *x.shape[1:]))
        columns.append(tangents)
    J = torch.cat(columns, 1).transpose(1, 2)
    return J.reshape(len(x), outputs, *x.shape[1:]), values[:, 0]


def backward(function: Function, x: Tensor, rows: int, outputs: int) -> Result:  # noqa: ARG001 - one at a time
    """One ordinary backward pass of the batch for each output: slow, and asks nothing of the model."""
    leaf, values = forward(function, x)
    pull_back = _pull_back(leaf, values)
    return torch.stack([pull_back(cotangent) for cotangent in _basis(values)], 1), values


def forward(function: Function, x: Tensor, cotangents: int = 0) -> tuple[Tensor, Tensor]:
    """Return a leaf that requires gradients, or `x` itself if it does, and the outputs from it.

    Args:
        function: to be differentiated.
        x: the samples.
        cotangents: how many will be pulled back at a time, for `fast_layers`.
    """
    leaf = x if x.requires_grad else x.detach().requires_grad_()
    with torch.enable_grad(), fast_layers(cotangents):
        return leaf, function(leaf.clone())  # a model may work in place on its input, but not on the caller's


def pulled_back(leaf: Tensor, values: Tensor, rows: int) -> Result:
    """Pull the outputs of a forward pass back, `rows` of them at a time.

    Returns:
        The Jacobian, `[batch, outputs, *input_shape]`, and the outputs.
    """
    basis = _basis(values)
    pull_back = torch.func.vmap(_pull_back(leaf, values))
    parts = [pull_back(basis[part]) for part in _slices(len(basis), rows)]
    J = parts[0] if len(parts) == 1 else torch.cat(parts)
    return J.transpose(0, 1), values


def _basis(values: Tensor) -> Tensor:
    """Return the cotangents that are one at one output of every sample, `[outputs, batch, outputs]`."""
    eye = torch.eye(values.shape[1], dtype=values.dtype, device=values.device)
    return eye.unsqueeze(1).expand(-1, *values.shape)


def _pull_back(leaf: Tensor, values: Tensor) -> Callable[[Tensor], Tensor]:
    create_graph = torch.is_grad_enabled()

    def pull_back(cotangent: Tensor) -> Tensor:
        with gradients_of_inputs_only():
            (gradient,) = torch.autograd.grad(
                values, leaf, cotangent, retain_graph=True, create_graph=create_graph, materialize_grads=True
            )
        return gradient

    return pull_back


def _slices(count: int, size: int) -> Iterator[slice]:
    return (slice(start, min(start + size, count)) for start in range(0, count, size))


STRATEGIES: dict[str, Callable[[Function, Tensor, int, int], Result]] = {
    "vmap-jacrev": vmap_jacrev,
    "vmap-vjp": vmap_vjp,
    "vmap-jacfwd": vmap_jacfwd,
    "backward": backward,
}
"""The strategies by name; `"auto"` chooses among them."""

DEFINITION = "vmap-jacrev"
"""The strategy that the callback and analyze.py prefer."""

SAMPLE_BY_SAMPLE = ("vmap-jacrev", "vmap-jacfwd")
"""Those that call the model with one sample: their outputs do not show whether samples depend on each other."""
