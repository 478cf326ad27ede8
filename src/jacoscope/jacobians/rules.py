"""Pull-backs of single steps of the forward pass, for K cotangents at once.

A rule takes a `Step` and returns one cotangent for each input of the step, or None where the node itself should do it.
Rules read what autograd saved for the node (its `_saved_…` attributes), so they see exactly the forward pass that ran,
and leave everything unusual to the node: results are PyTorch's own derivatives, kinks included.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from .convolution import LANES, BlockKernel, Convolution, block_kernel, split, vector_filling_blocks
from .cotangents import Cotangent

Edges = Sequence[tuple[Any, int]]
Results = Sequence[Cotangent | None]


@dataclass
class Kept:
    """What is kept for the chunks of one call: rearranged weights, and what is known of the nodes."""

    made: dict[tuple[Any, ...], tuple[Tensor, Any]] = field(default_factory=dict)
    before: dict[tuple[Any, ...], tuple[Tensor, Any]] = field(default_factory=dict)
    """What was made for the chunk before this one."""
    batched: dict[str, bool] = field(default_factory=dict)
    """Whether a node of this name may be batched by vmap, where that has been found out."""

    def get(self, weight: Tensor, purpose: Any, make: Callable[[], Any]) -> Any:
        """What `make` returns, made once for this weight and purpose."""
        key = (weight.data_ptr(), weight._version, weight.shape, weight.stride(), weight.dtype, purpose)
        if key not in self.made:
            # The weight is kept too: as long as it lives, no other tensor has its address.
            self.made[key] = self.before.get(key) or (weight, make())
        return self.made[key][1]

    def forget_unused(self) -> None:
        """Begin a chunk: weights that each forward pass makes anew, as parametrisations do, would pile up."""
        self.before, self.made = self.made, {}


@dataclass(frozen=True)
class Step:
    """One node of the graph, with the cotangents that arrive at it."""

    node: Any
    edges: Edges
    """The nodes whose outputs are its inputs, with the number of the output; as `node.next_functions`."""
    cotangent: Cotangent
    needs: list[bool]
    kept: Kept

    def saved(self, name: str) -> Any:
        """What autograd saved under this name, detached."""
        value = getattr(self.node, f"_saved_{name}")
        return value.detach() if isinstance(value, Tensor) else value

    def input_shape(self, place: int) -> tuple[int, ...]:
        """Shape of an input of the step, which is that of an output of the node before it."""
        node, number = self.edges[place]
        return tuple(node._input_metadata[number].shape)

    def only(self, place: int, result: Cotangent) -> list[Cotangent | None]:
        """Results where one input alone leads to x."""
        return [result if i == place else None for i in range(len(self.needs))]

    def needs_only(self, place: int) -> bool:
        """Whether this input of the step is the only one that leads to x."""
        return self.needs[place] and sum(self.needs) == 1


def _pointwise(step: Step) -> Results | None:
    """y = f(x) entry by entry: every cotangent is multiplied by f'(x), which the node gives for a cotangent of ones."""
    shape = step.cotangent.shape
    place = step.needs.index(True)
    if not step.needs_only(place) or step.input_shape(place) != shape:
        return None
    base = step.cotangent.base
    derivatives = step.node(torch.ones(shape, dtype=base.dtype, device=base.device))
    derivative = derivatives[place] if isinstance(derivatives, tuple) else derivatives
    if derivative.dtype != base.dtype:
        return None
    return step.only(place, step.cotangent.times(derivative))


def _scaling(step: Step) -> Results | None:
    """Multiplication or division by something that does not depend on x."""
    shape = step.cotangent.shape
    if not step.needs_only(0) or step.input_shape(0) != shape:
        return None
    other = step.saved("other")
    if not isinstance(other, Tensor) or other.dtype != step.cotangent.base.dtype:
        return _pointwise(step)
    if step.node.name().startswith("Div"):
        other = other.new_ones(()) / other  # not its reciprocal(), which is a float32 where it was a number of Python's
    return step.only(0, step.cotangent.times(other))


def _sum(step: Step) -> Results | None:
    """x + y and x − α: the cotangent itself goes to every summand of its shape."""
    shape = step.cotangent.shape
    alpha = step.saved("alpha") if hasattr(step.node, "_saved_alpha") else 1
    for place, need in enumerate(step.needs):
        if need and (step.input_shape(place) != shape or (place == 1 and (alpha != 1 or "Sub" in step.node.name()))):
            return None
    return [step.cotangent if need else None for need in step.needs]


