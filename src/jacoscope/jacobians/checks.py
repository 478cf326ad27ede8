"""Checks of models, inputs and outputs; each error says what would work instead."""

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Literal

import torch
from torch import Tensor, nn

from .diagnosis import coarsest_type
from .errors import JacobianError, NonFiniteJacobianError, WrongDerivativesError
from .purity import Model, unwrapped
from .strategies import STRATEGIES, Function, forward

ChunkSize = int | Literal["auto"] | None


def check_inputs(
    model: Model,
    x: Tensor,
    strategy: str = "auto",
    chunk_size: ChunkSize = "auto",
    budget: int | None = None,
    create_graph: bool = False,
) -> None:
    """Refuse what has no Jacobian of this form, in words that say what would work."""
    if not callable(model):
        raise JacobianError(f"The model is a {type(model).__name__}; expected a module, or a function of a batch.")
    if not isinstance(x, Tensor) or x.ndim == 0:
        given = f"a {type(x).__name__}" if not isinstance(x, Tensor) else "a tensor without dimensions"
        raise JacobianError(f"x is {given}; expected a tensor [batch, *input_shape].")
    if x.ndim == 1:
        raise JacobianError(
            f"x has shape {list(x.shape)}; expected [batch, *input_shape], with a dimension of the input at least. If "
            "it is one sample: x.unsqueeze(0). If it is one number a sample: x.unsqueeze(1), and a model that takes it."
        )
    if x.layout is not torch.strided:
        raise JacobianError(f"x is stored as {x.layout}; expected a dense tensor: x.to_dense().")
    if not x.is_floating_point():
        raise JacobianError(
            f"x is {x.dtype}, and derivatives need floating point numbers. For pixels: x.float() / 255."
        )
    if strategy != "auto" and strategy not in STRATEGIES:
        raise JacobianError(f"strategy={strategy!r} is not known. Use 'auto' or one of {', '.join(STRATEGIES)}.")
    if create_graph and strategy == "vmap-jacfwd":
        raise JacobianError(
            f"strategy={strategy!r} cannot be used with create_graph=True: of some layers, such as LayerNorm, PyTorch "
            "differentiates the forward derivatives wrongly. Use 'auto' or 'vmap-jacrev'."
        )
    check_sizes(chunk_size, budget)
    bare = unwrapped(model)
    if isinstance(bare, nn.Module):
        _check_same_place(bare, x)


def check_sizes(chunk_size: ChunkSize, budget: int | None) -> None:
    """Raise if a chunk size or a memory budget is not allowed."""
    if chunk_size not in ("auto", None) and (not isinstance(chunk_size, int) or chunk_size < 1):
        raise JacobianError(f"chunk_size={chunk_size!r}; expected a positive number of samples, 'auto' or None.")
    if budget is not None and (not isinstance(budget, int) or budget < 1):
        raise JacobianError(f"memory_budget={budget!r}; expected a positive number of bytes.")


def _check_same_place(model: nn.Module, x: Tensor) -> None:
    """A model with some parameters where x is may hold others elsewhere: that is its own affair."""
    devices = set()
    for parameter in model.parameters():
        if isinstance(parameter, nn.parameter.UninitializedParameter):
            raise JacobianError("The model has lazy layers that do not know their shape yet. Run it once: model(x).")
        if parameter.is_floating_point():
            if parameter.device == x.device:
                return
            devices.add(parameter.device)
    if devices:
        raise JacobianError(
            f"x is on {x.device} and the model on {devices.pop()}. Move one of them; nothing is moved unasked."
        )


def check_same_type(model: nn.Module, x: Tensor, error: Exception) -> None:
    """Refuse a model that has raised an error, where none of its parameters has the type of x."""
    dtypes = {parameter.dtype for parameter in model.parameters() if parameter.is_floating_point()}
    if dtypes and x.dtype not in dtypes and not torch.is_autocast_enabled(x.device.type):
        raise JacobianError(
            f"x is {x.dtype} and the model {dtypes.pop()}. Convert one of them. The model raised: {error}"
        ) from error


def check_outputs(values: Any, x: Tensor) -> None:
    """Raise if the outputs are not a tensor of numbers `[batch, outputs]` for the samples `x`."""
    if not isinstance(values, Tensor):
        raise JacobianError(f"output(…) returned a {type(values).__name__}; expected a tensor [batch, outputs].")
    if values.ndim != 2 or values.shape[0] != x.shape[0]:
        raise JacobianError(
            f"The outputs have shape {list(values.shape)} for {x.shape[0]} samples; expected [batch, outputs]. Pass "
            "output=… a callable that gives this shape, e.g. output=lambda y: y.flatten(1), or y.unsqueeze(1) for "
            "one number a sample."
        )
    if not values.is_floating_point():
        raise JacobianError(f"The outputs are {values.dtype}; derivatives need floating point outputs.")


