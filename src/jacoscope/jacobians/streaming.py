"""Jacobians of a whole loader, chunk by chunk, in bounded memory."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .checks import ChunkSize, check_sizes
from .engine import jacobian
from .errors import JacobianError, NonFiniteJacobianError
from .memory import free_memory
from .outputs import Output
from .purity import Model


class JacobianChunk(NamedTuple):
    """Some samples of a loader and their Jacobians."""

    jacobian: Tensor
    """`[samples, outputs, *input_shape]`."""
    outputs: Tensor
    """`[samples, outputs]`: what was differentiated."""
    inputs: Tensor
    """`[samples, *input_shape]`."""
    rest: tuple[Any, ...]
    """The rest of the batch, such as the labels. If the batch is a sequence, all but its first element; otherwise the
    batch itself. Tensors, lists and tuples with an entry for each sample, also those in a dictionary, are cut to these
    samples; anything else is left as it is."""
    start: int
    """Index of the first of these samples, counted through the whole loader."""


def iter_jacobians(
    model: Model,
    loader: Iterable[Any],
    output: Output = "logits",
    *,
    inputs: Callable[[Any], Tensor] | None = None,
    device: torch.device | str | None = None,
    strategy: str = "auto",
    chunk_size: ChunkSize = "auto",
    memory_budget: int | None = None,
    check_finite: bool = True,
) -> Iterator[JacobianChunk]:
    """Jacobians of all samples of a loader, in order, a chunk at a time.

    Only one chunk and its working memory exist at a time, whatever the size of the loader's batches.

    Args:
        model: as for `jacobian`.
        loader: batches: a tensor of inputs, or a sequence whose first element it is.
        output: as for `jacobian`.
        inputs: picks the inputs from a batch; by default the batch itself or its first element.
        device: move the inputs there first; by default nothing is moved.
        strategy: as for `jacobian`.
        chunk_size: samples in a chunk, at most; `"auto"` makes chunks whose Jacobians take half of the budget,
            None one of each batch.
        memory_budget: bytes for the results and the work on them; by default a quarter of what is free.
        check_finite: as for `jacobian`; indices in the error count through the whole loader.

    Yields:
        `JacobianChunk(jacobian, outputs, inputs, rest, start)`.

    Raises:
        JacobianError: as for `jacobian`, or a batch holds no tensor of inputs.

    >>> loader = [(torch.rand(3, 4), torch.tensor([0, 1, 2])), (torch.rand(2, 4), torch.tensor([0, 1]))]
    >>> chunks = iter_jacobians(torch.nn.Linear(4, 3), loader)
    >>> [(chunk.start, list(chunk.jacobian.shape), chunk.rest[0].tolist()) for chunk in chunks]
    [(0, [3, 3, 4], [0, 1, 2]), (3, [2, 3, 4], [0, 1])]
    """
    check_sizes(chunk_size, memory_budget)
    seen = 0
    size = chunk_size
    for batch in loader:
        x = inputs(batch) if inputs else batch[0] if isinstance(batch, tuple | list) and batch else batch
        if not isinstance(x, Tensor):
            raise JacobianError(
                f"A batch is a {type(batch).__name__} without a tensor of inputs in front. Pass inputs=… a callable "
                "that picks it, e.g. inputs=lambda batch: batch['image']."
            )
        rest = tuple(batch[1:]) if isinstance(batch, tuple | list) else (batch,) if inputs else ()
        x = x if device is None else x.to(device)
        budget = memory_budget or free_memory(x.device) // 4
        if size == "auto" and len(x):
            one = jacobian(model, x[:1], output, strategy=strategy, check_finite=False)
            size = max(1, budget // 2 // max(1, one.numel() * one.element_size()))
        step = size if isinstance(size, int) else max(1, len(x))
        for start in range(0, len(x), step):
            part = x[start : start + step]
            try:
                J, values = jacobian(
                    model,
                    part,
                    output,
                    strategy=strategy,
                    memory_budget=max(1, budget // 2),
                    return_outputs=True,
                    check_finite=check_finite,
                )
            except NonFiniteJacobianError as error:
                samples = [seen + start + sample for sample in error.samples]
                raise NonFiniteJacobianError(samples, error.jacobian, error.outputs, seen + start) from None
            cut = tuple(_cut(item, start, start + step, len(x)) for item in rest)
            yield JacobianChunk(J, values, part, cut, seen + start)
        seen += len(x)


def _cut(item: Any, start: int, stop: int, batch: int) -> Any:
    if isinstance(item, dict):
        return {key: _cut(value, start, stop, batch) for key, value in item.items()}
    sequence = isinstance(item, list | tuple) or (isinstance(item, Tensor) and item.ndim > 0)
    return item[start:stop] if sequence and len(item) == batch else item
