"""Statistics of order: ranks, AUROC, correlation."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Values = NDArray[Any]


def auroc(score: Values, positive: Values) -> float:
    """Area under the ROC curve: the probability that a positive scores higher than a negative, ties counted half.

    NaN where there are no positives or no negatives.

    >>> auroc(np.array([0.1, 0.4, 0.35, 0.8]), np.array([False, False, True, True]))
    0.75
    """
    positive = positive.astype(bool)
    p, n = int(positive.sum()), int((~positive).sum())
    if p == 0 or n == 0:
        return float("nan")
    return float((ranks(score)[positive].sum() - p * (p + 1) / 2) / (p * n))


def ranks(values: Values) -> Values:
    """Give ranks from 1, ties sharing the mean of theirs.

    >>> ranks(np.array([30, 10, 10])).tolist()
    [3.0, 1.5, 1.5]
    """
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = counts.cumsum()
    means: Values = last - (counts - 1) / 2
    return means[inverse]


def correlation(a: Values, b: Values) -> float:
    """Pearson's correlation of the pairs that are finite; NaN where it is not defined."""
    finite = np.isfinite(a) & np.isfinite(b)
    a, b = a[finite].astype(np.float64), b[finite].astype(np.float64)
    if len(a) < 2 or a.std() == 0 or b.std() == 0:
        return float("nan")
    return float(np.corrcoef(a, b)[0, 1])