def check_independence(together: Tensor, alone: Tensor, coarsest: Callable[[], torch.dtype]) -> None:
    """Refuse samples that depend on each other: one must come out the same alone and among others, up to rounding.

    Args:
        together: outputs among other samples.
        alone: outputs of the same samples alone.
        coarsest: returns the least precise type that the outputs go through inside the model. It costs a forward pass,
            and is called only where the outputs differ.
    """
    if not alone.numel():
        return
    difference, *scales = torch.stack([together - alone, together, alone]).abs().amax((1, 2)).tolist()
    if not all(map(math.isfinite, scales)):  # these tell nothing about dependence; the others do
        finite = together.isfinite() & alone.isfinite()
        if finite.any():
            check_independence(together[finite].unsqueeze(0), alone[finite].unsqueeze(0), coarsest)
        return
    scale = max(scales)
    allowed = max(scale, 1e-6)
    if difference <= _output_tolerance(alone.dtype) * allowed:
        return
    if difference > _output_tolerance(coarsest()) * allowed:
        raise JacobianError(
            f"The outputs of the last sample change by {difference:.3g} (of {scale:.3g}) with the samples beside it. "
            "Either samples depend on each other (statistics or attention over the batch), or the model draws random "
            "numbers in evaluation mode; there is no Jacobian of a single sample then."
        )


def _output_tolerance(dtype: torch.dtype) -> float:
    return float(min(10 * torch.finfo(dtype).eps ** 0.5, 0.05))


def check_derivatives(function: Function, x: Tensor, J: Tensor, leaf: Tensor, outputs: Tensor) -> None:
    """Compare a random combination of the last sample's derivatives with an ordinary backward pass of it alone.

    Args:
        function: that was differentiated.
        x: the inputs.
        J: the result.
        leaf: the last sample alone, at the start of a graph.
        outputs: the outputs of `leaf`, at its end.

    Raises:
        WrongDerivativesError: they differ by more than rounding can explain.
    """
    weights = _random_weights(outputs.shape[1]).to(outputs)
    found = (weights.to(J.dtype) @ J[-1].detach().flatten(1)).view(x.shape[1:])
    error = _relative_error(found, _gradient(leaf, outputs, weights)[0])
    tolerance = _gradient_tolerance(outputs.dtype)
    if error > tolerance:
        # PyTorch (2.14, 2.15) differentiates BatchNorm2d of a single image in channels-last strides wrongly.
        pair, of_pair = forward(function, x[-1:].detach().expand(2, *x.shape[1:]))
        error = _relative_error(found, _gradient(pair, of_pair, torch.cat([weights, 0 * weights]))[0])
    if error > tolerance and error > _gradient_tolerance(coarsest_type(function, x[-1:])):
        raise WrongDerivativesError(
            f"the last sample's derivatives differ by {error:.2g} from those of an ordinary backward pass"
        )


def _gradient_tolerance(dtype: torch.dtype) -> float:
    return float(min(torch.finfo(dtype).eps ** 0.25, 0.1))


@lru_cache(maxsize=8)
def _random_weights(outputs: int) -> Tensor:
    return torch.randn(1, outputs, generator=torch.Generator().manual_seed(0), device="cpu")


def _gradient(leaf: Tensor, outputs: Tensor, weights: Tensor) -> Tensor:
    (gradient,) = torch.autograd.grad(outputs, leaf, weights, retain_graph=True, materialize_grads=True)
    return gradient


def _relative_error(found: Tensor, expected: Tensor) -> float:
    """Return how far a gradient is off, relative to its size; 0 where either is not finite."""
    difference, size = torch.dist(found, expected).item(), expected.norm().item()
    return difference / max(size, 1e-300) if math.isfinite(difference) and math.isfinite(size) else 0.0


def check_finite_results(J: Tensor, values: Tensor) -> None:
    """Refuse a result that is NaN or infinite, and say for which samples."""
    if math.isfinite(J.sum().item()):  # NaN and infinity carry over to the sum, and finite numbers may overflow to it
        return
    samples = (~J.flatten(1).isfinite().all(1)).nonzero().flatten().tolist()
    if samples:
        raise NonFiniteJacobianError(samples, J, values)
