"""The input-output Jacobian of a batch."""

from collections.abc import Callable
from typing import Any, Literal, overload

import torch
from torch import Tensor, nn

from .errors import JacobianError
from .outputs import Output, output_function

Model = Callable[[Tensor], Any]


@overload
def jacobian(
    model: Model,
    x: Tensor,
    output: Output = ...,
    *,
    strategy: str = ...,
    chunk_size: int | Literal["auto"] | None = ...,
    memory_budget: int | None = ...,
    create_graph: bool = ...,
    return_outputs: Literal[False] = ...,
) -> Tensor: ...
@overload
def jacobian(
    model: Model,
    x: Tensor,
    output: Output = ...,
    *,
    strategy: str = ...,
    chunk_size: int | Literal["auto"] | None = ...,
    memory_budget: int | None = ...,
    create_graph: bool = ...,
    return_outputs: Literal[True],
) -> tuple[Tensor, Tensor]: ...


def jacobian(
    model: Model,
    x: Tensor,
    output: Output = "logits",
    *,
    strategy: str = "auto",
    chunk_size: int | Literal["auto"] | None = "auto",
    memory_budget: int | None = None,
    create_graph: bool = False,
    return_outputs: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    r"""Input-output Jacobian of every sample of a batch: `J[b, k] = ∂ output_k(x_b) / ∂ x_b`.

    Args:
        model: a module or function from a batch `[batch, *input_shape]` to outputs `[batch, outputs]`.
        x: the inputs, `[batch, *input_shape]`, of a floating point type.
        output: what is differentiated: `"logits"` (what the model returns), `"probs"`, `"log_probs"`, or a
            callable
            from what the model returns to a tensor `[batch, outputs]`.
        strategy: how; see `STRATEGIES`. All give the same numbers.
        chunk_size: samples at a time; `"auto"` keeps the peak memory within `memory_budget`, `None` takes
            the batch whole.
        memory_budget: bytes that the computation may take besides the result; by default a modest share of
            what is free.
        create_graph: make the result differentiable with respect to the parameters and `x`.
        return_outputs: also return the outputs themselves, `[batch, outputs]`, which come for free.

    Returns:
        `J`, `[batch, outputs, *input_shape]`, or `(J, outputs)`.

    Raises:
        JacobianError: the inputs or the outputs have no Jacobian of this form; the message says what would
            work.

    >>> model = torch.nn.Linear(4, 3)
    >>> J = jacobian(model, torch.rand(2, 4))
    >>> torch.equal(J, model.weight.expand(2, 3, 4))
    True
    """
    pick = output_function(output)
    if not x.is_floating_point():
        raise JacobianError(
            f"x is {x.dtype}; derivatives need floating point inputs, e.g. x.float() / 255 for pixels."
        )

    def sample_outputs(sample: Tensor) -> tuple[Tensor, Tensor]:
        values = pick(model(sample.unsqueeze(0))).squeeze(0)
        return values, values

    modules = list(model.modules()) if isinstance(model, nn.Module) else []
    flags = [module.training for module in modules]
    try:
        for module in modules:
            module.training = False
        with torch.inference_mode(False), torch.enable_grad():
            if x.is_inference():
                x = x.clone()
            pull = torch.func.vmap(torch.func.jacrev(sample_outputs, has_aux=True), chunk_size=64)
            J, values = pull(x)
    finally:
        for module, flag in zip(modules, flags, strict=True):
            module.training = flag
    if not create_graph:
        J, values = J.detach(), values.detach()
    return (J, values) if return_outputs else J
