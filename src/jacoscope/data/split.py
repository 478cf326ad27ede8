"""Setting samples aside for validation."""

import torch
from torch import Tensor

from jacoscope.errors import UserError


def stratified_split(labels: Tensor, held_out: int, seed: int) -> tuple[Tensor, Tensor]:
    """Split indices into kept and held out, with every class in its proportion.

    Class c, with n_c of the n samples, gives ``held_out · n_c / n`` of them, rounded by largest remainder so that
    the total is exact. Which ones is drawn from ``seed`` alone: neither the seed of the training nor the global
    random state changes the split.

    Args:
        labels: int64 ``[samples]``.
        held_out: how many samples to hold out.
        seed: of the draw.

    Returns:
        Indices kept and indices held out, each sorted; int64.

    Raises:
        UserError: if ``held_out`` is negative or leaves nothing to keep.

    >>> kept, held_out = stratified_split(torch.tensor([0, 0, 0, 0, 1, 1]), held_out=3, seed=0)
    >>> torch.tensor([0, 0, 0, 0, 1, 1])[held_out]
    tensor([0, 0, 1])
    """
    samples = len(labels)
    if not 0 <= held_out < samples:
        raise UserError(
            f"data.val_size={held_out} does not fit {samples} training images: "
            f"it may be 0 to {samples - 1}, for example data.val_size={max(1, samples // 12)}"
        )
    classes, counts = torch.unique(labels, return_counts=True)
    shares = counts.double() * held_out / samples
    quotas = shares.floor().long()
    missing = held_out - int(quotas.sum())
    quotas[(shares - quotas).argsort(descending=True, stable=True)[:missing]] += 1

    generator = torch.Generator().manual_seed(seed)
    mask = torch.zeros(samples, dtype=torch.bool)
    for label, quota in zip(classes, quotas, strict=True):
        members = (labels == label).nonzero().flatten()
        mask[members[torch.randperm(len(members), generator=generator)[:quota]]] = True
    return (~mask).nonzero().flatten(), mask.nonzero().flatten()