def _identity(step: Step) -> Results | None:
    return step.only(0, step.cotangent)


def _reshape(step: Step) -> Results | None:
    """A view of the same entries in the same order."""
    return step.only(0, step.cotangent.viewed(step.input_shape(0)))


def _matmul(step: Step) -> Results | None:
    """y = x W (+ b): pulls back to cotangent Wᵀ."""
    place = 1 if step.node.name().startswith("Addmm") else 0
    if not step.needs_only(place) or (place == 1 and step.saved("alpha") != 1):
        return None
    W = step.saved("mat2")
    dense = step.cotangent.dense()
    if W is None or dense.ndim != 3 or W.dtype != dense.dtype:
        return None
    if dense.stride(1) == 0:  # the same for every sample, as after the last layer
        once = dense[:, 0] @ W.t()
        return step.only(place, Cotangent(once.unsqueeze(1).expand(-1, dense.shape[1], -1)))
    return step.only(place, Cotangent(dense, matrix=W.t(), view=(dense.shape[1], len(W))))


def _softmax(step: Step) -> Results | None:
    """p = softmax(x): pulls back to p ⊙ (g − ⟨g, p⟩); log-softmax to g − p Σ g."""
    p = step.saved("result")
    dim = step.saved("dim")
    dim = dim - 2**64 if dim >= 2**63 else dim  # autograd stores it as an unsigned number
    dim = dim + p.ndim if dim < 0 else dim
    g = step.cotangent.dense()
    if g.dtype != p.dtype:
        return None
    if step.node.name().startswith("Log"):
        result = torch.addcmul(g, p.exp(), g.sum(dim + 1, keepdim=True), value=-1)
    else:
        result = (g - (g * p).sum(dim + 1, keepdim=True)).mul_(p)
    return step.only(0, Cotangent(result, owned=True))


def _average_pool(step: Step) -> Results | None:
    """Average over windows that do not overlap: copies to the window, over its size."""
    window = _tiling(step)
    if window is None or step.saved("divisor_override") is not None:
        return None
    area = window[0] * window[1]
    base = step.cotangent.base
    share = torch.full((1,) * len(step.cotangent.shape), 1 / area, dtype=base.dtype, device=base.device)
    return step.only(0, step.cotangent.spread(window, share))


def _max_pool(step: Step) -> Results | None:
    """Maximum over windows that do not overlap: copies to the window, times a mask of the chosen entries."""
    window = _tiling(step)
    if window is None or step.saved("dilation") != (1, 1):
        return None
    chosen = step.saved("result1")
    shape = step.input_shape(0)
    mask = torch.zeros(shape, dtype=step.cotangent.base.dtype, device=chosen.device).flatten(-2)
    mask = mask.scatter_(-1, chosen.flatten(-2), 1).view(shape)
    return step.only(0, step.cotangent.spread(window, mask))


def _tiling(step: Step) -> tuple[int, ...] | None:
    """The window of a pooling whose windows tile the image exactly, else None."""
    window = tuple(step.saved("kernel_size"))
    stride = tuple(step.saved("stride")) or window
    height, width = step.input_shape(0)[-2:]
    if stride != window or any(step.saved("padding")) or height % window[0] or width % window[1]:
        return None
    return window


def _mean(step: Step) -> Results | None:
    """The mean over some dimensions: the same share for every entry."""
    shape = step.input_shape(0)
    dims = sorted({(d - 2**64 if d >= 2**63 else d) % len(shape) for d in step.saved("dim")})
    dense = step.cotangent.dense()
    count = 1
    for d in dims:
        count *= shape[d]
        if not step.saved("keepdim"):
            dense = dense.unsqueeze(d + 1)
    if not dims or count == 0:
        return None
    return step.only(0, Cotangent((dense / count).expand(-1, *shape)))


def _batch_norm(step: Step) -> Results | None:
    """In evaluation mode, a scaling of every channel."""
    if step.saved("training") or not step.needs_only(0):
        return None
    variance, weight = step.saved("running_var"), step.saved("weight")
    epsilon = step.saved("eps" if step.node.name().startswith("Native") else "epsilon")
    scale = (variance + epsilon).rsqrt()
    if weight is not None:
        scale = scale * weight
    if scale.dtype != step.cotangent.base.dtype:
        return None
    return step.only(0, step.cotangent.times(scale.view(-1, *[1] * (len(step.cotangent.shape) - 2))))


