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

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from math import prod
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.grad import conv1d_weight, conv2d_weight

Sizes = tuple[int, ...]
"""A number for each spatial dimension."""
_CONVOLUTIONS: dict[int, Callable[..., Tensor]] = {1: F.conv1d, 2: F.conv2d}
"""By the number of spatial dimensions."""
_WEIGHT_GRADIENTS: dict[int, Callable[..., Tensor]] = {1: conv1d_weight, 2: conv2d_weight}


class Geometry(NamedTuple):
    """The geometry of a convolution."""

    kernel: Sizes
    stride: Sizes
    padding: Sizes
    dilation: Sizes
    groups: int
    input_size: Sizes
    """Spatial size of the input of the convolution, which is what is pulled back to."""
    output_size: Sizes

    @classmethod
    def of(
        cls, kernel: Sizes, input_size: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int
    ) -> "Geometry":
        """Return the geometry, with the size of the output that follows from the others."""
        reach = zip(input_size, kernel, stride, padding, dilation, strict=True)
        output_size = tuple((n + 2 * p - d * (k - 1) - 1) // t + 1 for n, k, t, p, d in reach)
        return cls(kernel, stride, padding, dilation, groups, input_size, output_size)

    def convolve(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """Return the convolution of `x`, `[n, in_channels, *input_size]`."""
        convolution = _CONVOLUTIONS[len(self.stride)]
        return convolution(x, weight, bias, self.stride, self.padding, self.dilation, self.groups)


class _Axis(NamedTuple):
    """What the formula says for one axis."""

    block: int
    """The length s of a block."""
    first: int
    """The smallest v."""
    taps: int
    """How many v there are."""
    padding: int
    """Of the cotangents, at both ends."""
    skip: int
    """Blocks before the first position; they come of padding symmetrically."""
    blocks: int
    """That are kept."""

    @classmethod
    def of(cls, m: int, geometry: Geometry, axis: int) -> "_Axis":
        """For blocks of `m` strides along an axis of a convolution; the padding may come out negative."""
        k, t, p, d = (each[axis] for each in (geometry.kernel, geometry.stride, geometry.padding, geometry.dilation))
        n, size = geometry.input_size[axis], geometry.output_size[axis]
        s = t * m
        first = -((d * (k - 1) - p) // t)
        taps = (s - 1 + p) // t - first + 1
        blocks = -(-n // s)
        # What the last block reaches for beyond the end must be padded too, and padding is symmetric: pad the
        # front by whole blocks, and skip them.
        beyond = m * (blocks - 1) + first + taps - size
        skip = max(0, -(-(beyond + first) // m))
        return cls(s, first, taps, m * skip - first, skip, blocks)


@lru_cache(maxsize=256)
def _axes(geometry: Geometry, m: Sizes) -> tuple[_Axis, ...] | None:
    """Return what the formula says for each axis, or None where more is padded than the kernel reaches."""
    axes = tuple(_Axis.of(of_axis, geometry, axis) for axis, of_axis in enumerate(m))
    return None if any(axis.first > 0 for axis in axes) else axes


@lru_cache(maxsize=256)
def _entries(shape: Sizes, geometry: Geometry, axes: tuple[_Axis, ...]) -> Tensor:
    """Return which entry of the flattened kernel, one zero appended, stands where in the kernel by blocks.

    A kernel of 3 entries, pulled back in blocks of 2: x[2q + r] = Σ_v g[2q + v] w[r - v] with v from -2 to 1, so the
    first position of a block takes w[2], w[1], w[0] and the zero, which is number 3:

    >>> geometry = Geometry.of(kernel=(3,), input_size=(6,), stride=(1,), padding=(0,), dilation=(1,), groups=1)
    >>> _entries((1, 1, 3), geometry, _axes(geometry, (2,))).squeeze(1)
    tensor([[2, 1, 0, 3],
            [3, 2, 1, 0]])
    """
    zero = prod(shape)
    cpu = torch.device("cpu")  # whatever the default device is while this is made: it is kept
    at = torch.arange(zero, device=cpu).view(shape)
    at = torch.unflatten(at, 0, (geometry.groups, -1)).transpose(1, 2).flatten(0, 1)
    kernel, stride, padding, dilation, *_ = geometry
    for dim, (axis, k, t, p, d) in enumerate(zip(axes, kernel, stride, padding, dilation, strict=True)):
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


def pull_back(g: Tensor, weight: Tensor, geometry: Geometry, m: Sizes) -> Tensor:
    """Pull cotangents of a convolution back by a forward convolution, in blocks of `m` strides.

    Args:
        g: `[n, out_channels, *output_size]`.
        weight: the convolution's own, `[out_channels, in_channels / groups, *kernel]`.
        geometry: the convolution's.
        m: how many strides long a block is, along each axis. Every block that `can_pull_back` allows gives the same
            numbers.

    Returns:
        `[n, in_channels, *input_size]`.
    """
    axes = _axes(geometry, m)
    assert axes is not None, "see can_pull_back"
    entries = _entries(tuple(weight.shape), geometry, axes).to(weight.device)
    by_blocks = torch.cat([weight.reshape(-1), weight.new_zeros(1)])[entries]
    out = _CONVOLUTIONS[len(m)](g, by_blocks, None, m, tuple(axis.padding for axis in axes), 1, geometry.groups)
    for dim, axis in enumerate(axes, start=2):
        out = out.narrow(dim, axis.skip, axis.blocks)
    out = torch.unflatten(out, 1, (-1, *(axis.block for axis in axes)))  # [n, channels, *block, *blocks]
    pairs = [axis for dim in range(2, 2 + len(axes)) for axis in (dim + len(axes), dim)]
    out = out.permute(0, 1, *pairs).reshape(*out.shape[:2], *(axis.block * axis.blocks for axis in axes))
    for dim, size in enumerate(geometry.input_size, start=2):  # the last block may reach beyond the end
        out = out.narrow(dim, 0, size)
    return out


def weight_gradient(x: Tensor, g: Tensor, weight: Tensor, geometry: Geometry, m: Sizes) -> Tensor:
    """Return the gradient of ⟨g, convolve(x, weight)⟩ = ⟨pull_back(g, weight), x⟩ with respect to the weight.

    `torch.nn.grad.conv2d_weight` of the convolution itself gives the same, but a step with `create_graph=True` took 4
    to 23 % longer with it (LeNet-5, batch 100, one and two threads, AVX-512 and AVX2).

    Args:
        x: `[n, in_channels, *input_size]`.
        g: `[n, out_channels, *output_size]`.
        weight: as for `pull_back`, and so are `geometry` and `m`.
    """
    axes = _axes(geometry, m)
    assert axes is not None, "see can_pull_back"
    entries = _entries(tuple(weight.shape), geometry, axes).to(weight.device)
    dims, ends = len(axes), []
    pads = [(0, axis.block * axis.blocks - size) for axis, size in zip(axes, geometry.input_size, strict=True)]
    x = F.pad(x, [n for pair in reversed(pads) for n in pair])
    for dim, (axis, size) in enumerate(zip(axes, geometry.output_size, strict=True)):
        x = torch.unflatten(x, 2 + 2 * dim, (-1, axis.block))  # [n, channels, blocks, block, …]
        positions = (size + 2 * axis.padding - axis.taps) // m[dim] + 1
        ends.append((axis.skip, positions - axis.skip - axis.blocks))
    x = x.permute(0, 1, *range(3, 3 + 2 * dims, 2), *range(2, 2 + 2 * dims, 2)).flatten(1, 1 + dims)
    x = F.pad(x, [n for pair in reversed(ends) for n in pair])
    padding = tuple(axis.padding for axis in axes)
    of_blocks = _WEIGHT_GRADIENTS[dims](
        _channels_last(g), entries.shape, _channels_last(x), m, padding, 1, geometry.groups
    )
    flat = weight.new_zeros(weight.numel() + 1).index_add(0, entries.flatten(), of_blocks.flatten())
    return flat[:-1].view(weight.shape)


def _channels_last(x: Tensor) -> Tensor:
    """Return a batch in the format in which oneDNN is fastest."""
    return x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x.contiguous()


def can_pull_back(geometry: Geometry, m: Sizes) -> bool:
    """Return whether blocks of `m` strides are possible: not where more is padded than the kernel reaches."""
    return _axes(geometry, m) is not None


def vector_lanes() -> int:
    """Return how many float32 numbers one instruction of this processor works on: 16 with AVX-512, else 8."""
    return 16 if torch.backends.cpu.get_cpu_capability() == "AVX512" else 8


@lru_cache(maxsize=256)
def vector_filling_block(in_channels: int, geometry: Geometry, lanes: int) -> Sizes | None:
    """Return the block, in strides, that fills vectors with output channels, or None where none is faster.

    Measured on two cores, for 320 cotangents, in milliseconds, and `convolution_backward` for comparison. LeNet-5's
    first layer, 1 channel and 5×5: with AVX-512 1.0 in blocks of 4×4, and 24.7; with AVX2 1.7 in blocks of 8×2, and
    10.2. Its second, 6 channels: with AVX-512 1.4 in blocks of 2×1, and 2.0; with AVX2 5.7, and 1.8. So there is
    something to gain up to half a vector of 16, but only up to a quarter of one of 8. With AVX2, convolutions of a
    stride beyond 2 along a row are slow.

    Args:
        in_channels: of a group.
        geometry: of the convolution.
        lanes: of a vector; see `vector_lanes`.
    """
    channels = in_channels * prod(geometry.stride)
    if channels > (8 if lanes == 16 else 2) or geometry.groups > 1:
        return None
    m = [1] * len(geometry.stride)
    for axis in (0, 0, 0) if len(m) == 1 else (0, 1, 0, 1) if lanes == 16 else (0, 1, 0, 0):
        if 2 * channels * prod(m) <= 16:
            m[axis] *= 2
    return tuple(m) if can_pull_back(geometry, tuple(m)) else None


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


def _folded(
    step: type[torch.autograd.Function], plain: Callable[..., Tensor], in_dims: Sequence[Any], *given: Any
) -> tuple[Tensor, int]:
    """Apply a step under `vmap`: fold the added dimension into the batch, over which a weight's gradient is summed.

    Args:
        step: takes a batch and weights that every sample shares.
        plain: does the same, for weights that depend on the sample.
        in_dims: where the added dimension is: of the batch, of each weight, and of what is no tensor.
        given: the arguments.
    """
    batch, *rest = given
    if any(dim is not None for dim, one in zip(in_dims[1:], rest, strict=True) if isinstance(one, Tensor)):
        return torch.vmap(plain, tuple(in_dims))(*given), 0
    front = batch.movedim(in_dims[0] or 0, 0)
    return torch.unflatten(step.apply(front.flatten(0, 1), *rest), 0, (len(front), -1)), 0


class BlockConvolution(torch.autograd.Function):
    """`geometry.convolve(x, weight, bias)`, whose pull-back to `x` runs as a forward convolution in blocks."""

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry, m: Sizes) -> Tensor:
        return geometry.convolve(x, weight, bias)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, weight, _, ctx.geometry, ctx.m = inputs
        ctx.save_for_backward(x if weight.requires_grad else None, weight)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        needs_x, needs_weight, needs_bias, *_ = ctx.needs_input_grad
        if _only_inputs.get():
            needs_weight = needs_bias = False
        # Only a result that is to be differentiated again needs a function that knows its own fast derivatives.
        pull = BlockPullBack.apply if torch.is_grad_enabled() else pull_back
        return (
            pull(g, weight, ctx.geometry, ctx.m) if needs_x else None,
            weight_gradient(x, g, weight, ctx.geometry, ctx.m) if needs_weight else None,
            g.sum([0, *range(2, g.ndim)]) if needs_bias else None,
            None,
            None,
        )

    @staticmethod
    def vmap(info: Any, in_dims: Sequence[Any], *given: Any) -> tuple[Tensor, int]:
        return _folded(BlockConvolution, BlockConvolution.forward, in_dims, *given)


class BlockPullBack(torch.autograd.Function):
    """The pull-back of a `BlockConvolution` as a step of its own, linear in the cotangent and in the weight.

    Without it PyTorch would differentiate the steps of `pull_back`, and a step with `create_graph=True` took 24 to 36 %
    longer.
    """

    @staticmethod
    def forward(g: Tensor, weight: Tensor, geometry: Geometry, m: Sizes) -> Tensor:
        """Pull cotangents `[n, out_channels, *output_size]` back to `[n, in_channels, *input_size]`."""
        return pull_back(g, weight, geometry, m)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        g, weight, ctx.geometry, ctx.m = inputs
        ctx.save_for_backward(g if weight.requires_grad else None, weight)

    @staticmethod
    def backward(ctx: Any, x: Tensor) -> tuple[Tensor | None, ...]:
        """Return the derivatives of ⟨x, pull_back(g, weight)⟩ = ⟨convolve(x, weight), g⟩."""
        g, weight = ctx.saved_tensors
        needs_g, needs_weight, *_ = ctx.needs_input_grad
        needs_weight = needs_weight and not _only_inputs.get()
        return (
            BlockConvolution.apply(x, weight, None, ctx.geometry, ctx.m) if needs_g else None,
            weight_gradient(x, g, weight, ctx.geometry, ctx.m) if needs_weight else None,
            None,
            None,
        )

    @staticmethod
    def vmap(info: Any, in_dims: Sequence[Any], *given: Any) -> tuple[Tensor, int]:
        return _folded(BlockPullBack, pull_back, in_dims, *given)
