"""From numbers of each sample to the few that are logged.

TensorBoard makes a group of cards for each first part of a tag. ``jacobian/`` is the one that is read every day; what
breaks it down further has groups of its own.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from jacoscope.callbacks.measurement import Measurement

NORMS = ("frobenius", "spectral")
RANK = "effective_rank"


def summarise(measured: Measurement, class_names: Sequence[str], max_classes: int) -> dict[str, float]:
    """Give the scalars of a measurement, by tag.

    Args:
        measured: of validation or test samples.
        class_names: one for each output.
        max_classes: the means of classes are given for the first so many.
    """
    scalars: dict[str, float] = {}
    labelled = measured.labels >= 0
    correct = measured.predictions == measured.labels
    if labelled.any():
        scalars["jacobian_by_outcome/wrong_count"] = float((labelled & ~correct).sum())
    for name, values in measured.values.items():
        known = values.isfinite()  # a boundary that no input moves is infinitely far
        scalars |= _overall(f"jacobian/{name}", values[known])
        if name.endswith(RANK):
            continue
        for what, part in (("correct", correct), ("wrong", ~correct)):
            scalars |= _mean(f"jacobian_by_outcome/{name}/{what}", values[known & labelled & part])
        for k in range(min(max_classes, len(class_names))):
            scalars |= _mean(f"jacobian_by_class/{name}/{class_names[k]}", values[known & (measured.labels == k)])
        if name.endswith(NORMS):
            wrong, right = values[labelled & ~correct], values[labelled & correct]
            if len(wrong) and len(right):
                scalars[f"jacobian_by_outcome/{name}/auroc"] = auroc(wrong, right)
    for output, spectrum in measured.spectra.items():
        for i, value in enumerate(spectrum.mean(0)[:10].tolist() if len(spectrum) else [], start=1):
            scalars[f"jacobian_spectrum/{output}/{i:02d}"] = value
    scalars["jacobian/nonfinite"] = float(len(measured.broken))
    return scalars


def summarise_training(measured: Measurement, scalars: dict[str, float]) -> dict[str, float]:
    """Give the same over training samples, and how much larger the means of validation samples are.

    Args:
        measured: of training samples.
        scalars: of validation samples, as ``summarise`` gives them.
    """
    result: dict[str, float] = {}
    for name, values in measured.values.items():
        tag = f"jacobian_train/{name}"
        result |= _overall(tag, values[values.isfinite()])
        if result.get(f"{tag}/mean") and f"jacobian/{name}/mean" in scalars:
            result[f"{tag}/val_over_train"] = scalars[f"jacobian/{name}/mean"] / result[f"{tag}/mean"]
    return result


def is_headline(tag: str) -> bool:
    """Tell whether a scalar is one of the few that stand for a run."""
    return tag.startswith("jacobian/") and tag.endswith("/mean")


def auroc(positives: Tensor, negatives: Tensor) -> float:
    """Give the probability that a random positive is larger than a random negative; a tie counts one half.

    The area under the ROC curve (Hanley & McNeil, 1982): 0.5 tells nothing, 1 tells all.

    >>> auroc(torch.tensor([3.0, 1.0]), torch.tensor([1.0, 0.0]))
    0.875
    """
    difference = positives.double()[:, None] - negatives.double()[None]
    return float(((difference > 0).double() + (difference == 0).double() / 2).mean())


def _overall(tag: str, values: Tensor) -> dict[str, float]:
    """Mean, percentiles and maximum; of the effective rank, which hardly spreads, the mean."""
    if not len(values) or tag.endswith(RANK):
        return _mean(f"{tag}/mean", values)
    values = values.double()
    p05, median, p95 = values.quantile(torch.tensor([0.05, 0.5, 0.95], dtype=torch.float64)).tolist()
    return {
        f"{tag}/mean": float(values.mean()),
        f"{tag}/median": median,
        f"{tag}/p05": p05,
        f"{tag}/p95": p95,
        f"{tag}/max": float(values.max()),
    }


def _mean(tag: str, values: Tensor) -> dict[str, float]:
    return {tag: float(values.double().mean())} if len(values) else {}
