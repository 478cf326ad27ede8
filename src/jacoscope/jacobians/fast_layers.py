"""Layers whose pull-back PyTorch computes slowly on CPUs, carried out in another way while a Jacobian is computed.

The values of these layers are PyTorch's own, bitwise, and so are their derivatives up to rounding. Everything else in a
model is left to PyTorch.
"""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from .convolution import BlockConvolution, Geometry, vector_filling_block, vector_lanes
from .normalization import ChannelScaling
from .pooling import AveragePool, MaximumPool

Sizes = int | tuple[int, ...]


_FEW = 64
"""For fewer cotangents, entering the layers takes longer than they save (measured with LeNet-5)."""


def fast_layers(cotangents: int) -> AbstractContextManager[Any]:
    """Return the context in which to carry out a forward pass, if so many cotangents are pulled back at a time."""
    return FastLayers() if cotangents >= _FEW else nullcontext()


class FastLayers(TorchFunctionMode):
    """Within this context, convolutions with few channels, poolings that tile the image and batch normalisation have a
    fast pull-back.

    Which ones is decided by their geometry, type and device and by the vector width of the processor alone, so that
    equal calls give equal numbers.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run a function of PyTorch, by a fast layer if there is one."""
        kwargs = kwargs or {}
        layer = _LAYERS.get(func)
        result = None if layer is None else layer(*args, **kwargs)
        return func(*args, **kwargs) if result is None else result


def _convolution(
    input: Tensor,  # noqa: A002 - named as in torch
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Sizes = 1,
    padding: Sizes | str = 0,
    dilation: Sizes = 1,
    groups: int = 1,
) -> Tensor | None:
    dims = weight.ndim - 2
    if not _is_plain(input, dims + 2) or weight.dtype != input.dtype or isinstance(padding, str):
        return None
    stride, padding, dilation = _per_axis(stride, dims), _per_axis(padding, dims), _per_axis(dilation, dims)
    size = tuple(input.shape[2:])
    reach = zip(size, weight.shape[2:], stride, padding, dilation, strict=True)
    output_size = tuple((n + 2 * p - d * (k - 1) - 1) // t + 1 for n, k, t, p, d in reach)
    geometry = Geometry(stride, padding, dilation, groups, size, output_size)
    block = vector_filling_block(weight.shape, geometry, vector_lanes())
    return None if block is None else _applied(BlockConvolution, input, weight, bias, geometry, block)


def _average_pool(
    input: Tensor,  # noqa: A002
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    ceil_mode: bool = False,  # noqa: ARG001 - windows that tile the image leave nothing to round
    count_include_pad: bool = True,  # noqa: ARG001 - nothing is padded
    divisor_override: int | None = None,
) -> Tensor | None:
    window = _tiling(input, kernel_size, stride, padding)
    return None if window is None or divisor_override else _applied(AveragePool, input, window)


def _maximum_pool(
    input: Tensor,  # noqa: A002
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    dilation: Sizes = 1,
    ceil_mode: bool = False,  # noqa: ARG001
    return_indices: bool = False,
) -> Tensor | None:
    window = _tiling(input, kernel_size, stride, padding)
    if window is None or return_indices or _per_axis(dilation, 2) != (1, 1):
        return None
    values: Tensor = MaximumPool.apply(input, window)[0]
    return values


def _batch_norm(
    input: Tensor,  # noqa: A002
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,  # noqa: ARG001 - statistics are fixed in evaluation mode
    eps: float = 1e-5,
) -> Tensor | None:
    fixed = (running_mean, running_var, weight, bias)
    if training or running_mean is None or not _is_plain(input, input.ndim):
        return None
    if any(t is not None and (t.requires_grad or t.dtype != input.dtype) for t in fixed):
        return None
    return _applied(ChannelScaling, input, *fixed, eps)


_LAYERS: dict[Any, Callable[..., Tensor | None]] = {
    F.conv1d: _convolution,
    F.conv2d: _convolution,
    F.batch_norm: _batch_norm,
    F.avg_pool2d: _average_pool,
    F.max_pool2d: _maximum_pool,
    torch.max_pool2d: _maximum_pool,
}


def _applied(layer: type[torch.autograd.Function], *given: Any) -> Tensor:
    result: Tensor = layer.apply(*given)
    return result


def _is_plain(x: Tensor, ndim: int) -> bool:
    return (
        isinstance(x, Tensor)
        and x.device.type == "cpu"
        and x.dtype == torch.float32
        and x.ndim == ndim
        and x.layout is torch.strided
        and not torch.is_autocast_enabled("cpu")
    )


def _tiling(x: Tensor, kernel_size: Sizes, stride: Sizes | None, padding: Sizes) -> tuple[int, int] | None:
    """Return the window of a pooling whose windows tile the image exactly, else None."""
    if not _is_plain(x, 4):
        return None
    rows, columns = _per_axis(kernel_size, 2)
    is_tiled = not (x.shape[-2] % rows or x.shape[-1] % columns or any(_per_axis(padding, 2)))
    steps = _per_axis(stride, 2) if stride else (rows, columns)
    return (rows, columns) if is_tiled and steps == (rows, columns) else None


def _per_axis(sizes: Sizes | Iterable[int], dims: int) -> tuple[int, ...]:
    given = (sizes,) if isinstance(sizes, int) else tuple(sizes)
    return given * dims if len(given) == 1 else given
