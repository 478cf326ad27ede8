"""Normalization of pixels, the first layer of every model here."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Normalize(nn.Module):
    """Standardise each channel: ``(x - mean) / std``.

    As this is the first layer of a model, all derivatives are with respect to the raw pixels in [0, 1].

    Args:
        mean: mean of each channel, in pixel units; length C.
        std: standard deviation of each channel, in pixel units; length C, all positive.

    Shapes:
        ``[batch, C, H, W]`` to the same.

    Raises:
        ValueError: if ``mean`` and ``std`` differ in length or a standard deviation is not positive.

    >>> Normalize([0.5], [0.25])(torch.ones(1, 1, 2, 2)).unique()
    tensor([2.])
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        if len(mean) != len(std):
            raise ValueError(f"mean has {len(mean)} channels, but std has {len(std)}")
        if min(std) <= 0:
            raise ValueError(f"every standard deviation must be positive, got {list(std)}")
        self.register_buffer("mean", torch.tensor(list(mean)).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(list(std)).view(-1, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std

    def extra_repr(self) -> str:
        return f"mean={self.mean.flatten().tolist()}, std={self.std.flatten().tolist()}"
