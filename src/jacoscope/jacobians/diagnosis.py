"""Why a model cannot be differentiated: what was tried, and what would work."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from .errors import JacobianError
from .strategies import Function, forward


def first_forward(function: Function, x: Tensor, batch: Tensor) -> tuple[Tensor, Tensor]:
    """Run the first forward pass of a call, and explain why the model refuses it, where that can be found out.

    Args:
        function: to be differentiated.
        x: the samples of this pass.
        batch: all samples of the call.

    Raises:
        JacobianError: if the function can be computed in another way; the message says in which.
        Exception: whatever the model raises, if it can be computed in none.
    """
    try:
        return forward(function, x)
    except (JacobianError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # a model may raise anything
        tried = f"The model was called with a tensor {list(x.shape)}, and raised {type(error).__name__}: {error}\n"
        if can_be_computed(function, x):
            raise JacobianError(
                f"{tried}Without gradients it can be computed, so a step of it cannot be differentiated. Replace "
                "operations in place (x.mul_(2), x += 1, x[0] = 1) and .numpy() by others that return a new tensor."
            ) from error
        for other in (batch, batch[-1:]):
            if len(other) != len(x) and can_be_computed(function, other):
                raise fixed_batch_size(len(other), len(x), error) from error
        if can_be_computed(function, batch.unsqueeze(0)):
            raise JacobianError(
                f"{tried}It takes x.unsqueeze(0), {[1, *batch.shape]}: x has no batch dimension. "
                "Expected is a tensor [batch, *input_shape]."
            ) from error
        if isinstance(error, AssertionError):  # as the guards of exported models raise
            raise JacobianError(f"{tried}The model does not take x, {list(batch.shape)}.") from error
        raise


def fixed_batch_size(taken: int, refused: int, error: Exception) -> JacobianError:
    """Return the error about a model that takes batches of one size, but not of another."""
    return JacobianError(
        f"The model takes a batch of {taken}, but not of {refused}: its batch size is fixed. It has to take any, for "
        "samples are computed alone and together. Use x.flatten(1), or x.shape[0] in x.view; export it anew with a "
        "dynamic batch dimension, torch.export.Dim('batch'), or trace it without numbers of samples. "
        f"It raised {type(error).__name__}: {error}"
    )


def can_be_computed(function: Function, x: Tensor) -> bool:
    """Whether a function returns at all, without a derivative."""
    try:
        with torch.no_grad():
            function(x.detach().clone())
    except Exception:  # a model may raise anything
        return False
    return True


class _Types(TorchFunctionMode):
    """Within this context, the types of floating point results are collected."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[torch.dtype] = set()

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run a function of PyTorch, and note the type of its result."""
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor) and result.is_floating_point():
            self.seen.add(result.dtype)
        return result


def coarsest_type(function: Function, x: Tensor) -> torch.dtype:
    """Return the least precise type that a forward pass of `x` goes through: a model may convert inside."""
    with torch.no_grad(), _Types() as types:
        values = function(x.detach().clone())
    seen: set[torch.dtype] = types.seen | {values.dtype}
    return max(seen, key=lambda dtype: torch.finfo(dtype).eps)


def not_differentiable(tried: str, error: Exception) -> JacobianError:
    """Return the error that says what was tried, why it failed, and what would work."""
    in_place = "inplace" in str(error) or "in-place" in str(error)
    advice = "\nReplace the operation in place (x.mul_(2), x += 1, relu_) by one that returns a new tensor."
    return JacobianError(f"{tried} cannot differentiate the model: {error}{advice if in_place else ''}")
