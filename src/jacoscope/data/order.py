"""Randomness without a state: each epoch and each batch draws from a seed of its own.

A training that was killed and goes on in the middle of an epoch draws what it would have drawn, and nothing but numbers
of batches has to be remembered for that.
"""

import hashlib
from collections.abc import Iterator, Sized

import torch
from torch.utils.data import DistributedSampler


def derived_seed(*place: int) -> int:
    """Give a seed, 64 bits, for one place of a training; those of neighbouring places have nothing in common.

    Args:
        place: the seed of the training and what tells the place from all others.

    >>> derived_seed(0, 1) == derived_seed(0, 1), derived_seed(0, 1) == derived_seed(1, 0)
    (True, False)
    """
    return int.from_bytes(hashlib.blake2b(repr(place).encode(), digest_size=8).digest(), "little")


def seed_batch(device: torch.device, *place: int) -> None:
    """Let everything random that is about to happen to a batch follow from its place in the training alone."""
    seed = derived_seed(*place)
    torch.default_generator.manual_seed(seed)  # torch.manual_seed asks after every kind of device, at each batch
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)


class EpochOrder(DistributedSampler[int]):
    """The samples of an epoch in an order that follows from the seed and the number of the epoch alone.

    Several processes share one order: batch by batch, together they have the samples that one process would have
    in a batch as large as theirs together. Where they cannot share evenly, the first samples are taken twice.

    Args:
        dataset: what is ordered.
        seed: of the training.
        rank: which of the processes this is.
        processes: how many there are.
        go_on_at: an epoch, and how many of this process's samples in it are done already.

    >>> order = EpochOrder(range(4), seed=0)
    >>> first = list(order)
    >>> order.set_epoch(1)
    >>> sorted(first), first == list(order)
    ([0, 1, 2, 3], False)
    """

    def __init__(
        self, dataset: Sized, seed: int, rank: int = 0, processes: int = 1, go_on_at: tuple[int, int] = (0, 0)
    ) -> None:
        super().__init__(dataset, num_replicas=processes, rank=rank, seed=seed)  # type: ignore[arg-type]
        self.go_on_at = go_on_at

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(derived_seed(self.seed, self.epoch))
        order = torch.randperm(len(self.dataset), generator=generator)  # type: ignore[arg-type]
        shared = order[torch.arange(self.total_size) % len(order)]
        epoch, done = self.go_on_at
        yield from shared[self.rank :: self.num_replicas][done if epoch == self.epoch else 0 :].tolist()
