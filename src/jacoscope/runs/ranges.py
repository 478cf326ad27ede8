"""The range of each number in a config: one table, checked before anything is made.

A text is refused here already, without the seconds that importing torch takes; all other types are checked by
:mod:`jacoscope.runs.targets`. Whether a number fits the data is checked where the data are read.
"""

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from jacoscope.errors import UserError

MOST = 2**31 - 1  # libraries count with 32 bits
PROCESSES_OF_A_CORE = 4
OWNERS = ("jacoscope", "torch", "torchvision", "pytorch_lightning")
"""Packages to whose classes the ranges apply. In a class of the user the same key may mean something else."""


@dataclass(frozen=True)
class Range:
    """The numbers that a key can be set to. If the value is a list, each of its items is such a number.

    Attributes:
        low: the smallest number.
        high: the largest number.
        above: whether ``low`` itself is excluded.
        below: whether ``high`` itself is excluded.
        items: the length of the list; None for a number, or a list of any length.
        besides: a number outside of the range that is allowed too.
        share: the range of numbers that are not whole, if those mean a share and whole ones a count.
        kind: the type of the numbers.
        texts: whether a text is allowed too.

    >>> Range(1, 8).allows(9), Range(1, 8).allows([1, 8]), Range(0, 1, above=True).allows(0.0)
    (False, True, False)
    >>> Range(1, items=2).allows([6, 16, 32])
    False
    >>> print(Range(1, items=2))
    a list of 2 numbers, each 1 or more
    """

    low: float
    high: float = math.inf
    above: bool = False
    below: bool = False
    items: int | None = None
    besides: float | None = None
    share: "Range | None" = None
    kind: type = float
    texts: bool = False

    def allows(self, value: Any) -> bool:
        """Whether a value is in the range. What is neither a number nor a list of numbers always is."""
        if isinstance(value, list):
            return self.items in (None, len(value)) and all(self.allows(item) for item in value)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return True
        if self.share and isinstance(value, float):
            return self.share.allows(value)
        is_above = value > self.low if self.above else value >= self.low
        is_below = value < self.high if self.below else value <= self.high
        return (is_above and is_below) or value == self.besides

    def takes(self, value: Any) -> bool:
        """Whether a value has the right type, as far as texts and fractions are concerned."""
        if isinstance(value, list):
            return all(map(self.takes, value))
        if isinstance(value, float) and self.kind is int:
            return self.share is not None
        return self.texts or not isinstance(value, str)

    def __str__(self) -> str:
        low, high = (int(end) if float(end).is_integer() else end for end in (self.low, self.high))
        if math.isinf(self.high):
            text = f"more than {low}" if self.above else f"{low} or more"
        elif self.above or self.below:
            text = f"{'more than' if self.above else 'at least'} {low} and "
            text += f"{'less than' if self.below else 'at most'} {high}"
        else:
            text = f"{low} to {high}"
        text += "" if self.besides is None else f", or {self.besides}"
        text += "" if self.share is None else f", or a share of them, {self.share}"
        return text if self.items is None else f"a list of {self.items} numbers, each {text}"


COUNT, COUNT_OR_NONE, SHARE = Range(1, MOST, kind=int), Range(0, MOST, kind=int), Range(0, 1)
POSITIVE, NOT_NEGATIVE = Range(0, above=True), Range(0)
BATCHES = Range(0, MOST, share=SHARE, kind=int)

