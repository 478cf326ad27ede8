r"""Pull K cotangents of a batch back through PyTorch's own autograd graph, all at once.

A forward pass leaves a graph of nodes; each maps cotangents of its outputs to cotangents of its inputs. Samples do
not interact, so the cotangent that is one at output k *of every sample* pulls back to row k of every sample's
Jacobian. This module walks the graph once with all K of them, as tensors `[K, *shape]`:

- by a rule of ours (`rules.py`) where there is one, which shares among the K what does not depend on k;
- else by the node itself under `torch.vmap`, if a trial shows that vmap knows the node: a pull-back is linear, so a
  sum of the K results must be the result of the sum (PyTorch 2.15 batches `cdist` wrongly);
- else by the node itself for each k.

Whatever the model is made of, each step is therefore PyTorch's own derivative or equal to it.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import Node, get_gradient_edge

from .cotangents import Cotangent
from .errors import JacobianError
from .rules import RULES, Edges, Kept, Results, Step


def pull_back(outputs: Tensor, x: Tensor, rows: slice, kept: Kept) -> Cotangent | None:
    """Rows of the Jacobian of every sample.

    Args:
        outputs: `[batch, outputs]`, computed from `x` with gradients enabled.
        x: leaf `[batch, *input_shape]` that requires gradients.
        rows: which outputs.
        kept: what rules keep between calls.

    Returns:
        `[rows, batch, *input_shape]`, possibly with work left; None if the outputs do not depend on `x`.
    """
    root, target = get_gradient_edge(outputs), get_gradient_edge(x).node
    order = _topological(root.node, target)
    eye = torch.eye(outputs.shape[1], dtype=outputs.dtype, device=outputs.device)[rows]
    first = Cotangent(eye.unsqueeze(1).expand(-1, outputs.shape[0], -1))
    arriving: dict[Node, dict[int, Cotangent]] = {root.node: {root.output_nr: first}}
    for node, edges, needs in order:
        cotangents = arriving.pop(node, None)
        if cotangents is None:
            continue
        results = _step(node, edges, cotangents, needs, kept)
        if len(results) > 1 and sum(result is not None for result in results) > 1:
            results = _shared(results)
        for (following, number), result in zip(edges, results, strict=False):
            if following is None or result is None:
                continue
            dtype = following._input_metadata[number].dtype
            if result.base.dtype != dtype:  # types were mixed, or autocast
                result = Cotangent(result.dense().to(dtype), owned=True)
            waiting = arriving.setdefault(following, {})
            waiting[number] = waiting[number].plus(result) if number in waiting else result
    return arriving.get(target, {}).get(0)


def _shared(results: Sequence[Cotangent | None]) -> list[Cotangent | None]:
    """Carry out each result for several readers: once, though it go to several inputs, for it may be in place."""
    once = {id(result): result.shared() for result in {id(r): r for r in results if r is not None}.values()}
    return [None if result is None else once[id(result)] for result in results]


def _topological(root: Node, target: Node) -> list[tuple[Node, Edges, list[bool]]]:
    """The nodes between `root` and `target`, each before those it feeds, with their edges and which lead to it."""
    leads: dict[Node, bool] = {target: True}
    finished: list[tuple[Node, Edges, list[bool]]] = []
    stack: list[tuple[Node, Edges, Iterator[tuple[Node | None, int]]]] = []
    entered = {target}

    def enter(node: Node) -> None:
        entered.add(node)
        edges = node.next_functions
        stack.append((node, edges, iter(edges)))

    if root is not target:
        enter(root)
    while stack:
        node, edges, remaining = stack[-1]
        for following, _ in remaining:
            if following is not None and following not in entered:
                enter(following)
                break
        else:
            stack.pop()
            needs = [following is not None and leads[following] for following, _ in edges]
            leads[node] = any(needs)
            if leads[node]:
                finished.append((node, edges, needs))
    return finished[::-1]


def _step(node: Node, edges: Edges, cotangents: dict[int, Cotangent], needs: list[bool], kept: Kept) -> Results:
    rule = RULES.get(node.name())
    # The rules are for real numbers: complex derivatives would have to be conjugated.
    if rule is not None and len(cotangents) == 1 and 0 in cotangents and not cotangents[0].base.is_complex():
        results = rule(Step(node, edges, cotangents[0], needs, kept))
        if results is not None:
            return results
    arity = len(node._input_metadata)
    dense = [cotangents[i].dense() if i in cotangents else None for i in range(arity)]
    if isinstance(node, torch.autograd.function.BackwardCFunction):  # written in Python: expects all its cotangents
        count = next(iter(cotangents.values())).base.shape[0]
        dense = [_zeros(count, meta) if g is None else g for g, meta in zip(dense, node._input_metadata, strict=True)]
    try:
        return _through_node(node, edges, dense, needs, kept)
    except (RuntimeError, TypeError, IndexError, ValueError) as error:
        raise JacobianError(
            f"{node.name()} cannot be differentiated by itself: {error}. For activation checkpointing, use "
            "use_reentrant=False; for anything else, try strategy='backward'."
        ) from error


def _zeros(count: int, meta: Any) -> Tensor:
    return torch.zeros(count, *meta.shape, dtype=meta.dtype, device=meta.device)


def _through_node(
    node: Node, edges: Edges, dense: list[Tensor | None], needs: list[bool], kept: Kept
) -> list[Cotangent | None]:
    """The node's own derivative, batched over K by vmap, or one by one."""
    # Nodes of Python functions run their backward through `apply`; a direct call is for nodes of C++.
    call: Any = getattr(node, "apply", node)
    given = [value for value in dense if value is not None]
    places: list[int] = []

    def needed(*slices: Tensor) -> tuple[Tensor, ...]:
        remaining = iter(slices)
        results = call(*(None if value is None else next(remaining) for value in dense))
        results = results if isinstance(results, tuple) else (results,)
        places[:] = [i for i, result in enumerate(results) if result is not None and needs[i]]
        return tuple(results[i] for i in places)

    batched: tuple[Tensor, ...] | None = None
    if kept.batched.get(node.name(), True):
        try:
            batched = torch.vmap(needed)(*given)
        except (RuntimeError, ValueError, TypeError):
            kept.batched[node.name()] = False
    if batched is not None and node.name() not in kept.batched:
        verdict = _is_linear(needed, given, batched)
        if verdict is not None:
            kept.batched[node.name()] = verdict
    if batched is None or not kept.batched.get(node.name(), True):
        rows = [needed(*(value[k] for value in given)) for k in range(given[0].shape[0])]
        batched = tuple(torch.stack(same) for same in zip(*rows, strict=True))
    results: list[Cotangent | None] = [None] * len(needs)
    for place, value in zip(places, batched, strict=True):
        edge, number = edges[place]
        shape = tuple(edge._input_metadata[number].shape) if edge is not None else ()
        results[place] = Cotangent(_summed_to(value, shape))
    return results


