"""The samples that are measured: of validation a fixed choice, of training what has just been trained on."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from jacoscope.callbacks.processes import from_all_processes, own_part
from jacoscope.callbacks.selection import StratifiedSelection, choose_evenly, dataset_indices, take

_TRAINING_BATCHES = 4


class Samples(NamedTuple):
    """Inputs with what is known about them."""

    inputs: Tensor
    """``[samples, *input_shape]``."""
    labels: Tensor
    """Classes, ``[samples]``, on the CPU; −1 where unknown."""
    indices: Tensor
    """In their data set, ``[samples]``, on the CPU."""


NO_SAMPLES = Samples(torch.empty(0), torch.empty(0, dtype=torch.int64), torch.empty(0, dtype=torch.int64))


class ValidationSamples:
    """Those of one pass over a loader that are measured, evenly over classes and batches.

    Among several processes each keeps some of its own; which of them all are measured is agreed on at the end.

    Args:
        max_samples: how many samples are measured, by all processes together.
        loader: what the batches come from.
        rank: of this process.
        processes: how many there are.
    """

    def __init__(self, max_samples: int, loader: Any, rank: int, processes: int) -> None:
        self._max_samples = max_samples
        self._rank, self._processes = rank, processes
        self._known_indices = dataset_indices(loader)
        self._seen = 0
        self._kept = StratifiedSelection(max_samples)

    def see(self, x: Tensor, labels: Tensor) -> Tensor:
        """Take in a batch; give the indices of its samples."""
        indices = take(self._known_indices, len(x), self._seen, self._rank, self._processes)
        self._seen += len(x)
        self._kept.update(x, labels, indices)
        return indices

    def own_share(self) -> Samples:
        """Give those that this process is to measure; all processes must ask together."""
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
    """A few samples from batches all over the epoch, kept as they passed.

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
        """From here on a training that goes on begins with another epoch: checkpoints need not hold these samples."""
        self._is_over = True

    def wants(self, batch_idx: int, batches: float) -> bool:
        """Tell whether samples of this batch are kept, of so many in an epoch (infinity if unknown)."""
        every = max(1, int(batches) // _TRAINING_BATCHES) if batches != float("inf") else 100
        return self.count > 0 and batch_idx % every == 0

    def see(self, x: Tensor, processes: int) -> None:
        """Keep the first samples of a batch, and let go of the oldest if there are too many."""
        count = -(-self.count // (_TRAINING_BATCHES * processes))
        self._kept.append(x[:count].detach().clone())
        self._kept = [kept.to(x.device) for kept in self._kept[-_TRAINING_BATCHES:]]

    def all(self) -> Samples:
        """Give what is kept, oldest first; the indices are places in this row, classes are not known."""
        if not self._kept:
            return NO_SAMPLES
        inputs = torch.cat(self._kept)
        return Samples(inputs, torch.full((len(inputs),), -1), torch.arange(len(inputs)))

    def state_dict(self) -> list[Any]:
        """Give what all processes keep, for a training that goes on within an epoch."""
        return from_all_processes([] if self._is_over else [x.cpu() for x in self._kept])

    def load_state_dict(self, of_processes: list[Any]) -> None:
        """Take back what ``state_dict`` gave."""
        self._kept = own_part(of_processes)
