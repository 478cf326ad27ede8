"""What several training processes know together."""

from typing import TypeVar

import torch

T = TypeVar("T")


def from_all_processes(value: T) -> list[T]:
    """Give everyone's value to everyone, in the order of ranks; alone, a list of one.

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
    """Give this process's own of what :func:`from_all_processes` gave; the first where there were fewer processes."""
    distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
    rank = torch.distributed.get_rank() if distributed else 0
    return of_processes[rank if rank < len(of_processes) else 0]
