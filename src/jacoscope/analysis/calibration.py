"""How far a confidence can be trusted: calibration by bins."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from jacoscope.intervals import wilson_interval

Values = NDArray[Any]
BINS = 10
"""Of equal width, from chance to 1."""


def calibration(confidence: Values, correct: Values, classes: int) -> dict[str, Any]:
    r"""Compare the confidence with the share of right decisions, in :data:`BINS` bins from chance, 1 / classes, to 1.

    The expected calibration error is :math:`\sum_b n_b / n \, |\text{accuracy}_b - \text{confidence}_b|` (Guo et al.
    2017, arXiv:1706.04599). A decision is called sure above the confidence ``sure``, halfway from chance to 1.
    ``low`` and ``high`` are the ends of Wilson's 95 % interval of a bin's accuracy.

    Args:
        confidence: the largest probability of each sample, ``[samples]``.
        correct: whether its decision is right, ``[samples]``.
        classes: how many there are.

    >>> calibration(np.array([0.8, 0.8, 0.8, 0.8]), np.array([True, True, True, False]), 2)["error"]  # 75 % are right
    0.05
    """
    chance = 1 / classes
    edges = np.linspace(chance, 1.0, BINS + 1)
    places = np.clip(np.searchsorted(edges, confidence, side="right") - 1, 0, BINS - 1)
    bins, error = [], 0.0
    for place in range(BINS):
        which = places == place
        count, right = int(which.sum()), int(correct[which].sum())
        if not count:
            continue
        mean, share = float(confidence[which].mean(dtype=np.float64)), right / count
        low, high = wilson_interval(right, count)
        ends = {"from": float(edges[place]), "to": float(edges[place + 1])}
        bins.append({**ends, "samples": count, "confidence": mean, "accuracy": share, "low": low, "high": high})
        error += count / len(confidence) * abs(share - mean)
    return {"chance": chance, "sure": (1 + chance) / 2, "error": round(error, 6), "bins": bins}
