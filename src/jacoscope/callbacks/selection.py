"""Which samples of a stream are measured: a fixed number, spread evenly over classes and batches."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, DistributedSampler, SequentialSampler

_GOLDEN_RATIO = 0.6180339887498949


class StratifiedSelection:
    r"""Keep at most ``max_samples`` of a stream of batches, the same number of each class.

    Of each class the samples with the smallest keys are kept, where the key of sample :math:`i` is the
    fractional part of :math:`i \varphi` (:math:`\varphi` the golden ratio): a low-discrepancy sequence, so that what
    is kept is spread evenly over the stream. The choice depends on nothing but indices and labels: it uses no
    random numbers, is the same every epoch, and the union of what several processes keep holds what one process
    would keep.

    Args:
        max_samples: how many samples are kept.

    >>> selection = StratifiedSelection(4)
    >>> for start in (0, 10):
    ...     labels = torch.arange(10) % 2
    ...     selection.update(torch.zeros(10, 1), labels, torch.arange(start, start + 10))
    >>> selection.indices.tolist(), selection.labels.tolist()
    ([0, 5, 18, 13], [0, 1, 0, 1])
    """

    def __init__(self, max_samples: int) -> None:
        self.max_samples = max_samples
        self.inputs: Tensor | None = None
        self.labels = torch.empty(0, dtype=torch.int64)
        self.indices = torch.empty(0, dtype=torch.int64)

    def update(self, inputs: Tensor, labels: Tensor, indices: Tensor) -> None:
        """Take in a batch.

        Args:
            inputs: ``[batch, *input_shape]``.
            labels: classes, ``[batch]``, on the CPU.
            indices: of the samples in their data set, ``[batch]``, on the CPU.
        """
        held = len(self.indices)
        all_labels, all_indices = torch.cat([self.labels, labels]), torch.cat([self.indices, indices])
        chosen = choose_evenly(all_labels, all_indices, self.max_samples)
        old, new = chosen[chosen < held], chosen[chosen >= held]
        fresh = inputs.detach()[(new - held).to(inputs.device)]
        self.inputs = fresh if self.inputs is None else torch.cat([self.inputs[old.to(inputs.device)], fresh])
        order = torch.cat([old, new])
        self.labels, self.indices = all_labels[order], all_indices[order]


def choose_evenly(labels: Tensor, indices: Tensor, max_samples: int) -> Tensor:
    """Choose positions: at most ``max_samples``, evenly over the labels; among equal indices the first alone."""
    keys = (indices.double() * _GOLDEN_RATIO).frac()
    by_key = keys.argsort(stable=True)
    # Equal indices have equal keys, so the copies of a sample stand side by side.
    sorted_indices = indices[by_key]
    first = torch.ones_like(sorted_indices, dtype=torch.bool)
    first[1:] = sorted_indices[1:] != sorted_indices[:-1]
    by_key = by_key[first]
    by_class = by_key[labels[by_key].argsort(stable=True)]
    _, counts = torch.unique_consecutive(labels[by_class], return_counts=True)
    starts = (counts.cumsum(0) - counts).repeat_interleave(counts)
    rank = torch.arange(len(by_class)) - starts
    quota = max(1, max_samples // max(1, len(counts)))
    chosen = by_class[rank < quota]
    return chosen[keys[chosen].argsort(stable=True)[:max_samples].sort().values]


def dataset_indices(loader: Any) -> Iterator[int] | None:
    """Give the indices into the data set that a loader's samples have, in order; ``None`` where they are not fixed.

    Under a distributed sampler these are the indices of this process alone, with those that pad it.
    """
    if not isinstance(loader, DataLoader):
        return None
    sampler: Any = loader.sampler
    if isinstance(loader.batch_sampler, BatchSampler):
        sampler = loader.batch_sampler.sampler
    ordered = isinstance(sampler, SequentialSampler) or (
        isinstance(sampler, DistributedSampler) and not sampler.shuffle
    )
    return iter(sampler) if ordered else None


def take(indices: Iterator[int] | None, count: int, position: int, rank: int, world_size: int) -> Tensor:
    """Give the next ``count`` indices; if unknown, positions in the stream, different on each rank."""
    if indices is not None:
        known = list(islice(indices, count))
        if len(known) == count:
            return torch.tensor(known, dtype=torch.int64)
    return torch.arange(position, position + count) * world_size + rank
