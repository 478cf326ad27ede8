"""How far a confidence can be trusted: calibration by bins, and the interval of an AUROC."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest, rankdata

Values = NDArray[Any]
BINS = 10
"""Of equal width, from chance to 1."""
TWO_SIDED_95 = 1.959964
"""Standard deviations of a normal distribution that hold 95 % of it."""


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


def wilson_interval(right: int, count: int) -> tuple[float, float]:
    """Return Wilson's (1927) 95 % interval of a share: ``right`` of ``count`` trials.

    >>> [round(end, 3) for end in wilson_interval(5, 10)]
    [0.237, 0.763]
    """
    interval = binomtest(right, count).proportion_ci(0.95, method="wilson")
    return float(interval.low), float(interval.high)


def auroc_interval(scores: Values, positive: Values) -> tuple[float, float] | None:
    """Return the 95 % interval of an AUROC, by the variance of DeLong et al. (1988, doi:10.2307/2531595).

    The interval is symmetric on the logit scale, so that it stays within 0 and 1. ``None`` where there are fewer than
    two samples of either kind, or they are told apart without any mistake.

    Args:
        scores: large where a positive is expected, ``[samples]``.
        positive: which samples are positive, ``[samples]``.

    >>> low, high = auroc_interval(np.array([3.0, 1.0, 2.0, 0.0, 5.0, 4.0]), np.array([1, 0, 0, 0, 0, 1], bool))
    >>> low < 0.75 < high
    True
    """
    count, others = int(positive.sum()), int((~positive).sum())
    if min(count, others) < 2:
        return None
    ranks = rankdata(scores)
    above = (ranks[positive] - rankdata(scores[positive])) / others  # share of negatives below each positive
    below = 1 - (ranks[~positive] - rankdata(scores[~positive])) / count  # of positives above each negative
    area = float(above.mean())
    deviation = math.sqrt(above.var(ddof=1) / count + below.var(ddof=1) / others)
    if not 0 < area < 1:
        return None
    logit, half = math.log(area / (1 - area)), TWO_SIDED_95 * deviation / (area * (1 - area))
    low, high = (1 / (1 + math.exp(-min(max(end, -700.0), 700.0))) for end in (logit - half, logit + half))
    return low, high
