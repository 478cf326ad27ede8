"""The input-output Jacobian of a batch."""

import logging
import math
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, overload

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from .errors import JacobianError, NonFiniteJacobianError, StrategyError
from .memory import Footprint, Plan, plan
from .outputs import Output, output_function
from .purity import Model, pure, unwrapped
from .strategies import (
    DEFINITION,
    STRATEGIES,
    Function,
    Result,
    can_be_computed,
    coarsest_type,
    first_forward,
    fixed_batch_size,
    forward,
    not_differentiable,
    pulled_back,
)

_log = logging.getLogger("jacoscope.jacobians")

_SMALL = 256 << 10
"""Bytes of a Jacobian so small that the work on it need not be planned."""

ChunkSize = int | Literal["auto"] | None


@overload
def jacobian(
    model: Model,
    x: Tensor,
    output: Output = ...,
    *,
    strategy: str = ...,
    chunk_size: ChunkSize = ...,
    memory_budget: int | None = ...,
    create_graph: bool = ...,
    return_outputs: Literal[False] = ...,
    check_finite: bool = ...,
    check: bool = ...,
) -> Tensor: ...
@overload
def jacobian(
    model: Model,
    x: Tensor,
    output: Output = ...,
    *,
    strategy: str = ...,
    chunk_size: ChunkSize = ...,
    memory_budget: int | None = ...,
    create_graph: bool = ...,
    return_outputs: Literal[True],
    check_finite: bool = ...,
    check: bool = ...,
) -> tuple[Tensor, Tensor]: ...


def jacobian(
    model: Model,
    x: Tensor,
    output: Output = "logits",
    *,
    strategy: str = "auto",
    chunk_size: ChunkSize = "auto",
    memory_budget: int | None = None,
    create_graph: bool = False,
    return_outputs: bool = False,
    check_finite: bool = True,
    check: bool = True,
) -> Tensor | tuple[Tensor, Tensor]:
    r"""Input-output Jacobian of every sample of a batch, :math:`J_{bk} = \partial f_k(x_b) / \partial x_b`.

    The model is evaluated in evaluation mode and left exactly as it was: modes, parameters, gradients, buffers and
    random state, also when an error is raised; but for what its own forward pass writes into
    parameters. At kinks the derivative is the one PyTorch chooses. Calls from several threads take turns.

    Args:
        model: a module or function from a batch `[batch, *input_shape]` to outputs `[batch, outputs]`.
        x: the inputs, `[batch, *input_shape]`, of a floating point type, where the model is.
        output: what is differentiated: `"logits"` (what the model returns), `"probs"`, `"log_probs"`, or a
            callable from what the model returns to a tensor `[batch, outputs]`.
        strategy: one of `STRATEGIES` or `"auto"`; all give the same numbers.
        chunk_size: samples at a time; `"auto"` keeps the peak memory within `memory_budget` and the work in the
            cache, `None` takes the batch whole.
        memory_budget: bytes that the computation may take besides the result; by default a quarter of what is free.
        create_graph: make the result differentiable with respect to the parameters and `x`, for training with it.
        return_outputs: also return the outputs that were differentiated, `[batch, outputs]`; they cost nothing.
        check_finite: raise if a sample's Jacobian is NaN or infinite.
        check: compare the last sample, alone, with the result: its outputs, which must not depend on the other
            samples, and one random combination of its derivatives, by an ordinary backward pass. False saves that
            pass where a call is repeated with a model that has been checked.

    Returns:
        `J`, `[batch, outputs, *input_shape]`, in the type of `x`, or `(J, outputs)`.

    Raises:
        JacobianError: the inputs or the outputs have no Jacobian of this form, or samples depend on each other;
            the message says what would work.
        StrategyError: the strategy that was asked for cannot carry out a step of the model, or does so wrongly.
        NonFiniteJacobianError: a result is NaN or infinite; its `samples` says for which.

    >>> model = torch.nn.Linear(4, 3)
    >>> J = jacobian(model, torch.rand(2, 4))
    >>> torch.equal(J, model.weight.expand(2, 3, 4))
    True
    """
    check_inputs(model, x, strategy, chunk_size, memory_budget, create_graph)
    with as_function(model, x, output, freeze=not create_graph) as function:
        J, values, _ = _compute(function, x, strategy, chunk_size, memory_budget, check=check)
    if check_finite and J.numel():
        _check_finite(J.detach(), values.detach())
    return (J, values) if return_outputs else J


