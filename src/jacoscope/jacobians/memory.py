"""How many samples, and how many outputs, to take at a time."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.overrides import TorchFunctionMode

_ALWAYS_FREE = 64 << 20
"""So little that one need not look whether it is free."""
_SHARE = 0.25
"""The share of the free memory that is taken by default."""
_UNKNOWN_FREE = 4 << 30
_CACHE = 14 << 20
"""Bytes of cotangents of the widest layer that still run at the speed of the cache (measured with ResNet-18)."""
_RESULT = 4 << 20
"""Bytes of Jacobians that are copied to the result at a time. Larger tensors are often fresh memory, which is slow."""


class Footprint(TorchFunctionMode):
    """The memory that one sample's forward pass takes."""

    def __init__(self) -> None:
        super().__init__()
        self._made: list[int] = []
        self._saved: list[int] = []

    @contextmanager
    def measuring(self) -> Iterator["Footprint"]:
        """Measure the forward pass that is carried out within this context, of a single sample.

        Counted are the tensors that functions of PyTorch return, and, where weights are frozen, those that autograd
        saves, which include those of compiled code such as TorchScript.
        """
        weights_are_saved = torch.is_grad_enabled()

        def count(tensor: Tensor) -> Tensor:
            if tensor.requires_grad and not weights_are_saved:  # weights do not belong to a sample
                self._saved.append(_size(tensor))
            return tensor.detach()

        with self, saved_tensors_hooks(count, lambda tensor: tensor):
            yield self

    @property
    def total(self) -> int:
        """Bytes of all tensors together."""
        return max(sum(self._made), sum(self._saved))

    @property
    def widest(self) -> int:
        """Bytes of the largest tensor: a cotangent of it is held for every output."""
        return max(*self._made, *self._saved, 1)

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run a function of PyTorch, and count the tensors that it returns."""
        result = func(*args, **(kwargs or {}))
        self._made += [_size(t) for t in (result if isinstance(result, tuple) else (result,)) if isinstance(t, Tensor)]
        return result


def _size(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


@dataclass(frozen=True)
class Plan:
    """A batch in pieces."""

    samples: int
    directions: int
    """Outputs, or for forward differentiation inputs, at a time."""
    reason: str


def free_memory(device: torch.device) -> int:
    """Bytes that are free on a device."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        # What the page cache would give back counts as free.
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable"):
                return int(line.split()[1]) << 10
    except OSError:
        pass
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return _UNKNOWN_FREE


def plan(x: Tensor, outputs: int, footprint: Footprint, budget: int | None) -> Plan:
    """Pieces of a batch whose working memory stays within the budget and, on a CPU, in the cache.

    Working memory is estimated as twice the forward pass and three cotangents of the widest layer for each output:
    the one that arrives, the one that leaves, and one that waits at a residual connection.
    """
    batch, row = len(x), 3 * footprint.widest
    if budget is None:
        needed = batch * (2 * footprint.total + outputs * row)
        budget = _ALWAYS_FREE if needed <= _ALWAYS_FREE else int(free_memory(x.device) * _SHARE)
    rows = max(1, min(outputs, (budget - 2 * footprint.total) // max(1, row)))
    affordable = max(1, budget // max(1, 2 * footprint.total + rows * row))
    samples = min(batch, affordable)
    reason = f"a budget of {budget >> 20} MiB"
    if x.device.type == "cpu":
        cached = max(1, min(_CACHE // (rows * footprint.widest), _RESULT // (rows * _size(x[0]))))
        if cached < samples:
            samples, reason = cached, f"{_CACHE >> 20} MiB of cache"
    pieces = -(-batch // samples)
    return Plan(-(-batch // pieces), rows, reason)