RANGES = {
    "seed": Range(0, 2**32 - 1, kind=int),
    "images.shape": Range(1, 8192, items=3, kind=int),  # channels, height, width
    "images.classes": Range(1, 100_000, kind=int),
    "images.std": POSITIVE,
    "*.input_shape": Range(1, 8192, items=3, kind=int),
    "*.num_classes": Range(1, 100_000, kind=int),
    "data.batch_size": COUNT,
    "data.eval_batch_size": COUNT,
    "data.val_size": BATCHES,  # images instead of batches
    "data.split_seed": Range(0, 2**63 - 1, kind=int),
    "data.samples_per_class": COUNT,
    "data.subset_seed": Range(0, 2**63 - 1),
    "data.passes_per_epoch": COUNT,
    "data.seed": Range(0, 2**32 - 1, kind=int),
    "augmentation*.degrees": Range(0, 180),
    "augmentation*.translate": SHARE,
    "augmentation*.scale": Range(0, above=True, items=2),
    "augmentation*.shear": Range(0, 60),  # degrees; at 90 an image would be a line
    "augmentation*.amplitude": NOT_NEGATIVE,
    "augmentation*.sigma": POSITIVE,
    "model.channels": Range(1, 65_536, items=2, kind=int),
    "model.hidden": Range(1, 1_000_000, kind=int),
    "model.dropout": Range(0, 1, below=True),
    "loss.label_smoothing": SHARE,
    "loss.height": POSITIVE,
    "penalty.weight": NOT_NEGATIVE,
    "penalty.projections": COUNT,
    "penalty.iterations": COUNT,
    "penalty.distance": POSITIVE,
    "penalty.std": POSITIVE,
    "penalty.ramp_up": SHARE,
    "penalty.every_n_steps": COUNT,
    "optimizer.lr": NOT_NEGATIVE,
    "optimizer.adam_lr": NOT_NEGATIVE,
    "optimizer.betas": Range(0, 1, below=True, items=2),
    "optimizer.eps": NOT_NEGATIVE,
    "optimizer.momentum": SHARE,
    "optimizer.weight_decay": NOT_NEGATIVE,
    "scheduler.pct_start": SHARE,
    "scheduler.warmup": SHARE,
    "scheduler.milestones": SHARE,
    "scheduler.factor": POSITIVE,
    "scheduler.*div_factor": POSITIVE,
    "trainer.max_epochs": COUNT,
    "trainer.min_epochs": COUNT_OR_NONE,
    "trainer.max_steps": Range(1, MOST, besides=-1, kind=int),
    "trainer.min_steps": COUNT_OR_NONE,
    "trainer.num_nodes": Range(1, 65_536, kind=int),
    "trainer.limit_train_batches": Range(1, MOST, share=Range(0, 1, above=True), kind=int),
    "trainer.limit_*_batches": BATCHES,
    "trainer.overfit_batches": BATCHES,
    "trainer.val_check_interval": Range(1, MOST, share=Range(0, 1, above=True), kind=int, texts=True),
    "trainer.check_val_every_n_epoch": COUNT,
    "trainer.accumulate_grad_batches": COUNT,
    "trainer.gradient_clip_val": NOT_NEGATIVE,
    "trainer.log_every_n_steps": COUNT_OR_NONE,
    "trainer.num_sanity_val_steps": Range(-1, MOST, kind=int),
    "trainer.fast_dev_run": COUNT_OR_NONE,
    "callbacks.jacobian.every_n_epochs": COUNT,
    "callbacks.jacobian.max_samples": COUNT,
    "callbacks.jacobian.train_samples": COUNT_OR_NONE,
    "callbacks.jacobian.images_every_n_epochs": COUNT_OR_NONE,
    "callbacks.jacobian.probe_indices": COUNT_OR_NONE,
    "callbacks.*.every_n_batches": COUNT,
    "callbacks.*.every_n_minutes": POSITIVE,
    "callbacks.*.save_top_k": Range(-1, MOST, kind=int),
    "callbacks.*.patience": COUNT_OR_NONE,
    "callbacks.*.refresh_rate": COUNT_OR_NONE,
    "callbacks.*.decay": SHARE,
    "callbacks.distortion_annealing.start": SHARE,
    "callbacks.distortion_annealing.final": NOT_NEGATIVE,
}
"""The range of each key. The first row whose pattern fits a key counts; in a pattern, ``*`` is any text."""


def check_ranges(config: dict[str, Any]) -> None:
    """Check that the numbers of a config are finite and in their ranges.

    Raises:
        UserError: naming the first key with another value, the value and the range.
    """
    for key, value, owner in _values_with_owners(config):
        if any(isinstance(number, float) and not math.isfinite(number) for number in _numbers(value)):
            raise UserError(f"{key}={value} is not allowed; type a finite number")
        if owner and owner.partition(".")[0] not in OWNERS:
            continue
        allowed = next((row for pattern, row in RANGES.items() if fnmatchcase(key, pattern)), None)
        if allowed and not allowed.takes(value):
            raise UserError(f"{key}={value!r} is of the wrong type: it takes {allowed.kind.__name__}, {allowed}")
        if allowed and not allowed.allows(value):
            raise UserError(f"{key}={value} is not allowed; it is {allowed}")


def require_integer(key: str, value: Any) -> None:
    """Check the type of a number that no class takes, so that no signature says it.

    Raises:
        UserError: if it is something else.
    """
    if not isinstance(value, int) or isinstance(value, bool):
        raise UserError(f"{key}={value!r} is of the wrong type: it is an int")


def check_processes(trainer: dict[str, Any]) -> None:
    """Check that a training on the CPU has at most four processes for each core. Many more never get to train.

    Lightning itself checks the number of GPUs.

    Args:
        trainer: the node ``trainer`` of a config.

    Raises:
        UserError: if there are more; the message names how many may be.
    """
    import torch  # takes seconds to import

    accelerator, devices, cores = trainer.get("accelerator", "auto"), str(trainer.get("devices")), os.cpu_count() or 1
    if not devices.isdecimal() or int(devices) <= PROCESSES_OF_A_CORE * cores:
        return
    has_gpu = torch.cuda.is_available() or torch.backends.mps.is_available()
    if accelerator == "cpu" or (accelerator == "auto" and not has_gpu):
        raise UserError(
            f"trainer.devices={devices} is not allowed; it is 1 to {PROCESSES_OF_A_CORE * cores}: "
            f"on a CPU each is a process, and this machine has {cores} cores"
        )


def _values_with_owners(node: Any, key: str = "", owner: str | None = None) -> Iterator[tuple[str, Any, str | None]]:
    """Yield each value of a config with its dotted key and the ``_target_`` that takes it."""
    if isinstance(node, dict):
        target = str(node["_target_"]) if "_target_" in node else owner
        for name, value in node.items():
            yield from _values_with_owners(value, f"{key}.{name}" if key else str(name), target)
    elif isinstance(node, list) and any(isinstance(item, (dict, list)) for item in node):
        for index, value in enumerate(node):
            yield from _values_with_owners(value, f"{key}[{index}]", owner)
    else:
        yield key, node, owner


def _numbers(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