def _convolution(step: Step) -> Results | None:
    """y = w * x: pulls back by the transposed convolution; a transposed one by the plain one."""
    shape, weight = step.input_shape(0), step.saved("weight")
    if not step.needs_only(0) or weight is None or weight.is_mkldnn:
        return None
    dense = step.cotangent.dense()
    if dense.dtype != weight.dtype or dense.ndim != weight.ndim + 1:
        return None
    conv = Convolution(
        tuple(step.saved("stride")),
        tuple(step.saved("padding")),
        tuple(step.saved("dilation")),
        step.saved("groups"),
        shape[2:],
        tuple(dense.shape[3:]),
    )
    leading = tuple(dense.shape[:2])
    g = dense.flatten(0, 1)
    if step.saved("transposed"):
        back = _convolve(g, weight, conv, transposed=False, extra=(0,) * len(conv.stride))
        return step.only(0, Cotangent(split(back, 0, leading), owned=True)) if back.shape[1:] == shape[1:] else None
    if g.device.type == "cpu" and g.dtype == torch.float32:
        # For few cotangents, arranging the kernel would take longer than it saves, but for the thinnest layers.
        m = vector_filling_blocks(shape[1], conv) if len(g) >= 4 * LANES or shape[1] < LANES // 4 else None
        kernel: BlockKernel | None = None
        if m is not None:
            kernel = step.kept.get(weight, (conv, m), lambda: block_kernel(weight, conv, m))
        if kernel is not None:
            blocks = split(kernel(g), 0, leading)
            return step.only(0, Cotangent(blocks, True, None, kernel.block, conv.input_size))
        if weight.ndim == 4 and conv.groups == 1 and min(weight.shape[:2]) >= LANES and g[0, 0].numel() > LANES:
            # oneDNN need not rearrange channels-last cotangents; it would, for each of the K, there and back.
            g = g.contiguous(memory_format=torch.channels_last)
            weight = step.kept.get(
                weight, "channels_last", lambda: weight.contiguous(memory_format=torch.channels_last)
            )
    extra = tuple(
        n - ((o - 1) * t - 2 * p + d * (k - 1) + 1)
        for n, o, k, t, p, d in zip(
            conv.input_size, conv.output_size, weight.shape[2:], conv.stride, conv.padding, conv.dilation, strict=True
        )
    )
    back = _convolve(g, weight, conv, transposed=True, extra=extra)
    return step.only(0, Cotangent(split(back, 0, leading), owned=True))


def _convolve(g: Tensor, weight: Tensor, conv: Convolution, *, transposed: bool, extra: tuple[int, ...]) -> Tensor:
    result: Tensor = torch.ops.aten.convolution(
        g, weight, None, conv.stride, conv.padding, conv.dilation, transposed, extra, conv.groups
    )
    return result


_POINTWISE = [
    *["Tanh", "Sigmoid", "Relu", "Threshold", "LeakyRelu", "Elu", "Gelu", "Silu", "Mish", "Softplus", "LogSigmoid"],
    *["Hardtanh", "Hardswish", "Hardsigmoid", "Clamp", "Abs", "Neg", "Reciprocal", "Pow", "Sqrt", "Rsqrt"],
    *["Exp", "Expm1", "Log", "Log1P", "Sin", "Cos", "Erf"],
]
_RESHAPES = ["View", "UnsafeView", "ReshapeAlias", "Unsqueeze", "Squeeze"]

RULES: dict[str, Callable[[Step], Results | None]] = {
    **{f"{name}Backward{version}": _pointwise for name in _POINTWISE for version in range(3)},
    **{f"{name}Backward{version}": _reshape for name in _RESHAPES for version in range(4)},
    "MulBackward0": _scaling,
    "DivBackward0": _scaling,
    "AddBackward0": _sum,
    "AddBackward1": _sum,
    "SubBackward0": _sum,
    "SubBackward1": _sum,
    "CloneBackward0": _identity,
    "AliasBackward0": _identity,
    "AddmmBackward0": _matmul,
    "MmBackward0": _matmul,
    "SoftmaxBackward0": _softmax,
    "LogSoftmaxBackward0": _softmax,
    "AvgPool2DBackward0": _average_pool,
    "MaxPool2DWithIndicesBackward0": _max_pool,
    "MeanBackward1": _mean,
    "NativeBatchNormBackward0": _batch_norm,
    "CudnnBatchNormBackward0": _batch_norm,
    "MiopenBatchNormBackward0": _batch_norm,
    "ConvolutionBackward0": _convolution,
}
"""The rules, by the name of autograd's node."""
