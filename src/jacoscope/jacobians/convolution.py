r"""The pull-back of a convolution, written as a forward convolution.

PyTorch pulls cotangents :math:`g` back through a convolution with ``convolution_backward``, which is slow on CPUs when
the convolution has few input channels: vector instructions work on 16 channels at once, and the first layer of a
network has one or three. The same linear map is a forward convolution of :math:`g`. Along one axis, with kernel
:math:`w`, stride :math:`t`, padding :math:`p` and dilation :math:`d`,

.. math:: x[i] = \sum_{o, j} g[o] \, w[j] \quad\text{over}\quad i + p = t\,o + d\,j .

Write :math:`i = s q + r` with a block length :math:`s = t m`, and :math:`o = m q + v`. Then

.. math:: x[s q + r] = \sum_v g[m q + v] \, w[(r + p - t v) / d] ,

so all :math:`s` positions :math:`r` of a block are output channels of one convolution of stride :math:`m`, and
:math:`s` is free: it trades additional products with zeros for full vectors. :math:`s = t = 1` is the textbook form
with a flipped kernel.
"""

from dataclasses import dataclass
from functools import lru_cache
from math import prod

import torch
from torch import Tensor

LANES = 16
"""Channels that one vector instruction works on (512 bits of float32)."""


@dataclass(frozen=True)
class Convolution:
    """The geometry of a convolution, as autograd's node stores it."""

    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int
    input_size: tuple[int, ...]
    """Spatial size of the input of the convolution, which is what is pulled back to."""
    output_size: tuple[int, ...]


@dataclass(frozen=True)
class BlockKernel:
    """A forward convolution that pulls cotangents back, one block of the input's positions at a time."""

    weight: Tensor
    """`[in_channels * prod(block), out_channels / groups, *taps]`."""
    block: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    skip: tuple[int, ...]
    """Blocks before the first position; they come of padding symmetrically."""
    blocks: tuple[int, ...]
    groups: int

    def __call__(self, g: Tensor) -> Tensor:
        """Cotangents `[n, out_channels, *size]` to blocks `[n, in_channels, *block, *blocks]`."""
        dims = len(self.block)
        ones, zeros = [1] * dims, [0] * dims
        out: Tensor = torch.ops.aten.convolution(
            g, self.weight, None, self.stride, self.padding, ones, False, zeros, self.groups
        )
        for dim, (skip, blocks) in enumerate(zip(self.skip, self.blocks, strict=True), start=2):
            out = out.narrow(dim, skip, blocks)
        return split(out, 1, (-1, *self.block))


_Kernel = tuple[int, int, int, int]
"""Size, stride, padding and dilation of a kernel along one axis."""


@dataclass(frozen=True)
class _Axis:
    """What the formula says for one axis: block length s, first v, number of taps, and how to pad."""

    block: int
    first: int
    taps: int
    padding: int
    skip: int
    blocks: int

    @classmethod
    def of(cls, m: int, n: int, size: int, k: int, t: int, p: int, d: int) -> "_Axis | None":
        """For an input of `n` positions and an output of `size`; None where the padding would be negative."""
        s = t * m
        first = -((d * (k - 1) - p) // t)
        taps = (s - 1 + p) // t - first + 1
        blocks = -(-n // s)
        if first > 0:
            return None
        # What the last block reaches for beyond the end must be padded too, and padding is symmetric: pad the
        # front by whole blocks, and skip them.
        beyond = m * (blocks - 1) + first + taps - size
        skip = max(0, -(-(beyond + first) // m))
        return cls(s, first, taps, m * skip - first, skip, blocks)


@lru_cache(maxsize=256)
def _entries(shape: tuple[int, ...], groups: int, axes: tuple[_Axis, ...], geometry: tuple[_Kernel, ...]) -> Tensor:
    """Which entry of the flattened kernel, one zero appended, stands where in the kernel by blocks."""
    zero = prod(shape)
    cpu = torch.device("cpu")  # whatever the default device is while this is made: it is kept
    at = torch.arange(zero, device=cpu).view(shape)
    at = split(at, 0, (groups, -1)).transpose(1, 2).flatten(0, 1)
    for dim, (axis, (k, t, p, d)) in enumerate(zip(axes, geometry, strict=True)):
        reach = [[r + p - t * v for v in range(axis.first, axis.first + axis.taps)] for r in range(axis.block)]
        indices = [[j // d if j % d == 0 and 0 <= j // d < k else k for j in row] for row in reach]
        entries = torch.tensor(indices, device=cpu)
        along = 2 + 2 * dim
        padded = torch.cat([at, torch.full_like(at.narrow(along, 0, 1), zero)], along)
        at = split(padded.index_select(along, entries.flatten()), along, tuple(entries.shape))
    # [in, out, block, taps, block, taps, …] to [in * blocks, out, taps, taps, …]
    dims = len(axes)
    order = [0, *range(2, 2 + 2 * dims, 2), 1, *range(3, 3 + 2 * dims, 2)]
    return at.permute(order).flatten(0, dims).contiguous()


def split(values: Tensor, dim: int, sizes: tuple[int, ...]) -> Tensor:
    """One dimension as several, in a view."""
    view: Tensor = torch.unflatten(values, dim, sizes)
    return view


def block_kernel(weight: Tensor, conv: Convolution, m: tuple[int, ...]) -> BlockKernel | None:
    """The forward convolution that pulls back through `conv` in blocks of `m` strides.

    Args:
        weight: the convolution's own, `[out_channels, in_channels / groups, *kernel]`.
        conv: its geometry.
        m: how many strides long a block is, per axis; any choice gives the same numbers.

    Returns:
        The kernel, or None where more is padded than the kernel reaches.
    """
    geometry = tuple(zip(weight.shape[2:], conv.stride, conv.padding, conv.dilation, strict=True))
    axes: list[_Axis] = []
    for blocks, n, size, (k, t, p, d) in zip(m, conv.input_size, conv.output_size, geometry, strict=True):
        axis = _Axis.of(blocks, n, size, k, t, p, d)
        if axis is None:
            return None
        axes.append(axis)
    entries = _entries(tuple(weight.shape), conv.groups, tuple(axes), geometry).to(weight.device)
    return BlockKernel(
        weight=torch.cat([weight.reshape(-1), weight.new_zeros(1)]).take(entries),
        block=tuple(axis.block for axis in axes),
        stride=m,
        padding=tuple(axis.padding for axis in axes),
        skip=tuple(axis.skip for axis in axes),
        blocks=tuple(axis.blocks for axis in axes),
        groups=conv.groups,
    )


def vector_filling_blocks(in_channels: int, conv: Convolution) -> tuple[int, ...] | None:
    """The block that fills one vector of output channels, or None where the channels already fill half of one.

    Measured on LeNet's first layer (1 channel, 5×5): blocks of 4×4 run 12 times as fast as the transposed
    convolution and 3.5 times as fast as the flipped kernel; with 16 channels there is nothing to gain.
    """
    channels = in_channels * prod(conv.stride)
    if channels > LANES // 2 or conv.groups > 1 or len(conv.stride) > 2:
        return None
    m = [1] * len(conv.stride)
    axis = 0
    while 2 * channels * prod(m) <= LANES:
        m[axis % len(m)] *= 2
        axis += 1
    return tuple(m)