def usable_strategy(model: Model, x: Tensor, output: Output = "logits", preferred: str = DEFINITION) -> str:
    """Return the strategy that is preferred, or, where it cannot carry out the model, the one that `"auto"` uses.

    Args:
        model: as for `jacobian`.
        x: a batch to try it on; the first two samples are used.
        output: as for `jacobian`.
        preferred: one of `STRATEGIES` or `"auto"`.

    Raises:
        JacobianError: as for `jacobian`.

    >>> usable_strategy(torch.nn.Linear(4, 3), torch.rand(2, 4))
    'vmap-jacrev'
    """
    check_inputs(model, x, preferred)
    with as_function(model, x, output, freeze=True) as function:
        try:
            return _compute(function, x[:2], preferred)[2]
        except StrategyError as error:
            _log.debug("strategy auto instead of %s: %s", preferred, error)
            return _compute(function, x[:2], "auto")[2]


@contextmanager
def as_function(model: Model, x: Tensor, output: Output, *, freeze: bool) -> Iterator[Function]:
    """Yield the function of the input alone that is differentiated, while the model is held as one.

    Args:
        model: as for `jacobian`.
        x: the inputs.
        output: as for `jacobian`.
        freeze: whether derivatives with respect to the parameters are not wanted, and no graph is kept.
    """
    bare = unwrapped(model)
    with pure(bare, x.device, freeze=freeze) as called, torch.no_grad() if freeze else nullcontext():
        try:
            yield outputs_of(called, output)
        except JacobianError:
            raise
        except Exception as error:
            # Only now: a model may convert its input itself.
            if isinstance(bare, nn.Module) and not isinstance(error, torch.OutOfMemoryError):
                _check_same_type(bare, x, error)
            raise


def outputs_of(model: Model, output: Output) -> Function:
    """The function that is differentiated, with the errors that explain what cannot be."""
    pick = output_function(output)

    def function(x: Tensor) -> Tensor:
        returned = model(x)
        if not callable(output) and not isinstance(returned, Tensor):
            raise JacobianError(
                f"The model returns a {type(returned).__name__}{_contents(returned)}, not a tensor. Pass "
                "output=… a callable that picks the tensor [batch, outputs] from it, e.g. output=lambda r: r[0]."
            )
        if isinstance(returned, Tensor) and not callable(output):
            _check_outputs(returned, x)
        values = pick(returned)
        _check_outputs(values, x)
        return values  # type: ignore[no-any-return]

    return function


@dataclass(frozen=True)
class _Alone:
    """The forward pass of the last sample alone: how many outputs there are, and what they should be.

    The last, for where a model takes the batch for a sequence, it may depend on those before it.
    """

    leaf: Tensor
    outputs: Tensor
    """`[1, outputs]`."""
    hooked: bool
    """Whether hooks were registered on the way, by the model on its tensors or by PyTorch for its backward hooks."""

    @classmethod
    def of(cls, function: Function, x: Tensor) -> "_Alone":
        """Carry out the forward pass; of zeros where there is no sample."""
        before = next_handle()
        # A batch of one needs no other pass: this graph is the one that is differentiated.
        leaf, outputs = first_forward(function, _last(x), x, cotangents=1 if len(x) == 1 else None)
        if not outputs.requires_grad:
            raise JacobianError(
                "The outputs do not depend on x through differentiable steps, so they have no Jacobian. Look for "
                "detach(), torch.no_grad(), argmax or rounding between the input and the outputs, or for a model that "
                "is optimised for inference alone, as by torch.jit.optimize_for_inference."
            )
        return cls(leaf, outputs, hooked=next_handle() != before + 1)


def _last(x: Tensor) -> Tensor:
    return x[-1:].detach() if len(x) else x.new_zeros(1, *x.shape[1:])


def next_handle() -> int:
    """Return the number of the next hook: every hook takes a handle, and handles are numbered."""
    return RemovableHandle(OrderedDict()).id


