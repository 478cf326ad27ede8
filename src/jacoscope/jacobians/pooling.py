"""Pooling over windows that tile the image, pulled back by a matrix product that spreads cotangents over windows."""

from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .convolution import fold

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


class AveragePool(torch.autograd.Function):
    """`avg_pool2d(x, window)`."""

    @staticmethod
    def forward(x: Tensor, window: Window) -> Tensor:
        """Average over each window."""
        return F.avg_pool2d(x, window)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Keep the window."""
        ctx.window = inputs[1]

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
        """Return the same share for every position of a window."""
        return spread(g, ctx.window, 1 / (ctx.window[0] * ctx.window[1])), None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int, None], x: Tensor, window: Window) -> tuple[Tensor, int]:
        """Fold the added dimension into the batch."""
        folded, added = fold(x, in_dims[0])
        return AveragePool.apply(folded, window).unflatten(0, (added, -1)), 0


class MaximumPool(torch.autograd.Function):
    """`max_pool2d(x, window, return_indices=True)`; the derivative is that of the first of the two."""

    @staticmethod
    def forward(x: Tensor, window: Window) -> tuple[Tensor, Tensor]:
        """Return the maximum of each window and its place in the image."""
        values, places = F.max_pool2d(x, window, return_indices=True)
        return values, places

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        """Keep where the maxima are."""
        x, ctx.window = inputs
        ctx.image = x.shape[-2:]
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(output[1])

    @staticmethod
    def backward(ctx: Any, g: Tensor, _: Tensor) -> tuple[Tensor, None]:
        """Return everything at the position of the maximum."""
        (places,) = ctx.saved_tensors
        chosen = torch.zeros(*places.shape[:-2], ctx.image.numel(), dtype=g.dtype, device=g.device)
        chosen = chosen.scatter(-1, places.flatten(-2), 1.0)
        return spread(g, ctx.window) * torch.unflatten(chosen, -1, ctx.image), None

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[int, None], x: Tensor, window: Window
    ) -> tuple[tuple[Tensor, Tensor], tuple[int, int]]:
        """Fold the added dimension into the batch."""
        folded, added = fold(x, in_dims[0])
        values, places = MaximumPool.apply(folded, window)
        return (values.unflatten(0, (added, -1)), places.unflatten(0, (added, -1))), (0, 0)
