"""Random numbers that can be resumed: each epoch and each batch has a seed of its own.

A training that was killed in the middle of an epoch draws the same numbers when it is resumed. For that, a checkpoint
holds the numbers of the epoch and the batch, but no state of a generator.
"""

import hashlib
from collections.abc import Iterator, Sized

import torch
from torch.utils.data import DistributedSampler


def derived_seed(*place: int) -> int:
    """Return a seed, 64 bits, for one place in a training: a hash of the place.

    Args:
        place: the seed of the training and the numbers that identify the place, as those of epoch, batch and rank.

    >>> derived_seed(0, 1) == derived_seed(0, 1), derived_seed(0, 1) == derived_seed(1, 0)
    (True, False)
    """
    return int.from_bytes(hashlib.blake2b(repr(place).encode(), digest_size=8).digest(), "little")


def seed_batch(device: torch.device, *place: int) -> None:
    """Seed everything random that happens to a batch by its place in the training, see :func:`derived_seed`."""
    seed = derived_seed(*place)
    torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed every kind of device, which takes time
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)


class EpochOrder(DistributedSampler[int]):
    """A random order of the samples that depends on the seed and the number of the epoch only.

    Several processes share one order: their batches together hold the samples that one process would have in a batch
    of their total size. If the samples cannot be divided evenly, the first ones are used twice.

    Args:
        dataset: the data set.
        seed: seed of the training.
        rank: number of this process.
        processes: number of processes.
        resume_at: an epoch, and how many samples of this process in that epoch are done.
        passes: how often an epoch goes through the samples, each time in a new order.

    >>> order = EpochOrder(range(4), seed=0)
    >>> first = list(order)
    >>> order.set_epoch(1)
    >>> sorted(first), first == list(order)
    ([0, 1, 2, 3], False)
    """

    def __init__(
        self,
        dataset: Sized,
        seed: int,
        rank: int = 0,
        processes: int = 1,
        resume_at: tuple[int, int] = (0, 0),
        passes: int = 1,
    ) -> None:
        super().__init__(dataset, num_replicas=processes, rank=rank, seed=seed)  # type: ignore[arg-type]
        self.resume_at = resume_at
        self.passes = passes

    def __len__(self) -> int:
        return self.passes * self.num_samples

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(derived_seed(self.seed, self.epoch))
        passes = []
        for _ in range(self.passes):
            order = torch.randperm(len(self.dataset), generator=generator)  # type: ignore[arg-type]
            passes.append(order[torch.arange(self.total_size) % len(order)])
        shared = torch.cat(passes)
        epoch, done = self.resume_at
        yield from shared[self.rank :: self.num_replicas][done if epoch == self.epoch else 0 :].tolist()
