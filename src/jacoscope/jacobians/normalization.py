"""Batch normalisation in evaluation mode: a scaling of every channel, which is pulled back as one."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .convolution import fold


class ChannelScaling(torch.autograd.Function):
    """`batch_norm(x, mean, variance, weight, bias, training=False, eps=eps)`, of a mean and a weight that are fixed."""

    @staticmethod
    def forward(
        x: Tensor, mean: Tensor, variance: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
    ) -> Tensor:
        """Normalise."""
        return F.batch_norm(x, mean, variance, weight, bias, training=False, eps=eps)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Keep the scale of each channel."""
        x, _, variance, weight, _, eps = inputs
        scale = (variance + eps).rsqrt()
        ctx.scale = (scale if weight is None else scale * weight).view(-1, *[1] * (x.ndim - 2))

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        """Scale a cotangent."""
        return g * ctx.scale, None, None, None, None, None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], x: Tensor, *fixed: Any) -> tuple[Tensor, int]:
        """Fold the added dimension into the batch."""
        folded, added = fold(x, in_dims[0] or 0)
        return ChannelScaling.apply(folded, *fixed).unflatten(0, (added, -1)), 0
