"""Statistics of columns: quantiles, ranks, AUROC, correlation."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Values = NDArray[Any]


def quantiles(values: Values, at: Sequence[float]) -> list[float]:
    """Give quantiles, between two values in proportion; infinite ones are the largest, and so is all beside them.

    >>> quantiles(np.array([1, 2, 4, np.inf]), [0, 0.5, 0.9]), quantiles(np.array([]), [0.5])
    ([1.0, 3.0, inf], [nan])
    """
    if not len(values):
        return [float("nan")] * len(at)
    ordered = np.sort(values.astype(np.float64))
    places = np.round(np.asarray(at) * (len(ordered) - 1), 9)  # 0.95 * 40 is a whole number
    below, above = ordered[np.floor(places).astype(int)], ordered[np.ceil(places).astype(int)]
    finite = np.isfinite(above)
    found: Values = above.copy()
    found[finite] = below[finite] + (places % 1)[finite] * (above[finite] - below[finite])
    return found.tolist()  # type: ignore[no-any-return]


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
