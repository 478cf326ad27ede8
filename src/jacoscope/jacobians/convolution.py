r"""Convolutions whose pull-back is fast: a forward convolution that fills the processor's vectors.

PyTorch pulls cotangents :math:`g` back through a convolution with ``convolution_backward``, which is slow on CPUs when
the convolution has few input channels: vector instructions work on 8 or 16 channels at once, and the first layer of a
network has one or three. The same linear map is a forward convolution of :math:`g`. Along one axis, with kernel
:math:`w`, stride :math:`t`, padding :math:`p` and dilation :math:`d`,

.. math:: x[i] = \sum_{o, j} g[o] \, w[j] \quad\text{over}\quad i + p = t\,o + d\,j .

Write :math:`i = s q + r` with a block length :math:`s = t m`, and :math:`o = m q + v`. Then

.. math:: x[s q + r] = \sum_v g[m q + v] \, w[(r + p - t v) / d] ,

so all :math:`s` positions :math:`r` of a block are output channels of one convolution of stride :math:`m`, and
:math:`s` is free: it trades additional products with zeros for full vectors. :math:`s = t = 1` is the textbook form
with a flipped kernel.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache, partial
from math import prod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.grad import conv1d_weight, conv2d_weight

_CONVOLUTIONS: dict[int, Callable[..., Tensor]] = {1: F.conv1d, 2: F.conv2d}
"""By the number of spatial dimensions."""
_WEIGHT_GRADIENTS: dict[int, Callable[..., Tensor]] = {1: conv1d_weight, 2: conv2d_weight}


@dataclass(frozen=True)
class Geometry:
    """The geometry of a convolution; every tuple has an entry for each spatial dimension."""

    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int
    input_size: tuple[int, ...]
    """Spatial size of the input of the convolution, which is what is pulled back to."""
    output_size: tuple[int, ...]

    def convolve(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """Return the convolution of `x`, `[n, in_channels, *input_size]`."""
        convolution = _CONVOLUTIONS[len(self.stride)]
        return convolution(x, weight, bias, self.stride, self.padding, self.dilation, self.groups)

    def weight_gradient(self, x: Tensor, g: Tensor, weight_shape: torch.Size) -> Tensor:
        """Return the gradient of `sum(g * convolve(x, weight))` with respect to the weight."""
        gradient = _WEIGHT_GRADIENTS[len(self.stride)]
        return gradient(x, weight_shape, g, self.stride, self.padding, self.dilation, self.groups)


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
    input_size: tuple[int, ...]

    def __call__(self, g: Tensor) -> Tensor:
        """Pull cotangents `[n, out_channels, *output_size]` back to `[n, in_channels, *input_size]`."""
        dims = len(self.block)
        out = _CONVOLUTIONS[dims](g, self.weight, None, self.stride, self.padding, 1, self.groups)
        for dim, (skip, blocks) in enumerate(zip(self.skip, self.blocks, strict=True), start=2):
            out = out.narrow(dim, skip, blocks)
        out = torch.unflatten(out, 1, (-1, *self.block))  # [n, channels, *block, *blocks]
        pairs = [axis for dim in range(2, 2 + dims) for axis in (dim + dims, dim)]
        sizes = [block * blocks for block, blocks in zip(self.block, self.blocks, strict=True)]
        out = out.permute(0, 1, *pairs).reshape(*out.shape[:2], *sizes)
        for dim, size in enumerate(self.input_size, start=2):  # the last block may reach beyond the end
            out = out.narrow(dim, 0, size)
        return out

    def weight_gradient(self, x: Tensor, g: Tensor) -> Tensor:
        """Return the gradient of `sum(x * self(g))` with respect to `self.weight`."""
        pads, ends = [], []
        for dim, (block, blocks, stride, padding) in enumerate(
            zip(self.block, self.blocks, self.stride, self.padding, strict=True)
        ):
            taps, size = self.weight.shape[2 + dim], g.shape[2 + dim]
            positions = (size + 2 * padding - taps) // stride + 1
            pads.append((0, block * blocks - x.shape[2 + dim]))
            ends.append((self.skip[dim], positions - self.skip[dim] - blocks))
        x = F.pad(x, [n for pair in reversed(pads) for n in pair])
        for dim, block in enumerate(self.block):  # [n, channels, blocks, block, …]
            x = torch.unflatten(x, 2 + 2 * dim, (-1, block))
        dims = len(self.block)
        x = x.permute(0, 1, *range(3, 3 + 2 * dims, 2), *range(2, 2 + 2 * dims, 2)).flatten(1, 1 + dims)
        x = F.pad(x, [n for pair in reversed(ends) for n in pair])
        gradient = _WEIGHT_GRADIENTS[dims]
        return gradient(
            _channels_last(g), self.weight.shape, _channels_last(x), self.stride, self.padding, 1, self.groups
        )


def _channels_last(x: Tensor) -> Tensor:
    """Return a batch in the format in which oneDNN is fastest."""
    return x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x.contiguous()


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
    at = torch.unflatten(at, 0, (groups, -1)).transpose(1, 2).flatten(0, 1)
    for dim, (axis, (k, t, p, d)) in enumerate(zip(axes, geometry, strict=True)):
        reach = [[r + p - t * v for v in range(axis.first, axis.first + axis.taps)] for r in range(axis.block)]
        indices = [[j // d if j % d == 0 and 0 <= j // d < k else k for j in row] for row in reach]
        entries = torch.tensor(indices, device=cpu)
        along = 2 + 2 * dim
        padded = torch.cat([at, torch.full_like(at.narrow(along, 0, 1), zero)], along)
        at = torch.unflatten(padded.index_select(along, entries.flatten()), along, entries.shape)
    # [in, out, block, taps, block, taps, …] to [in * blocks, out, taps, taps, …]
    dims = len(axes)
    order = [0, *range(2, 2 + 2 * dims, 2), 1, *range(3, 3 + 2 * dims, 2)]
    return at.permute(order).flatten(0, dims).contiguous()


def block_kernel(weight: Tensor, geometry: Geometry, m: tuple[int, ...]) -> BlockKernel | None:
    """Return the forward convolution that pulls back through a convolution, in blocks of `m` strides.

    Args:
        weight: the convolution's own, `[out_channels, in_channels / groups, *kernel]`.
        geometry: the convolution's.
        m: how many strides long a block is, per axis; any choice gives the same numbers.

    Returns:
        The kernel, or None where more is padded than the kernel reaches.
    """
    axes = _axes(tuple(weight.shape[2:]), geometry, m)
    if axes is None:
        return None
    kernel = tuple(zip(weight.shape[2:], geometry.stride, geometry.padding, geometry.dilation, strict=True))
    entries = _entries(tuple(weight.shape), geometry.groups, axes, kernel).to(weight.device)
    return BlockKernel(
        weight=torch.cat([weight.reshape(-1), weight.new_zeros(1)]).take(entries),
        block=tuple(axis.block for axis in axes),
        stride=m,
        padding=tuple(axis.padding for axis in axes),
        skip=tuple(axis.skip for axis in axes),
        blocks=tuple(axis.blocks for axis in axes),
        groups=geometry.groups,
        input_size=geometry.input_size,
    )


def _axes(kernel: tuple[int, ...], geometry: Geometry, m: tuple[int, ...]) -> tuple[_Axis, ...] | None:
    """Return what the formula says for each axis, or None where it does not hold for one."""
    axes = [
        _Axis.of(blocks, n, size, k, t, p, d)
        for blocks, n, size, k, t, p, d in zip(
            m,
            geometry.input_size,
            geometry.output_size,
            kernel,
            geometry.stride,
            geometry.padding,
            geometry.dilation,
            strict=True,
        )
    ]
    return None if None in axes else tuple(axis for axis in axes if axis is not None)


def vector_lanes() -> int:
    """Return how many float32 numbers one instruction of this processor works on: 16 with AVX-512, else 8."""
    return 16 if torch.backends.cpu.get_cpu_capability() == "AVX512" else 8


def vector_filling_block(weight_shape: torch.Size, geometry: Geometry, lanes: int) -> tuple[int, ...] | None:
    """Return the block, in strides, that fills one vector with output channels, or None where none is faster.

    Measured on LeNet-5's first layer (1 channel, 5×5) with 640 cotangents, on two cores: blocks of 4×4 with AVX-512
    take 1.8 ms and blocks of 4×2 with AVX2 3.5 ms, where `convolution_backward` takes 50 and 68. With more channels
    than half a vector there is nothing to gain.

    Args:
        weight_shape: `[out_channels, in_channels, *kernel]`.
        geometry: of the convolution.
        lanes: of a vector; see `vector_lanes`.
    """
    in_channels = weight_shape[1]
    channels = in_channels * prod(geometry.stride)
    if channels > lanes // 2 or geometry.groups > 1:
        return None
    m = [1] * len(geometry.stride)
    axis = 0
    while 2 * channels * prod(m) <= lanes:
        m[axis % len(m)] *= 2
        axis += 1
    block = tuple(m)
    return block if _axes(tuple(weight_shape[2:]), geometry, block) is not None else None


def _weight_gradient(x: Tensor, g: Tensor, weight: Tensor, geometry: Geometry, block: tuple[int, ...]) -> Tensor:
    """Return the gradient of ⟨g, convolve(x, weight)⟩ = ⟨pull_back(g, weight), x⟩ with respect to the weight."""
    kernel = block_kernel(weight.detach(), geometry, block)
    axes = _axes(tuple(weight.shape[2:]), geometry, block)
    assert kernel is not None and axes is not None
    shape = tuple(zip(weight.shape[2:], geometry.stride, geometry.padding, geometry.dilation, strict=True))
    entries = _entries(tuple(weight.shape), geometry.groups, axes, shape).to(weight.device)
    flat = weight.new_zeros(weight.numel() + 1).index_add(0, entries.flatten(), kernel.weight_gradient(x, g).flatten())
    return flat[:-1].view(weight.shape)


def _pull_back(g: Tensor, weight: Tensor, geometry: Geometry, block: tuple[int, ...]) -> Tensor:
    kernel = block_kernel(weight, geometry, block)
    assert kernel is not None  # as `vector_filling_block` has found
    return kernel(g)


def fold(values: Tensor, dim: int) -> tuple[Tensor, int]:
    """Move a dimension that `vmap` adds into the batch: `[…, added, …]` to `[added * n, …]`, and how many it adds."""
    front = values.movedim(dim, 0)
    return front.flatten(0, 1), front.shape[0]


_only_inputs = ContextVar("_only_inputs", default=False)


@contextmanager
def gradients_of_inputs_only() -> Iterator[None]:
    """Within this context, backward passes compute no gradient of a weight.

    PyTorch does not tell a `Function` which of its gradients a call of `torch.autograd.grad` asks for.
    """
    token = _only_inputs.set(True)
    try:
        yield
    finally:
        _only_inputs.reset(token)


class BlockConvolution(torch.autograd.Function):
    """`geometry.convolve(x, weight, bias)`, whose pull-back to `x` runs as a forward convolution in blocks."""

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry, block: tuple[int, ...]) -> Tensor:
        """Convolve."""
        return geometry.convolve(x, weight, bias)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Keep what the derivatives need."""
        x, weight, _, ctx.geometry, ctx.block = inputs
        ctx.save_for_backward(x if weight.requires_grad else None, weight)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        """Pull a cotangent back."""
        x, weight = ctx.saved_tensors
        needs_x, needs_weight, needs_bias, *_ = ctx.needs_input_grad
        if _only_inputs.get():
            needs_weight = needs_bias = False
        # Only a result that is to be differentiated again needs a function that knows its own fast derivatives.
        pull_back = BlockPullBack.apply if torch.is_grad_enabled() else _pull_back
        return (
            pull_back(g, weight, ctx.geometry, ctx.block) if needs_x else None,
            _weight_gradient(x, g, weight, ctx.geometry, ctx.block) if needs_weight else None,
            g.sum([0, *range(2, g.ndim)]) if needs_bias else None,
            None,
            None,
        )

    @staticmethod
    def vmap(
        info: Any,
        in_dims: tuple[int | None, ...],
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        geometry: Geometry,
        block: tuple[int, ...],
    ) -> tuple[Tensor, int]:
        """Fold the added dimension of `x` into its batch."""
        x_dim, weight_dim, bias_dim, *_ = in_dims
        if weight_dim is not None or bias_dim is not None:  # weights that depend on the sample
            return torch.vmap(geometry.convolve, (x_dim, weight_dim, bias_dim))(x, weight, bias), 0
        folded, added = fold(x, x_dim or 0)
        return BlockConvolution.apply(folded, weight, bias, geometry, block).unflatten(0, (added, -1)), 0