def _compute(
    function: Function,
    x: Tensor,
    strategy: str,
    chunk_size: ChunkSize = "auto",
    budget: int | None = None,
    *,
    check: bool = True,
) -> tuple[Tensor, Tensor, str]:
    """Return the Jacobian, the outputs and the strategy that computed them; with a graph if gradients are enabled."""
    if x.is_inference():
        x = x.clone()
    if not torch.is_grad_enabled():
        x = x.detach()
    alone = _Alone.of(function, x)
    count = alone.outputs.shape[1]
    if not len(x) or not count:
        return x.new_zeros(len(x), count, *x.shape[1:]), alone.outputs.detach().new_zeros(len(x), count), strategy
    pieces = _pieces(function, x, count, chunk_size, budget)
    tried: list[str] = []
    for name, why in _candidates(strategy, x, alone):
        _log.debug(
            "strategy %s (%s), %d of %d samples and %d of %d outputs at a time (%s)",
            *(name, why, pieces.samples, len(x), pieces.rows, count, pieces.reason),
        )
        try:
            J, values = _by_chunks(function, x, name, pieces, alone)
            if check:
                _check_last(function, x, J, values, pieces.samples, alone)
            return J, values if torch.is_grad_enabled() else values.detach(), name
        except (JacobianError, torch.OutOfMemoryError):
            raise
        except (RuntimeError, NotImplementedError, TypeError, ValueError, IndexError, AssertionError) as error:
            if name == "backward":
                if not can_be_computed(function, x):
                    raise fixed_batch_size(1, len(x), error) from error
                raise not_differentiable(f"Ordinary backward passes{_before(tried)}", error) from error
            if strategy != "auto":
                raise StrategyError(f"{name} cannot carry out a step of the model: {error}\nUse 'auto'.") from error
            tried.append(name)
            _log.debug("strategy %s cannot carry out a step of the model: %s", name, error)
    raise AssertionError("the last of the strategies returns or raises")


def _before(tried: list[str]) -> str:
    return f", tried after {' and '.join(tried)}," if tried else ""


def _by_chunks(function: Function, x: Tensor, strategy: str, pieces: Plan, alone: _Alone) -> Result:
    compute, count = STRATEGIES[strategy], alone.outputs.shape[1]
    if len(x) == 1 and strategy == "vmap-vjp" and not x.requires_grad:
        return pulled_back(alone.leaf, alone.outputs, pieces.rows)
    parts = list(_parts(len(x), pieces.samples))
    if len(parts) == 1:
        return compute(function, x, pieces.rows, count)
    if torch.is_grad_enabled():
        Js, outputs = zip(*(compute(function, x[part], pieces.rows, count) for part in parts), strict=True)
        return torch.cat(Js), torch.cat(outputs)
    J, values = x.new_empty(len(x), count, *x.shape[1:]), alone.outputs.detach().new_empty(len(x), count)
    for part in parts:
        J[part], values[part] = compute(function, x[part], pieces.rows, count)
    return J, values


def _parts(batch: int, size: int) -> Iterator[slice]:
    """Parts of a batch, all of one size but the first: the last sample comes in company, to be compared with alone."""
    for start in range(-(-batch % size), batch, size):
        yield slice(max(0, start), start + size)


def _pieces(function: Function, x: Tensor, outputs: int, chunk_size: ChunkSize, budget: int | None) -> Plan:
    if chunk_size is None:
        return Plan(len(x), outputs, "the batch whole, as asked")
    if chunk_size != "auto":
        return Plan(chunk_size, outputs, "as asked")
    if budget is None and len(x) * outputs * x[0].numel() * x.element_size() < _SMALL:
        return Plan(len(x), outputs, "so small that it needs no plan")
    with Footprint.measuring() as footprint:
        forward(function, _last(x))
    return plan(len(x), outputs, footprint, budget, x.device)


def _candidates(strategy: str, x: Tensor, alone: _Alone) -> list[tuple[str, str]]:
    """Return the strategies to try, one after another, each with the reason; the same for the same model and shape."""
    if alone.hooked and strategy not in ("auto", "backward"):
        raise StrategyError(
            f"The model has backward hooks, or registers hooks on tensors while it runs, and strategy={strategy!r} "
            "does not run them. Use 'auto' or 'backward'."
        )
    if strategy != "auto":
        return [(strategy, "given")]
    last = ("backward", "auto: the strategies before cannot carry out a step of the model, or do so wrongly")
    if alone.hooked:
        return [("backward", "auto: hooks change the derivatives, and ordinary backward passes run them")]
    if x[0].numel() < alone.outputs.shape[1] and not torch.is_grad_enabled():
        return [("vmap-jacfwd", "auto: fewer inputs than outputs"), ("vmap-vjp", "auto"), last]
    return [("vmap-vjp", "auto"), last]


