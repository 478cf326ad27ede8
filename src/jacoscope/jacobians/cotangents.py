"""Cotangents on their way from the outputs to the inputs, with the work that need not be done for each output put off.

Pulling K cotangents back through an activation multiplies each of them by the same derivative; through non-overlapping
pooling, it copies each to every position of its window. Such steps are only noted here, and chains of them are carried
out in one pass over the K cotangents, when a step comes that mixes positions. A product with a matrix is put off as
well: if it is the last, it is carried out straight into the result.
"""

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from .convolution import split

_SHORT_ROW = 32
"""Up to this width, spreading by a matrix product is faster than by copying (measured: 4 times at 14)."""


@dataclass(frozen=True)
class Cotangent:
    """K cotangents of one tensor of the forward pass: `factor * spread(base)`, or `factor * view(base @ matrix)`."""

    base: Tensor
    """`[K, *shape]`; or `[K, batch, channels, *block, *blocks]` where `block` is given."""
    owned: bool = False
    """Nobody else holds `base`: it may be overwritten."""
    factor: Tensor | None = None
    """Derivatives that all K share, to be multiplied in; broadcastable to `shape`."""
    block: tuple[int, ...] = ()
    """Positions are stored by blocks: position `block * q + r` of an axis is at `[..., r, ..., q]`."""
    size: tuple[int, ...] = ()
    """Spatial size where positions are stored by blocks; the last block may reach beyond it."""
    window: tuple[int, ...] = ()
    """Each position is to be copied to a window of this size."""
    matrix: Tensor | None = None
    """`base`, `[K, batch, features]`, is to be multiplied by this matrix `[features, entries]`…"""
    view: tuple[int, ...] = ()
    """…and the product has this `shape`, `[batch, …]`."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the tensor of the forward pass."""
        if self.matrix is not None:
            return self.view
        shape = tuple(self.base.shape[1:])
        if self.block:
            shape = (*shape[:2], *self.size)
        if self.window:
            dims = len(self.window)
            spread = tuple(n * w for n, w in zip(shape[-dims:], self.window, strict=True))
            shape = (*shape[:-dims], *spread)
        return shape

    def times(self, factor: Tensor) -> "Cotangent":
        """Note that all K are to be multiplied by `factor`."""
        factor = factor[(None,) * (len(self.shape) - factor.ndim)]
        if self.factor is not None:
            factor = self.factor * factor
        if self.matrix is not None and factor.numel() == 1 and self.base.numel() < self.matrix.numel():
            return Cotangent(self.base * factor.view(()), True, matrix=self.matrix, view=self.view)
        if self.matrix is not None and factor.shape[0] == 1 and len(self.matrix) <= self.base[..., 0].numel():
            # The same for every sample, and the matrix has fewer rows than the product.
            matrix = self.matrix * factor.expand(1, *self.view[1:]).reshape(1, -1)
            return Cotangent(self.base, self.owned, matrix=matrix, view=self.view)
        return Cotangent(self.base, self.owned, factor, self.block, self.size, self.window, self.matrix, self.view)

    def viewed(self, shape: tuple[int, ...]) -> "Cotangent":
        """The same entries, in the same order, of a tensor of another shape."""
        if self.matrix is not None and self.factor is None and shape[0] == self.base.shape[1]:
            return Cotangent(self.base, self.owned, matrix=self.matrix, view=shape)
        dense = self.dense()
        return Cotangent(dense.reshape(dense.shape[0], *shape), self.owned or dense is not self.base)

    def spread(self, window: tuple[int, ...], factor: Tensor | None) -> "Cotangent":
        """Note that every position is to be copied to a window, times `factor` there."""
        is_plain = self.factor is None and self.matrix is None and not self.window
        whole = self if is_plain else Cotangent(self.dense(), owned=True)
        return Cotangent(whole.base, whole.owned, factor, whole.block, whole.size, window)

    def dense(self) -> Tensor:
        """`[K, *shape]`, everything carried out; contiguous or channels-last. May be `base` itself."""
        base, fresh = self.base, False
        if self.block:
            base, fresh = _in_order(base, self.block, self.size), True
        if self.window:
            base, fresh = _spread(base, self.window), True
        if self.matrix is not None:
            base, fresh = (base.flatten(0, 1) @ self.matrix).view(len(base), *self.view), True
        if self.factor is None:
            return base
        factor = _in_layout_of(base[0], self.factor)
        # Never in place on `base`: a rule may look at it and leave the step to the node, which asks again.
        return base.mul_(factor) if fresh and factor.dtype == base.dtype else base * factor

    def shared(self) -> "Cotangent":
        """The same, carried out, for more than one reader."""
        return Cotangent(self.dense())

    def plus(self, other: "Cotangent") -> "Cotangent":
        """The sum; a factor of `other` is multiplied in on the way."""
        total = self.dense()
        if not self.owned and total is self.base:
            total = total.clone()
        if other.block or other.window or other.matrix is not None or other.factor is None:
            total += other.dense()
        else:
            total.addcmul_(other.base, _in_layout_of(total[0], other.factor))
        return Cotangent(total, owned=True)

    def write(self, out: Tensor) -> None:
        """Carry everything out into `out`, `[K, *shape]` with any strides."""
        base, factor = self.base, self.factor
        by_sample = out.transpose(0, 1)
        if self.matrix is not None and factor is None and by_sample.is_contiguous() and out.dtype == base.dtype:
            features = base.transpose(0, 1).reshape(-1, base.shape[2])
            torch.mm(features, self.matrix, out=by_sample.view(len(features), -1))
            return
        if self.matrix is not None or self.window or any(n % b for n, b in zip(self.size, self.block, strict=True)):
            base, factor = self.dense(), None
        elif self.block:
            base = _pair_up(base, len(self.block))
            out = _by_blocks(out, self.block)
            factor = None if factor is None else _by_blocks(factor, self.block)
        if factor is None:
            out.copy_(base)
        else:
            torch.mul(base, factor, out=out)


