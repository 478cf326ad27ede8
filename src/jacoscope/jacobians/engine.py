"""The input-output Jacobian of a batch."""

import logging
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Literal, overload

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from .checks import (
    ChunkSize,
    check_derivatives,
    check_finite_results,
    check_independence,
    check_inputs,
    check_same_type,
)
from .diagnosis import can_be_computed, coarsest_type, first_forward, fixed_batch_size, not_differentiable
from .errors import JacobianError, StrategyError, WrongDerivativesError
from .memory import Footprint, Plan, plan
from .outputs import Output, outputs_of
from .purity import Model, pure, unwrapped
from .strategies import DEFINITION, SAMPLE_BY_SAMPLE, STRATEGIES, Function, Result, forward, from_graph

_log = logging.getLogger("jacoscope.jacobians")

_CANNOT_CARRY_OUT = (RuntimeError, TypeError, ValueError, IndexError, AssertionError)
"""What PyTorch raises where a transform cannot carry out a step of a model."""
_SMALL = 256 << 10
"""Bytes of a Jacobian so small that the work on it need not be planned."""


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
        check_finite_results(J.detach(), values.detach())
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
                check_same_type(bare, x, error)
            raise


@dataclass(frozen=True)
class ForwardPass:
    """A forward pass that can be pulled back."""

    leaf: Tensor
    outputs: Tensor
    """`[batch, outputs]`."""
    hooked: bool
    """Whether hooks were registered on the way, by the model on its tensors or by PyTorch for its backward hooks."""

    @classmethod
    def of(cls, function: Function, x: Tensor, batch: Tensor) -> "ForwardPass":
        """Run the first forward pass of a call.

        Args:
            function: to be differentiated.
            x: the samples of this pass.
            batch: all samples of the call.

        Raises:
            JacobianError: the outputs do not depend on `x`, or as `first_forward`.
        """
        before = _next_handle()
        leaf, outputs = first_forward(function, x, batch)
        if not outputs.requires_grad:
            raise JacobianError(
                "The outputs do not depend on x through differentiable steps, so they have no Jacobian. Look for "
                "detach(), torch.no_grad(), argmax or rounding between the input and the outputs, or for a model that "
                "is optimised for inference alone, as by torch.jit.optimize_for_inference."
            )
        return cls(leaf, outputs, hooked=_next_handle() != before + 1)


def _next_handle() -> int:
    """Return the number of the next hook: every hook takes a handle, and handles are numbered."""
    return RemovableHandle(OrderedDict()).id


def _last(x: Tensor) -> Tensor:
    """Return the last sample, or zeros if there is none.

    If a model takes the batch for a sequence, the first sample does not depend on the others, but the last one does.
    """
    return x[-1:].detach() if len(x) else x.new_zeros(1, *x.shape[1:])


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
    # The graph of a batch of one may be the one that is differentiated: the hooks that measure memory would spoil it.
    footprint = Footprint()
    with footprint.measuring() if chunk_size == "auto" and len(x) > 1 else nullcontext():
        alone = ForwardPass.of(function, _last(x), x)
    count = alone.outputs.shape[1]
    if not len(x) or not count:
        return x.new_zeros(len(x), count, *x.shape[1:]), alone.outputs.detach().new_zeros(len(x), count), strategy
    pieces = _pieces(function, x, count, footprint, chunk_size, budget)
    refused: dict[str, Exception] = {}
    for name, why in _candidates(strategy, x, alone):
        _log.debug(
            "strategy %s (%s), %d of %d samples and %d directions at a time (%s)",
            *(name, why, pieces.samples, len(x), pieces.directions, pieces.reason),
        )
        try:
            J, values = _by_chunks(function, x, name, pieces, alone)
            if check:
                _compare_last(function, x, name, pieces, J, values, alone)
            return J, values if torch.is_grad_enabled() else values.detach(), name
        except (JacobianError, torch.OutOfMemoryError):
            raise
        except (WrongDerivativesError, *_CANNOT_CARRY_OUT) as error:
            refused[name] = error
            _log.debug("strategy %s cannot carry out a step of the model: %s", name, error)
    raise _explained(function, x, refused) from refused[name]