def _is_linear(
    pulled: Callable[..., tuple[Tensor, ...]], given: list[Tensor], results: tuple[Tensor, ...]
) -> bool | None:
    """Whether the results for K cotangents add up, with some weights, to the result for their sum.

    None if that cannot be told, for all are zero or not finite.
    """

    def summed(values: Tensor) -> Tensor:
        weights = torch.linspace(1, 2, len(values), device=values.device).to(values.dtype)
        total: Tensor = torch.tensordot(weights, values, 1)
        return total

    told = None
    for together, apart in zip(pulled(*map(summed, given)), map(summed, results), strict=True):
        comparable = together.isfinite() & apart.isfinite()
        difference, scale = (together - apart).abs()[comparable], torch.maximum(together.abs(), apart.abs())[comparable]
        if scale.any():
            told = True
            if difference.max() > torch.finfo(apart.dtype).eps ** 0.5 * scale.max():
                return False
    return told


def _summed_to(values: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Sum over the dimensions along which the forward pass broadcast; a node leaves that to whoever calls it."""
    extra = values.ndim - 1 - len(shape)
    if extra > 0:
        values = values.sum(tuple(range(1, 1 + extra)))
    broadcast = [d for d, n in enumerate(shape, start=1) if n == 1 and values.shape[d] != 1]
    return values.sum(broadcast, keepdim=True) if broadcast else values
