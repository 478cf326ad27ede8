"""Ways to compute the Jacobian of one chunk of samples. All give the same numbers; they differ in time and memory."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .pullback import pull_back
from .rules import Kept

Function = Callable[[Tensor], Tensor]
"""From `[batch, *input_shape]` to `[batch, outputs]`."""


@dataclass(frozen=True)
class Chunk:
    """Some samples of a batch, and where their Jacobian goes."""

    x: Tensor
    """`[batch, *input_shape]`, detached."""
    out: Tensor
    """`[batch, outputs, *input_shape]`, to be filled."""
    rows: int
    """Outputs to take at a time."""
    kept: Kept
    """What is kept from chunk to chunk."""
    passed: tuple[Tensor, Tensor] | None = None
    """The leaf and the outputs of a forward pass of these samples, where one has been made."""


def forward(function: Function, x: Tensor) -> tuple[Tensor, Tensor]:
    """A leaf that requires gradients, and the outputs from it."""
    leaf = x.detach().requires_grad_()
    # A copy, so that a model that works in place on its input does not touch the caller's.
    return leaf, function(leaf.clone())


Strategy = Callable[[Function, Chunk], Tensor]
"""Fills `chunk.out` and returns the outputs, `[batch, outputs]`."""


def pullback(function: Function, chunk: Chunk) -> Tensor:
    """One forward pass of the chunk, and its autograd graph pulled back by `pull_back`, all outputs at once."""
    leaf, outputs = chunk.passed or forward(function, chunk.x)
    chunk.kept.forget_unused()
    with torch.no_grad(), torch.autocast(leaf.device.type, enabled=False):
        for start in range(0, outputs.shape[1], chunk.rows):
            part = slice(start, start + chunk.rows)
            cotangent = pull_back(outputs, leaf, part, chunk.kept)
            target = chunk.out[:, part]
            if cotangent is None:
                target.zero_()
            else:
                cotangent.write(target.transpose(0, 1))
    return outputs.detach()


def vmap_jacrev(function: Function, chunk: Chunk) -> Tensor:
    """`torch.func.jacrev` of one sample under `vmap`: the reference."""
    J, outputs = reference(function, chunk.x, chunk.rows)
    chunk.out.copy_(J.detach())
    return outputs.detach()


def vmap_jacfwd(function: Function, chunk: Chunk) -> Tensor:
    """`torch.func.jvp` of a sample along every input feature, under `vmap`: a pass for each input, not each output.

    That is `torch.func.jacfwd`, but only as many inputs at a time as there may be outputs, for a tangent takes the
    memory of a cotangent.
    """

    def push(sample: Tensor, tangent: Tensor) -> tuple[Tensor, Tensor]:
        pushed: Any = torch.func.jvp(lambda x: function(x.clone().unsqueeze(0)).squeeze(0), (sample,), (tangent,))
        return pushed[0], pushed[1]

    along_each = torch.func.vmap(push, (None, 0), randomness="different")
    of_each = torch.func.vmap(along_each, (0, None), randomness="different")
    x, columns = chunk.x, chunk.out.flatten(2)
    features = columns.shape[2]
    for start in range(0, features, chunk.rows):
        stop = min(start + chunk.rows, features)
        basis = torch.nn.functional.one_hot(torch.arange(start, stop, device=x.device), features)
        values, tangents = of_each(x, basis.to(x.dtype).view(-1, *x.shape[1:]))
        columns[:, :, start:stop] = tangents.detach().transpose(1, 2)
    outputs: Tensor = values[:, 0].detach()
    return outputs


def backward(function: Function, chunk: Chunk) -> Tensor:
    """One ordinary backward pass of the batch for each output: slow, and asks nothing of the model."""
    leaf, outputs = chunk.passed or forward(function, chunk.x)
    for k in range(outputs.shape[1]):
        (gradient,) = torch.autograd.grad(outputs[:, k].sum(), leaf, retain_graph=True, materialize_grads=True)
        chunk.out[:, k] = gradient
    return outputs.detach()


def differentiable(function: Function, x: Tensor) -> tuple[Tensor, Tensor]:
    """All rows by one batched backward pass that is itself recorded: `(J, outputs)`, differentiable once more."""
    x = x.clone() if x.requires_grad else x.clone().requires_grad_()
    outputs = function(x.clone())
    eye = torch.eye(outputs.shape[1], dtype=outputs.dtype, device=x.device)
    rows = eye.unsqueeze(1).expand(-1, *outputs.shape)
    try:
        (J,) = torch.autograd.grad(outputs, x, rows, is_grads_batched=True, create_graph=True)
    except (RuntimeError, ValueError):  # some step cannot be batched
        J = torch.stack([torch.autograd.grad(outputs, x, row, create_graph=True)[0] for row in rows])
    return J.transpose(0, 1), outputs


def reference(function: Function, x: Tensor, rows: int | None = None) -> tuple[Tensor, Tensor]:
    """`jacrev` under `vmap`, differentiable once more: `(J, outputs)`."""

    def one(sample: Tensor) -> tuple[Tensor, Tensor]:
        outputs = function(sample.clone().unsqueeze(0)).squeeze(0)
        return outputs, outputs

    jacrev = torch.func.jacrev(one, has_aux=True, chunk_size=rows)
    result: tuple[Any, Any] = torch.func.vmap(jacrev, randomness="different")(x)
    return result


STRATEGIES: dict[str, Strategy] = {
    "pullback": pullback,
    "vmap-jacrev": vmap_jacrev,
    "vmap-jacfwd": vmap_jacfwd,
    "backward": backward,
}
"""The strategies by name; `"auto"` chooses among them."""
