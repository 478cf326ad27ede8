"""Learning rate schedules over the whole training, updated at every step.

Each takes the optimizer and the total number of steps, which only the trainer knows; the others come from a config.
"""

from collections.abc import Sequence

from torch.optim import Optimizer
from torch.optim.lr_scheduler import (
    ConstantLR,
    CosineAnnealingLR,
    LinearLR,
    LRScheduler,
    MultiStepLR,
    OneCycleLR,
    SequentialLR,
)


def constant(optimizer: Optimizer, total_steps: int) -> LRScheduler:
    """Keep the learning rate of the optimizer."""
    del total_steps  # the learning rate is the same at all of them
    return ConstantLR(optimizer, factor=1.0, total_iters=1)


def one_cycle(
    optimizer: Optimizer,
    total_steps: int,
    pct_start: float = 0.25,
    div_factor: float = 25.0,
    final_div_factor: float = 1e4,
) -> LRScheduler:
    """Warm up to the optimizer's learning rate, then reduce it to almost zero, both along half a cosine.

    Source: Smith and Topin, "Super-convergence", 2018. Adam's beta1 stays as it is.

    Args:
        optimizer: its learning rate is the highest one.
        total_steps: optimizer steps of the whole training.
        pct_start: fraction of the steps that warm up.
        div_factor: highest / initial learning rate.
        final_div_factor: initial / final learning rate.
    """
    if total_steps == 1:
        return constant(optimizer, total_steps)
    if pct_start * total_steps <= 1:  # less than one step of warm-up, for which PyTorch would divide by zero
        pct_start = 0.0
    return OneCycleLR(
        optimizer,
        max_lr=[group["lr"] for group in optimizer.param_groups],
        total_steps=total_steps,
        pct_start=pct_start,
        div_factor=div_factor,
        final_div_factor=final_div_factor,
        cycle_momentum=False,
    )


def cosine(optimizer: Optimizer, total_steps: int, warmup: float = 0.05) -> LRScheduler:
    """Warm up linearly to the optimizer's learning rate, then reduce it to zero along half a cosine.

    Source: Loshchilov and Hutter, "SGDR", 2017, without restarts.

    Args:
        optimizer: its learning rate is the highest one.
        total_steps: optimizer steps of the whole training.
        warmup: fraction of the steps that warm up.
    """
    warmup_steps = max(1, round(warmup * total_steps))
    return SequentialLR(
        optimizer,
        [
            LinearLR(optimizer, start_factor=1 / warmup_steps, total_iters=warmup_steps - 1 or 1),
            CosineAnnealingLR(optimizer, T_max=max(1, total_steps - warmup_steps)),
        ],
        milestones=[warmup_steps],
    )


def steps(
    optimizer: Optimizer, total_steps: int, milestones: Sequence[float] = (1 / 3, 2 / 3), factor: float = 0.1
) -> LRScheduler:
    """Multiply the learning rate by a factor at some points of the training.

    Args:
        optimizer: its learning rate is the first one.
        total_steps: optimizer steps of the whole training.
        milestones: the points, as shares of the steps.
        factor: of the learning rate, at each of them.
    """
    return MultiStepLR(optimizer, [round(share * total_steps) for share in milestones], factor)