def _check_last(function: Function, x: Tensor, J: Tensor, values: Tensor, samples: int, alone: _Alone) -> None:
    """Compare the last sample's outputs, and a random combination of its derivatives, with those of it alone.

    Raises:
        JacobianError: its outputs depend on the other samples.
        ValueError: its derivatives are not those of an ordinary backward pass.
    """
    if len(x) > 1:
        in_company = function(x[-2:].clone()) if samples == 1 else values
        check_independence(in_company[-1:].detach(), alone.outputs.detach(), lambda: coarsest_type(function, x[-1:]))
    weights = _random_weights(alone.outputs.shape[1]).to(alone.outputs)
    found = (weights.to(J.dtype) @ J[-1].detach().flatten(1)).view(x.shape[1:])
    error = _relative_error(found, _gradient(alone.leaf, alone.outputs, weights)[0])
    tolerance = _gradient_tolerance(alone.outputs.dtype)
    if error > tolerance:
        # PyTorch (2.14, 2.15) differentiates BatchNorm2d of a single image in channels-last strides wrongly.
        pair, outputs = forward(function, x[-1:].detach().expand(2, *x.shape[1:]))
        error = _relative_error(found, _gradient(pair, outputs, torch.cat([weights, 0 * weights]))[0])
    if error > tolerance and error > _gradient_tolerance(coarsest_type(function, x[-1:])):
        raise ValueError(f"the last sample's derivatives differ by {error:.2g} from those of an ordinary backward pass")


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
            f"strategy={strategy!r} has no differentiable form. With create_graph=True use 'auto' or 'vmap-jacrev'."
        )
    check_sizes(chunk_size, budget)
    bare = unwrapped(model)
    if isinstance(bare, nn.Module):
        _check_same_place(bare, x)


def check_sizes(chunk_size: ChunkSize, budget: int | None) -> None:
    """Refuse a chunk size or a memory budget that is none."""
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


def _check_same_type(model: nn.Module, x: Tensor, error: Exception) -> None:
    """Refuse a model that has raised an error, where none of its parameters has the type of x."""
    dtypes = {parameter.dtype for parameter in model.parameters() if parameter.is_floating_point()}
    if dtypes and x.dtype not in dtypes and not torch.is_autocast_enabled(x.device.type):
        raise JacobianError(
            f"x is {x.dtype} and the model {dtypes.pop()}. Convert one of them. The model raised: {error}"
        ) from error


def _check_outputs(values: Any, x: Tensor) -> None:
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


def _contents(returned: Any) -> str:
    if isinstance(returned, dict):
        return f" with keys {', '.join(map(repr, returned))}"
    if isinstance(returned, tuple | list):
        return f" of {len(returned)}"
    return ""


def check_independence(together: Tensor, alone: Tensor, coarsest: Callable[[], torch.dtype] | None = None) -> None:
    """Refuse samples that depend on each other: one must come out the same alone and among others, up to rounding.

    Args:
        together: outputs among other samples.
        alone: outputs of the same samples alone.
        coarsest: returns the type that they are rounded to on the way, if that may be coarser than their own.
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
    if coarsest is None or difference > _output_tolerance(coarsest()) * allowed:
        raise JacobianError(
            f"The outputs of the last sample change by {difference:.3g} (of {scale:.3g}) with the samples beside it. "
            "Either samples depend on each other (statistics or attention over the batch), or the model draws random "
            "numbers in evaluation mode; there is no Jacobian of a single sample then."
        )


def _output_tolerance(dtype: torch.dtype) -> float:
    return float(min(10 * torch.finfo(dtype).eps ** 0.5, 0.05))


def _check_finite(J: Tensor, values: Tensor) -> None:
    if all(math.isfinite(extreme) for extreme in torch.stack(J.aminmax()).tolist()):
        return
    samples = (~J.flatten(1).isfinite().all(1)).nonzero().flatten().tolist()
    raise NonFiniteJacobianError(samples, J, values)