def _pair_up(base: Tensor, dims: int) -> Tensor:
    """`[…, r1, r2, q1, q2]` to `[…, q1, r1, q2, r2]`: in the order of positions."""
    leading = base.ndim - 2 * dims
    pairs = [leading + dims * half + axis for axis in range(dims) for half in (1, 0)]
    return base.permute(*range(leading), *pairs)


def _by_blocks(values: Tensor, block: tuple[int, ...]) -> Tensor:
    """View the last axes as pairs (block, position in the block); axes of length one stay broadcastable."""
    for axis, length in enumerate(block):
        dim = values.ndim - len(block) + axis
        values = split(values, dim, (1, 1) if values.shape[dim] == 1 else (-1, length))
    return values


def _in_order(base: Tensor, block: tuple[int, ...], size: tuple[int, ...]) -> Tensor:
    """`[…, *block, *blocks]` to `[…, *size]`; what the last block has beyond the end is dropped."""
    values = _pair_up(base, len(block)).contiguous()
    leading = base.ndim - 2 * len(block)
    for axis, length in enumerate(size):
        values = values.flatten(leading + axis, leading + axis + 1).narrow(leading + axis, 0, length)
    return values.contiguous()


def _spread(base: Tensor, window: tuple[int, ...]) -> Tensor:
    """Copy every position to its window.

    Copying single numbers is slow. A row of a short image and the rows below it that repeat it are one contiguous
    stretch, and a product with a matrix of zeros and ones fills it several times as fast.
    """
    *leading, height, width = base.shape
    rows, columns = window
    if base.device.type == "cpu" and width <= _SHORT_ROW:
        return (base.reshape(-1, width) @ _spreading(width, rows, columns, base.dtype)).view(
            *leading, height * rows, width * columns
        )
    out = base.new_empty(*leading, height, rows, width, columns)
    out.copy_(base.view(*leading, height, 1, width, 1).expand_as(out))
    return out.view(*leading, height * rows, width * columns)


@lru_cache(maxsize=64)
def _spreading(width: int, rows: int, columns: int, dtype: torch.dtype) -> Tensor:
    return torch.eye(width, dtype=dtype, device="cpu").repeat_interleave(columns, 1).repeat(1, rows)


def _in_layout_of(like: Tensor, factor: Tensor) -> Tensor:
    """Bring a factor of full size to the memory format of the cotangents: mixed formats are read slowly."""
    if (
        like.ndim == 4
        and factor.shape == like.shape
        and not like.is_contiguous()
        and like.is_contiguous(memory_format=torch.channels_last)
    ):
        return factor.contiguous(memory_format=torch.channels_last)
    return factor
