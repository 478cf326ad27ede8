"""Pooling over windows that tile the image, pulled back by a matrix product that spreads cotangents over windows."""

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

_SHORT_ROW = 32
"""Up to this width, spreading by a matrix product is faster than by copying (measured: 2.5 to 7 times)."""

Window = tuple[int, int]


def spread(values: Tensor, window: Window, factor: float = 1.0) -> Tensor:
    """Copy every position `[…, height, width]`, times a factor, to its window, `[…, height * rows, width * columns]`.

    Copying single numbers is slow. A row of a short image and the rows below it that repeat it are one contiguous
    stretch, and a product with a matrix of zeros and ones fills it several times as fast.
    """
    (*leading, height, width), (rows, columns) = values.shape, window
    if width <= _SHORT_ROW:
        repeated = values @ _repetition(width, window, factor, values.dtype)
    else:
        repeated = (values * factor).unsqueeze(-1).unsqueeze(-3).expand(*leading, height, rows, width, columns)
    return repeated.reshape(*leading, height * rows, width * columns)


@lru_cache(maxsize=64)
def _repetition(width: int, window: Window, factor: float, dtype: torch.dtype) -> Tensor:
    rows, columns = window
    return factor * torch.eye(width, dtype=dtype, device="cpu").repeat_interleave(columns, 1).repeat(1, rows)


def places_of_maxima(y: Tensor, places: Tensor) -> Tensor:
    """Return ones where the maxima are, at the indices that `max_pool2d` returns, and zeros elsewhere; as `y`."""
    return torch.zeros_like(y).flatten(-2).scatter(-1, places.flatten(-2), 1.0).view(y.shape)


class TiledPool(torch.autograd.Function):
    r"""A pooling over windows that tile the image: :math:`\text{pooled} = c \sum_\text{window} s\,y`, of `y(x)`.

    The factor :math:`c` is one over the size of the window for averages, and 1 for maxima, where :math:`s` is 1 at the
    maximum and 0 elsewhere. The derivative is with respect to `x`, and `slope` is :math:`s \, dy/dx`, or None where it
    is 1: thus an activation before the pooling takes no pass over the cotangents of its own.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, pooled: Tensor, slope: Tensor | None, window: Window, factor: float) -> Tensor:
        return pooled.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _, _, slope, ctx.window, ctx.factor = inputs
        ctx.save_for_backward(slope)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        (slope,), spreaded = ctx.saved_tensors, spread(g, ctx.window, ctx.factor)
        if slope is None:
            return spreaded, None, None, None, None
        # In place, since fresh memory is slow. With a graph, the slope may be batched by `vmap` where the
        # cotangent is not, and then the product does not fit into the cotangent.
        return spreaded * slope if torch.is_grad_enabled() else spreaded.mul_(slope), None, None, None, None
