"""How many samples, and how many outputs, to take at a time."""

import os
from dataclasses import dataclass
from math import prod
from pathlib import Path

import torch
from torch import Tensor
from torch.autograd.graph import Node

_ALWAYS_FREE = 64 << 20
"""So little that one need not look whether it is free."""
_SHARE = 0.25
"""The share of the free memory that is taken by default."""
_UNKNOWN_FREE = 4 << 30
_CACHE = 24 << 20
"""Bytes of cotangents of the widest layer that still run at the speed of the cache (measured)."""


@dataclass(frozen=True)
class Footprint:
    """What one sample's forward pass leaves in memory, in bytes, as its autograd graph tells."""

    forward: int
    """All tensors of the graph together."""
    widest: int
    """The largest of them: a cotangent of it is held for every output."""

    @classmethod
    def of(cls, outputs: Tensor) -> "Footprint":
        """The footprint of the forward pass that made `outputs`, of one sample."""
        sizes = [outputs.numel() * outputs.element_size()]
        stack = [outputs.grad_fn] if outputs.grad_fn is not None else []
        seen: set[Node] = set(stack)
        while stack:
            for node, number in stack.pop().next_functions:
                if node is None:
                    continue
                meta = node._input_metadata[number]
                sizes.append(prod(meta.shape) * meta.dtype.itemsize)
                if node not in seen:
                    seen.add(node)
                    stack.append(node)
        return cls(sum(sizes), max(sizes))


@dataclass(frozen=True)
class Plan:
    """A batch in pieces."""

    samples: int
    rows: int
    """Outputs at a time."""
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


def plan(batch: int, outputs: int, footprint: Footprint, budget: int | None, device: torch.device) -> Plan:
    """Pieces whose working memory stays within the budget and, on a CPU, in the cache.

    Working memory is estimated as twice the forward pass and three cotangents of the widest layer for each output:
    the one that arrives, the one that leaves, and one that waits at a residual connection.
    """
    row = 3 * footprint.widest
    if budget is None:
        needed = batch * (2 * footprint.forward + outputs * row)
        budget = _ALWAYS_FREE if needed <= _ALWAYS_FREE else int(free_memory(device) * _SHARE)
    rows = max(1, min(outputs, (budget - 2 * footprint.forward) // max(1, row)))
    affordable = max(1, budget // max(1, 2 * footprint.forward + rows * row))
    samples = min(batch, affordable)
    reason = f"a budget of {budget >> 20} MiB"
    if device.type == "cpu":
        cached = max(1, _CACHE // max(1, rows * footprint.widest))
        if cached < samples:
            samples, reason = cached, f"{_CACHE >> 20} MiB of cache"
    samples = max(1, samples)
    pieces = -(-max(1, batch) // samples)
    return Plan(-(-max(1, batch) // pieces), rows, reason)
