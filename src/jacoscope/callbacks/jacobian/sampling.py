"""Which samples are measured: the same validation samples each time, evenly spread, and the last training samples."""

from collections.abc import Iterator
from itertools import islice
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, DistributedSampler, SequentialSampler

T = TypeVar("T")

_GOLDEN_RATIO = 0.6180339887498949
_TRAINING_BATCHES = 4  # of an epoch, that training samples are taken from
_TRAINING_STRIDE = 100  # batches between these, where the length of an epoch is not known


class Samples(NamedTuple):
    """Inputs with their classes and indices."""

    inputs: Tensor
    """``[samples, *input_shape]``."""
    labels: Tensor
    """Classes, ``[samples]``, on the CPU; −1 where unknown."""
    indices: Tensor
    """In their data set, ``[samples]``, on the CPU."""


NO_SAMPLES = Samples(torch.empty(0), torch.empty(0, dtype=torch.int64), torch.empty(0, dtype=torch.int64))


class ValidationSamples:
    """The samples of one pass over a loader that are measured, evenly over classes and batches.

    Each of several processes keeps some of its own. At the end they agree on which of all these are measured.

    Args:
        max_samples: how many samples are measured, by all processes together.
        loader: where the batches come from.
        rank: of this process.
        processes: how many there are.
    """

    def __init__(self, max_samples: int, loader: Any, rank: int, processes: int) -> None:
        self._max_samples = max_samples
        self._rank, self._processes = rank, processes
        self._known_indices = dataset_indices(loader)
        self._seen = 0
        self._kept = StratifiedSelection(max_samples)

    def add(self, x: Tensor, labels: Tensor) -> Tensor:
        """Add a batch; return the indices of its samples."""
        indices = take(self._known_indices, len(x), self._seen, self._rank, self._processes)
        self._seen += len(x)
        self._kept.update(x, labels, indices)
        return indices

    def own_share(self) -> Samples:
        """Return the samples that this process is to measure; all processes must call this together."""
        kept = self._kept
        claims = from_all_processes((kept.labels, kept.indices))
        labels, indices = (torch.cat(column) for column in zip(*claims, strict=True))
        chosen = choose_evenly(labels, indices, self._max_samples)
        before = sum(len(labels) for labels, _ in claims[: self._rank]) if len(claims) > 1 else 0
        mine = chosen[(chosen >= before) & (chosen < before + len(kept.indices))] - before
        if kept.inputs is None or not len(mine):
            return NO_SAMPLES
        return Samples(kept.inputs[mine.to(kept.inputs.device)], kept.labels[mine], kept.indices[mine])


class TrainingSamples:
    """A few training samples, from batches spread over the epoch.

    Args:
        count: how many samples are kept, by all processes together.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._kept: list[Tensor] = []
        self._is_over = False

    def clear(self) -> None:
        """Forget the samples of the last epoch."""
        self._kept, self._is_over = [], False

    def end_epoch(self) -> None:
        """Mark the epoch as over: a training that is resumed from here begins a new one, and needs no samples."""
        self._is_over = True

    def wants(self, batch_idx: int, batches: float) -> bool:
        """Whether samples of this batch are kept; ``batches`` is the number in an epoch, infinity if unknown."""
        every = max(1, int(batches) // _TRAINING_BATCHES) if batches != float("inf") else _TRAINING_STRIDE
        return self.count > 0 and batch_idx % every == 0

    def add(self, x: Tensor, processes: int) -> None:
        """Keep the first samples of a batch, and drop the oldest if there are too many."""
        count = -(-self.count // (_TRAINING_BATCHES * processes))
        self._kept.append(x[:count].detach().clone())
        self._kept = [kept.to(x.device) for kept in self._kept[-_TRAINING_BATCHES:]]

    def all(self) -> Samples:
        """Return what is kept, oldest first; the indices count from 0, the classes are unknown."""
        if not self._kept:
            return NO_SAMPLES
        inputs = torch.cat(self._kept)
        return Samples(inputs, torch.full((len(inputs),), -1), torch.arange(len(inputs)))

    def state_dict(self) -> list[Any]:
        """Return what all processes keep, for a training that is resumed within an epoch."""
        return from_all_processes([] if self._is_over else [x.cpu() for x in self._kept])

    def load_state_dict(self, of_processes: list[Any]) -> None:
        """Load what ``state_dict`` returned."""
        self._kept = own_part(of_processes)


class StratifiedSelection:
    r"""Keeps at most ``max_samples`` of a stream of batches, the same number of each class.

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
        """Add a batch.

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
    """Return the indices into the data set of a loader's samples, in order; ``None`` if they are not fixed.

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
    """Return the next ``count`` indices; if unknown, positions in the stream, different on each rank."""
    if indices is not None:
        known = list(islice(indices, count))
        if len(known) == count:
            return torch.tensor(known, dtype=torch.int64)
    return torch.arange(position, position + count) * world_size + rank


def from_all_processes(value: T) -> list[T]:
    """Return the values of all training processes, in the order of ranks; of a single process, a list of one.

    Args:
        value: anything that can be pickled, with tensors on the CPU.

    >>> from_all_processes(3)
    [3]
    """
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return [value]
    gathered: list[T] = [value] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(gathered, value)
    return gathered


def own_part(of_processes: list[T]) -> T:
    """Return this process's value of :func:`from_all_processes`; the first value if there were fewer processes."""
    distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
    rank = torch.distributed.get_rank() if distributed else 0
    return of_processes[rank if rank < len(of_processes) else 0]
