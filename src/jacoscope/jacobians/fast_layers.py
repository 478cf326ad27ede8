"""Layers whose pull-back PyTorch computes slowly on CPUs, carried out in another way while a Jacobian is computed.

The values of these layers are PyTorch's own, bitwise, and so are their derivatives up to rounding. Everything else in a
model is left to PyTorch.
"""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from .convolution import BlockConvolution, Geometry, vector_filling_block, vector_lanes
from .pooling import TiledPool, Window, places_of_maxima

Sizes = int | tuple[int, ...]
Slope = Callable[[Tensor], Tensor]

_FEW = 40
"""For fewer cotangents, entering the layers takes longer than they save (measured with LeNet-5)."""

_SLOPES: dict[Any, Slope] = dict.fromkeys((torch.tanh, Tensor.tanh), lambda y: 1 - y * y) | dict.fromkeys(
    (torch.relu, F.relu, Tensor.relu), lambda y: (~(y <= 0)).to(y.dtype)
)
"""Activations, and their derivatives as functions of their values."""


class Activated(NamedTuple):
    """The result of an activation, its input, and the activation's derivative as a function of the result."""

    y: Tensor
    x: Tensor
    slope: Slope


def fast_layers(cotangents: int) -> AbstractContextManager[Any]:
    """Return the context in which to carry out a forward pass, if so many cotangents are pulled back at a time."""
    return FastLayers() if cotangents >= _FEW else nullcontext()


class FastLayers(TorchFunctionMode):
    """Within this context, convolutions with few channels, poolings that tile the image, also together with an
    activation before them, and batch normalisation have a fast pull-back.

    Which ones is decided by their geometry, type and device and by the vector width of the processor alone, so that
    equal calls give equal numbers.
    """

    def __init__(self) -> None:
        super().__init__()
        self._activated: Activated | None = None
        """The call just before this one, if it was an activation."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs, before, self._activated = kwargs or {}, self._activated, None
        if func in _LAYERS and (fast := _LAYERS[func](before, *args, **kwargs)) is not None:
            return fast
        result = func(*args, **kwargs)
        if func in _SLOPES and args and result is not args[0] and result.requires_grad:  # neither in place nor detached
            self._activated = Activated(result, args[0], _SLOPES[func])
        return result


def _convolution(
    before: Activated | None,  # noqa: ARG001 - as all layers take it
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
    geometry = Geometry.of(tuple(weight.shape[2:]), tuple(input.shape[2:]), stride, padding, dilation, groups)
    block = vector_filling_block(weight.shape[1], geometry, vector_lanes())
    return None if block is None else _applied(BlockConvolution, input, weight, bias, geometry, block)


def _average_pool(
    before: Activated | None,
    input: Tensor,  # noqa: A002
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    ceil_mode: bool = False,  # noqa: ARG001 - windows that tile the image leave nothing to round
    count_include_pad: bool = True,  # noqa: ARG001 - nothing is padded
    divisor_override: int | None = None,
) -> Tensor | None:
    window = None if divisor_override else _tiling(input, kernel_size, stride, padding)
    if window is None:
        return None
    x, slope = _with_activation(input, before)
    return _applied(TiledPool, x, F.avg_pool2d(input.detach(), window), slope, window, 1 / (window[0] * window[1]))


def _maximum_pool(
    before: Activated | None,
    input: Tensor,  # noqa: A002
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    dilation: Sizes = 1,
    ceil_mode: bool = False,  # noqa: ARG001
    return_indices: bool = False,
) -> Tensor | None:
    window = None if return_indices else _tiling(input, kernel_size, stride, padding)
    if window is None or _per_axis(dilation, 2) != (1, 1):
        return None
    x, slope = _with_activation(input, before)
    pooled, places = F.max_pool2d(input.detach(), window, return_indices=True)
    maxima = places_of_maxima(input.detach(), places)
    return _applied(TiledPool, x, pooled, maxima if slope is None else maxima * slope, window, 1.0)


def _with_activation(y: Tensor, before: Activated | None) -> tuple[Tensor, Tensor | None]:
    """Return what a pooling of `y` is differentiated with respect to, and the slope of `y` with respect to it.

    If `y` is the result of an activation, that is the activation's input: both are differentiated as one. Otherwise it
    is `y` itself, and the slope is None.
    """
    return (before.x, before.slope(y)) if before is not None and before.y is y else (y, None)


class ChannelScaling(torch.autograd.Function):
    """`batch_norm(x, mean, variance, weight, bias, training=False, eps=eps)`, of a mean and a weight that are fixed."""

    generate_vmap_rule = True

    @staticmethod
    def forward(
        x: Tensor, mean: Tensor, variance: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
    ) -> Tensor:
        return F.batch_norm(x, mean, variance, weight, bias, training=False, eps=eps)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, _, variance, weight, _, eps = inputs
        scale = (variance + eps).rsqrt()
        ctx.save_for_backward((scale if weight is None else scale * weight).view(-1, *[1] * (x.ndim - 2)))

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        return g * ctx.saved_tensors[0], None, None, None, None, None


def _batch_norm(
    before: Activated | None,  # noqa: ARG001
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
    F.avg_pool2d: _average_pool,
    F.max_pool2d: _maximum_pool,
    torch.max_pool2d: _maximum_pool,
    F.batch_norm: _batch_norm,
}
"""The layers, and the functions that carry them out in a fast way, or return None where PyTorch's way is to be taken.

Each takes the activation just before it, if there was one, and the arguments of the layer.
"""


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


def _tiling(x: Tensor, kernel_size: Sizes, stride: Sizes | None, padding: Sizes) -> Window | None:
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