def _compare_last(
    function: Function, x: Tensor, strategy: str, pieces: Plan, J: Tensor, values: Tensor, alone: ForwardPass
) -> None:
    """Compare the result for the last sample with its own forward pass: the outputs, and some of the derivatives.

    Raises:
        JacobianError: the samples depend on each other.
        WrongDerivativesError: the derivatives differ.
    """
    if len(x) > 1:
        is_alone = pieces.samples == 1 or strategy in SAMPLE_BY_SAMPLE
        beside_another = function(x[-2:].clone()) if is_alone else values
        check_independence(
            beside_another[-1:].detach(), alone.outputs.detach(), lambda: coarsest_type(function, x[-1:])
        )
    if strategy != "backward":
        check_derivatives(function, x, J, alone.leaf, alone.outputs)


def _explained(function: Function, x: Tensor, refused: dict[str, Exception]) -> JacobianError:
    """Return the error that says why no strategy has succeeded.

    Args:
        function: that was to be differentiated.
        x: the samples.
        refused: what each strategy raised, in the order in which they were tried.
    """
    *before, last = refused
    error = refused[last]
    if last != "backward":  # it was asked for
        return StrategyError(f"{last} cannot carry out a step of the model: {error}\nUse 'auto'.")
    if not can_be_computed(function, x):
        return fixed_batch_size(1, len(x), error)
    also = f", tried after {' and '.join(before)}," if before else ""
    return not_differentiable(f"Ordinary backward passes{also}", error)


def _by_chunks(function: Function, x: Tensor, strategy: str, pieces: Plan, alone: ForwardPass) -> Result:
    compute, count = STRATEGIES[strategy], alone.outputs.shape[1]
    if len(x) == 1 and strategy == "vmap-vjp" and not x.requires_grad:
        return from_graph(alone.leaf, alone.outputs, pieces.directions)
    chunks = list(_chunks(len(x), pieces.samples))
    if len(chunks) == 1:
        return compute(function, x, pieces.directions, count)
    if torch.is_grad_enabled():
        Js, outputs = zip(*(compute(function, x[chunk], pieces.directions, count) for chunk in chunks), strict=True)
        return torch.cat(Js), torch.cat(outputs)
    J, values = x.new_empty(len(x), count, *x.shape[1:]), alone.outputs.detach().new_empty(len(x), count)
    for chunk in chunks:
        J[chunk], values[chunk] = compute(function, x[chunk], pieces.directions, count)
    return J, values


def _chunks(batch: int, size: int) -> Iterator[slice]:
    """Slices of a batch. Only the first may be shorter: the last sample has others beside it, for `_compare_last`."""
    for start in range(-(-batch % size), batch, size):
        yield slice(max(0, start), start + size)


def _pieces(
    function: Function, x: Tensor, outputs: int, footprint: Footprint, chunk_size: ChunkSize, budget: int | None
) -> Plan:
    if chunk_size is None:
        return Plan(len(x), outputs, "the batch whole, as asked")
    if chunk_size != "auto":
        return Plan(chunk_size, outputs, "as asked")
    if budget is None and len(x) * outputs * x[0].numel() * x.element_size() < _SMALL:
        return Plan(len(x), outputs, "so small that it needs no plan")
    if len(x) == 1:
        with footprint.measuring():
            forward(function, x.detach())
    return plan(x, outputs, footprint, budget)


def _candidates(strategy: str, x: Tensor, alone: ForwardPass) -> list[tuple[str, str]]:
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
    if x[0].numel() < alone.outputs.shape[1] and not torch.is_grad_enabled():  # see check_inputs
        return [("vmap-jacfwd", "auto: fewer inputs than outputs"), ("vmap-vjp", "auto"), last]
    return [("vmap-vjp", "auto"), last]