class BlockPullBack(torch.autograd.Function):
    """The pull-back of a `BlockConvolution` as a step of its own, linear in the cotangent and in the weight."""

    @staticmethod
    def forward(g: Tensor, weight: Tensor, geometry: Geometry, block: tuple[int, ...]) -> Tensor:
        """Pull cotangents `[n, out_channels, *output_size]` back to `[n, in_channels, *input_size]`."""
        return _pull_back(g, weight, geometry, block)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Keep what the derivatives need."""
        g, weight, ctx.geometry, ctx.block = inputs
        ctx.save_for_backward(g if weight.requires_grad else None, weight)

    @staticmethod
    def backward(ctx: Any, x: Tensor) -> tuple[Tensor | None, ...]:
        """Return the derivatives of ⟨x, pull_back(g, weight)⟩ = ⟨convolve(x, weight), g⟩."""
        g, weight = ctx.saved_tensors
        needs_g, needs_weight, *_ = ctx.needs_input_grad
        needs_weight = needs_weight and not _only_inputs.get()
        return (
            BlockConvolution.apply(x, weight, None, ctx.geometry, ctx.block) if needs_g else None,
            _weight_gradient(x, g, weight, ctx.geometry, ctx.block) if needs_weight else None,
            None,
            None,
        )

    @staticmethod
    def vmap(
        info: Any,
        in_dims: tuple[int | None, ...],
        g: Tensor,
        weight: Tensor,
        geometry: Geometry,
        block: tuple[int, ...],
    ) -> tuple[Tensor, int]:
        """Fold the added dimension of `g` into its batch."""
        g_dim, weight_dim, *_ = in_dims
        if weight_dim is not None:
            pull_back = partial(_pull_back, geometry=geometry, block=block)
            return torch.vmap(pull_back, (g_dim, weight_dim))(g, weight), 0
        folded, added = fold(g, g_dim or 0)
        return BlockPullBack.apply(folded, weight, geometry, block).unflatten(0, (added, -1)), 0
