"""Confidence intervals, each of 95 %: of a share, of an AUROC, and of a rank correlation."""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import binomtest, norm, rankdata, spearmanr

Values = NDArray[Any]
DEVIATIONS = float(norm.ppf(0.975))
"""Standard deviations of a normal distribution, to either side, that hold 95 % of it."""


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
    logit, half = math.log(area / (1 - area)), DEVIATIONS * deviation / (area * (1 - area))
    low, high = (1 / (1 + math.exp(-min(max(end, -700.0), 700.0))) for end in (logit - half, logit + half))
    return low, high


class RankCorrelation(NamedTuple):
    """Spearman's rank correlation, and the ends of its interval; None for what is not defined."""

    spearman: float | None = None
    spearman_low: float | None = None
    spearman_high: float | None = None


def rank_correlation(a: ArrayLike, b: ArrayLike) -> RankCorrelation:
    r"""Return Spearman's rank correlation of pairs, and its interval. Infinity is the largest rank.

    The interval is :math:`\tanh(\operatorname{artanh} \rho \pm 1.96 s)` with :math:`s^2 = (1 + \rho^2 / 2) / (n - 3)`
    (Bonett & Wright, 2000). The correlation is None where one of the two is constant; the interval also for four pairs
    or fewer, and for a perfect correlation.

    Args:
        a: values, none of them NaN.
        b: as many.

    >>> rank_correlation([1, 2, 3], [1, 3, 2])
    RankCorrelation(spearman=0.5, spearman_low=None, spearman_high=None)
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if not both_vary(a, b):
        return RankCorrelation()
    rho = float(spearmanr(a, b).statistic)
    if len(a) < 5 or abs(rho) > 1 - 1e-12:
        return RankCorrelation(rho)
    reach = DEVIATIONS * math.sqrt((1 + rho**2 / 2) / (len(a) - 3))
    return RankCorrelation(rho, *(math.tanh(math.atanh(rho) + end) for end in (-reach, reach)))


def both_vary(a: Values, b: Values) -> bool:
    """Whether a correlation is defined: there are two pairs or more, and neither of the two is constant."""
    return len(a) > 1 and not ((a == a[0]).all() or (b == b[0]).all())
