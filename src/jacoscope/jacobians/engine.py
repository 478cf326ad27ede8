"""The input-output Jacobian of a batch."""

import logging
import math
from collections.abc import Iterator
from typing import Any, Literal, overload

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from .errors import JacobianError, NonFiniteJacobianError
from .memory import Footprint, Plan, plan
from .outputs import Output, output_function
from .purity import Model, pure, unwrapped
from .rules import Kept
from .strategies import STRATEGIES, Chunk, Function, differentiable, forward, reference

_log = logging.getLogger("jacoscope.jacobians")

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

    Returns:
        `J`, `[batch, outputs, *input_shape]`, in the type of `x`, or `(J, outputs)`.

    Raises:
        JacobianError: the inputs or the outputs have no Jacobian of this form, or samples depend on each other;
            the message says what would work.
        NonFiniteJacobianError: a result is NaN or infinite; its `samples` says for which.

    >>> model = torch.nn.Linear(4, 3)
    >>> J = jacobian(model, torch.rand(2, 4))
    >>> torch.equal(J, model.weight.expand(2, 3, 4))
    True
    """
    bare = unwrapped(model)
    check_inputs(bare, x, strategy, chunk_size, memory_budget, create_graph)
    with pure(bare, x.device, freeze=not create_graph) as called:
        if x.is_inference():
            x = x.clone()
        function = outputs_of(called, output)
        if create_graph:
            J, values = _differentiable(function, x, strategy, chunk_size, memory_budget)
        else:
            J, values = _by_chunks(function, x, strategy, chunk_size, memory_budget)
    if check_finite and J.numel():
        _check_finite(J.detach(), values.detach())
    return (J, values) if return_outputs else J


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


def _by_chunks(
    function: Function, x: Tensor, strategy: str, chunk_size: ChunkSize, budget: int | None
) -> tuple[Tensor, Tensor]:
    batch = x.shape[0]
    leaf, alone, hooked = _one(function, x)
    outputs = alone.shape[1]
    pieces = _pieces(alone, x, chunk_size, budget)
    name, why = _chosen(strategy, x, outputs, hooked=hooked)
    _log.debug(
        "strategy %s (%s), %d of %d samples and %d of %d outputs at a time (%s)",
        name,
        why,
        pieces.samples,
        batch,
        pieces.rows,
        outputs,
        pieces.reason,
    )
    passed = (leaf, alone) if batch == 1 else None
    alone = alone.detach()
    J = torch.empty(batch, outputs, *x.shape[1:], dtype=x.dtype, device=x.device)
    values = alone.new_empty(batch, outputs)
    kept = Kept()
    for part in _parts(batch, pieces.samples) if outputs else ():
        chunk = Chunk(x[part].detach(), J[part], pieces.rows, kept, passed)
        try:
            values[part] = STRATEGIES[name](function, chunk)
        except (RuntimeError, NotImplementedError) as error:
            if strategy.startswith("vmap") and not isinstance(error, torch.OutOfMemoryError):
                raise JacobianError(f"{strategy} cannot carry out a step of the model: {error}\nUse 'auto'.") from error
            if name != "vmap-jacfwd" or strategy != "auto":
                raise
            _log.debug("strategy pullback (auto: a step of the model has no forward derivative: %s)", error)
            name = "pullback"
            values[part] = STRATEGIES[name](function, chunk)
    _check_last(function, x, values, alone, pieces.samples)
    return J, values


def _differentiable(
    function: Function, x: Tensor, strategy: str, chunk_size: ChunkSize, budget: int | None
) -> tuple[Tensor, Tensor]:
    _, alone, _ = _one(function, x)
    pieces = _pieces(alone, x, chunk_size, budget)
    if not x.shape[0] or not alone.shape[1]:
        return x.new_zeros(len(x), alone.shape[1], *x.shape[1:]), alone.new_zeros(len(x), alone.shape[1])
    compute = reference if strategy == "vmap-jacrev" else differentiable
    parts = [compute(function, x[part]) for part in _parts(len(x), pieces.samples)]
    J, values = torch.cat([J for J, _ in parts]), torch.cat([values for _, values in parts])
    _check_last(function, x, values.detach(), alone.detach(), pieces.samples)
    return J, values


def _parts(batch: int, size: int) -> Iterator[slice]:
    """Parts of a batch, all of one size but the first: the last sample comes in company, to be compared with alone."""
    for start in range(-(-batch % size), batch, size):
        yield slice(max(0, start), start + size)


def _check_last(function: Function, x: Tensor, values: Tensor, alone: Tensor, size: int) -> None:
    """Refuse samples that depend on each other, by the last among others and alone."""
    if len(x) > 1:
        if size == 1:  # all samples were alone
            with torch.no_grad():
                values = function(x[-2:].clone())
        check_independence(values[-1:], alone)


def _one(function: Function, x: Tensor) -> tuple[Tensor, Tensor, bool]:
    """The forward pass of the last sample, which tells the number of outputs and the memory that a sample takes.

    The last, for where a model takes the batch for a sequence, it may depend on those before it.

    Returns:
        The leaf, the outputs, and whether hooks were registered on the way, by the model on its tensors or by PyTorch
        for the model's backward hooks. Every such hook takes a handle, and handles are numbered.
    """
    handles = RemovableHandle.next_id
    leaf, values = forward(function, x[-1:] if len(x) else x.new_zeros(1, *x.shape[1:]))
    if not values.requires_grad:
        raise JacobianError(
            "The outputs do not depend on x through differentiable steps, so they have no Jacobian. Look for "
            "detach(), torch.no_grad(), argmax or rounding between the input and the outputs."
        )
    return leaf, values, RemovableHandle.next_id != handles


def _pieces(alone: Tensor, x: Tensor, chunk_size: ChunkSize, budget: int | None) -> Plan:
    batch, outputs = x.shape[0], alone.shape[1]
    if chunk_size is None:
        return Plan(max(1, batch), max(1, outputs), "the batch whole, as asked")
    if chunk_size != "auto":
        return Plan(chunk_size, max(1, outputs), "as asked")
    return plan(batch, outputs, Footprint.of(alone), budget, x.device)


def _chosen(strategy: str, x: Tensor, outputs: int, *, hooked: bool) -> tuple[str, str]:
    """The strategy and why it is taken; the same for the same model, shape and device."""
    if hooked and strategy in ("pullback", "vmap-jacfwd"):
        raise JacobianError(
            f"The model has backward hooks, or registers hooks on tensors while it runs, and strategy={strategy!r} "
            "does not run them. Use 'auto' or 'backward'."
        )
    if strategy != "auto":
        return strategy, "given"
    if hooked:
        return "backward", "auto: hooks change the derivatives, and ordinary backward passes run them"
    if x.shape[0] and 0 < x[:1].numel() < outputs:
        return "vmap-jacfwd", "auto: fewer inputs than outputs"
    return "pullback", "auto"


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
    if x.layout is not torch.strided:
        raise JacobianError(f"x is stored as {x.layout}; expected a dense tensor: x.to_dense().")
    if not x.is_floating_point():
        raise JacobianError(
            f"x is {x.dtype}, and derivatives need floating point numbers. For pixels: x.float() / 255."
        )
    if strategy != "auto" and strategy not in STRATEGIES:
        raise JacobianError(f"strategy={strategy!r} is not known. Use 'auto' or one of {', '.join(STRATEGIES)}.")
    if create_graph and strategy not in ("auto", "vmap-jacrev"):
        raise JacobianError(
            f"strategy={strategy!r} has no differentiable form. With create_graph=True use 'auto' or 'vmap-jacrev'."
        )
    check_sizes(chunk_size, budget)
    if isinstance(model, nn.Module):
        _check_same_place(model, x)


def check_sizes(chunk_size: ChunkSize, budget: int | None) -> None:
    """Refuse a chunk size or a memory budget that is none."""
    if chunk_size not in ("auto", None) and (not isinstance(chunk_size, int) or chunk_size < 1):
        raise JacobianError(f"chunk_size={chunk_size!r}; expected a positive number of samples, 'auto' or None.")
    if budget is not None and (not isinstance(budget, int) or budget < 1):
        raise JacobianError(f"memory_budget={budget!r}; expected a positive number of bytes.")


def _check_same_place(model: nn.Module, x: Tensor) -> None:
    """A model with some parameters where x is and of its type may hold others elsewhere: that is its own affair."""
    devices, dtypes = set(), set()
    for parameter in model.parameters():
        if isinstance(parameter, nn.parameter.UninitializedParameter):
            raise JacobianError("The model has lazy layers that do not know their shape yet. Run it once: model(x).")
        if parameter.is_floating_point():
            if parameter.device == x.device and parameter.dtype == x.dtype:
                return
            devices.add(parameter.device)
            dtypes.add(parameter.dtype)
    if devices and x.device not in devices:
        raise JacobianError(
            f"x is on {x.device} and the model on {devices.pop()}. Move one of them; nothing is moved unasked."
        )
    if dtypes and x.dtype not in dtypes and not torch.is_autocast_enabled(x.device.type):
        raise JacobianError(f"x is {x.dtype} and the model {dtypes.pop()}. Convert one of them.")


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


def check_independence(together: Tensor, alone: Tensor) -> None:
    """Refuse samples that depend on each other: one must come out the same alone and among others, up to rounding."""
    if not alone.numel():
        return
    difference, *scales = torch.stack([together - alone, together, alone]).abs().amax((1, 2)).tolist()
    if not all(map(math.isfinite, scales)):  # these tell nothing about dependence; the others do
        finite = together.isfinite() & alone.isfinite()
        if finite.any():
            check_independence(together[finite].unsqueeze(0), alone[finite].unsqueeze(0))
        return
    scale = max(scales)
    tolerance = min(10 * torch.finfo(alone.dtype).eps ** 0.5, 0.05)
    if difference > tolerance * max(scale, 1e-6):
        raise JacobianError(
            f"The outputs of the last sample change by {difference:.3g} (of {scale:.3g}) with the samples beside it. "
            "Either samples depend on each other (statistics or attention over the batch), or the model draws random "
            "numbers in evaluation mode; there is no Jacobian of a single sample then."
        )


def _check_finite(J: Tensor, values: Tensor) -> None:
    if all(math.isfinite(extreme) for extreme in torch.stack(J.aminmax()).tolist()):
        return
    samples = (~J.flatten(1).isfinite().all(1)).nonzero().flatten().tolist()
    raise NonFiniteJacobianError(samples, J, values)
