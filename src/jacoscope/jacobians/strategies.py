"""Ways to compute the Jacobian of some samples. All give the same numbers; they differ in time and in what they ask.

Each takes a function from `[batch, *input_shape]` to `[batch, outputs]`, the samples, how many directions to
differentiate along at a time, and the number of outputs. It returns the Jacobian, `[batch, outputs, *input_shape]`, and
the outputs; both have a graph where gradients are enabled (`torch.is_grad_enabled()`), as with `create_graph=True`.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .convolution import gradients_of_inputs_only
from .fast_layers import fast_layers

Function = Callable[[Tensor], Tensor]
"""From `[batch, *input_shape]` to `[batch, outputs]`."""
Result = tuple[Tensor, Tensor]
"""The Jacobian and the outputs."""


def vmap_jacrev(function: Function, x: Tensor, directions: int, outputs: int) -> Result:
    """`torch.func.jacrev` of one sample, under `torch.func.vmap` over the batch: the definition."""

    def of_one_sample(sample: Tensor) -> Result:
        with fast_layers(cotangents=len(x) * min(directions, outputs)):
            values = function(sample.clone().unsqueeze(0)).squeeze(0)
        return values, values

    jacrev = torch.func.jacrev(of_one_sample, has_aux=True, chunk_size=_chunk_size(directions, outputs))
    result: Result = torch.func.vmap(jacrev, randomness="different")(x)
    return result


def vmap_vjp(function: Function, x: Tensor, directions: int, outputs: int) -> Result:
    """One forward pass of the batch, whose graph is run backwards for several outputs at once by `torch.func.vmap`.

    Samples do not depend on each other. So one vector-Jacobian product with ones at output k of every sample gives row
    k of every sample's Jacobian: as many products as there are outputs, whatever the size of the batch.
    """
    return from_graph(*forward(function, x, cotangents=len(x) * min(directions, outputs)), directions)


def vmap_jacfwd(function: Function, x: Tensor, directions: int, outputs: int) -> Result:
    """`torch.func.jacfwd` of one sample, under `vmap`: a product for each input feature, not for each output.

    It is written with `torch.func.jvp`, since `jacfwd` itself takes all features at a time.
    """

    def along(sample: Tensor, tangent: Tensor) -> tuple[Tensor, Tensor]:
        product: Any = torch.func.jvp(lambda x: function(x.clone().unsqueeze(0)).squeeze(0), (sample,), (tangent,))
        return product[0], product[1]

    along_each = torch.func.vmap(along, (None, 0), randomness="different")
    of_each = torch.func.vmap(along_each, (0, None), randomness="different")
    features = x[0].numel()
    columns = []
    for places in torch.split(torch.arange(features, device=x.device), directions):
        basis = torch.nn.functional.one_hot(places, features).to(x.dtype)
        values, tangents = of_each(x, basis.view(-1, *x.shape[1:]))
        columns.append(tangents)
    J = torch.cat(columns, 1).transpose(1, 2)
    return J.reshape(len(x), outputs, *x.shape[1:]), values[:, 0]


def backward(function: Function, x: Tensor, directions: int, outputs: int) -> Result:  # noqa: ARG001 - one at a time
    """One ordinary backward pass of the batch for each output: slow, and asks nothing of the model."""
    leaf, values = forward(function, x)
    product = _vjp(leaf, values)
    return torch.stack([product(cotangent) for cotangent in _basis(values)], 1), values


def forward(function: Function, x: Tensor, cotangents: int = 0) -> tuple[Tensor, Tensor]:
    """Return a leaf that requires gradients, or `x` itself if it does, and the outputs from it.

    Args:
        function: to be differentiated.
        x: the samples.
        cotangents: how many the graph will be run backwards with at a time, for `fast_layers`.
    """
    leaf = x if x.requires_grad else x.detach().requires_grad_()
    with torch.enable_grad(), fast_layers(cotangents):
        return leaf, function(leaf.clone())  # a model may work in place on its input, but not on the caller's


def from_graph(leaf: Tensor, values: Tensor, directions: int) -> Result:
    """Return the Jacobian of a forward pass, by its graph, and its outputs; `directions` outputs at a time."""
    basis = _basis(values)
    rows = torch.func.vmap(_vjp(leaf, values), chunk_size=_chunk_size(directions, len(basis)))(basis)
    return rows.transpose(0, 1), values


def _chunk_size(directions: int, count: int) -> int | None:
    """Return `vmap`'s chunk size: None takes all together, and copies nothing."""
    return None if directions >= count else directions


def _basis(values: Tensor) -> Tensor:
    """Return the cotangents that are one at one output of every sample, `[outputs, batch, outputs]`."""
    eye = torch.eye(values.shape[1], dtype=values.dtype, device=values.device)
    return eye.unsqueeze(1).expand(-1, *values.shape)


def _vjp(leaf: Tensor, values: Tensor) -> Callable[[Tensor], Tensor]:
    """Return the function from cotangents of `values` to the gradient of `leaf`."""
    create_graph = torch.is_grad_enabled()

    def product(cotangent: Tensor) -> Tensor:
        with gradients_of_inputs_only():  # weights have none under vmap
            (gradient,) = torch.autograd.grad(
                values, leaf, cotangent, retain_graph=True, create_graph=create_graph, materialize_grads=True
            )
        return gradient

    return product


STRATEGIES: dict[str, Callable[[Function, Tensor, int, int], Result]] = {
    "vmap-jacrev": vmap_jacrev,
    "vmap-vjp": vmap_vjp,
    "vmap-jacfwd": vmap_jacfwd,
    "backward": backward,
}
"""The strategies by name; `"auto"` chooses among them."""

DEFINITION = "vmap-jacrev"
"""The strategy that the callback and analyze.py prefer: the textbook's, which readers recognise."""

SAMPLE_BY_SAMPLE = ("vmap-jacrev", "vmap-jacfwd")
"""Those that call the model with one sample: their outputs do not show whether samples depend on each other."""
