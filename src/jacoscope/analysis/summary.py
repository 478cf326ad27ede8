"""summary.json: what the table says as a whole, every number computed from samples.parquet alone."""

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Values = NDArray[Any]

NORMS = ("frobenius", "spectral", "nuclear", "l1_operator", "linf_operator")
MEASURES = (*NORMS, "stable_rank", "effective_rank", "boundary_distance", "confidence", "margin")
DETECTORS = {
    "frobenius": 1,
    "spectral": 1,
    "nuclear": 1,
    "effective_rank": 1,
    "boundary_distance": -1,
    "margin": -1,
    "confidence": -1,
}
"""What may tell errors from right decisions, and whether large (1) or small (-1) values point to an error."""


def summarise(table: pa.Table, class_names: list[str]) -> dict[str, Any]:
    """Summarise a table of samples.

    Args:
        table: as :mod:`jacoscope.analysis.schema` describes it.
        class_names: one for each class.

    Returns:
        Plain values for JSON; what cannot be known (the mean over no samples) is null.
    """
    columns = {name: table.column(name).to_numpy() for name in (*MEASURES, "index", "label", "prediction", "correct")}
    correct = columns["correct"].astype(bool)
    spectrum = np.stack(table.column("singular_values").combine_chunks().flatten().to_numpy().reshape(len(table), -1))
    return {
        "samples": len(table),
        "errors": int((~correct).sum()),
        "accuracy": _number(correct.mean()),
        "measures": {name: distribution(columns[name]) for name in MEASURES},
        "by_class": {name: _group(columns, columns["label"] == k) for k, name in enumerate(class_names)},
        "correct": _group(columns, correct),
        "wrong": _group(columns, ~correct),
        "correlation_with_confidence": {
            name: {
                "pearson": _number(_correlation(columns[name], columns["confidence"])),
                "spearman": _number(_correlation(ranks(columns[name]), ranks(columns["confidence"]))),
            }
            for name in (*NORMS, "effective_rank", "boundary_distance")
        },
        "auroc_of_errors": {name: _number(auroc(sign * columns[name], ~correct)) for name, sign in DETECTORS.items()},
        "spectrum": {
            "mean": [_number(v) for v in spectrum.mean(0)],
            "percentile_5": [_number(v) for v in np.percentile(spectrum, 5, axis=0)],
            "percentile_95": [_number(v) for v in np.percentile(spectrum, 95, axis=0)],
        },
        "most_sensitive": _ends(columns, "frobenius", largest=True),
        "least_sensitive": _ends(columns, "frobenius", largest=False),
        "confident_errors": _ends(columns, "confidence", largest=True, among=~correct),
    }


def distribution(values: Values) -> dict[str, float | None]:
    """Give mean, quantiles and extremes; infinite distances count as the largest."""
    if not len(values):
        return dict.fromkeys(("mean", "min", "percentile_5", "median", "percentile_95", "max"))
    low, median, high = np.quantile(values, [0.05, 0.5, 0.95], method="nearest")
    named = {"mean": values.mean(dtype=np.float64), "min": values.min(), "percentile_5": low, "median": median}
    return {name: _number(v) for name, v in {**named, "percentile_95": high, "max": values.max()}.items()}


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


def _group(columns: dict[str, Values], which: Values) -> dict[str, Any]:
    count = int(which.sum())
    return {
        "samples": count,
        "accuracy": _number(columns["correct"][which].mean()) if count else None,
        **{name: distribution(columns[name][which])["mean"] for name in MEASURES},
    }


def _ends(columns: dict[str, Values], by: str, *, largest: bool, among: Values | None = None) -> list[dict[str, Any]]:
    where = np.arange(len(columns[by])) if among is None else np.flatnonzero(among)
    order = where[np.argsort(-columns[by][where] if largest else columns[by][where], kind="stable")][:12]
    shown = ("index", "label", "prediction", "confidence", "frobenius", "spectral", "boundary_distance")
    return [{name: _plain(columns[name][i]) for name in shown} for i in order]


def _correlation(a: Values, b: Values) -> float:
    finite = np.isfinite(a) & np.isfinite(b)
    a, b = a[finite].astype(np.float64), b[finite].astype(np.float64)
    if len(a) < 2 or a.std() == 0 or b.std() == 0:
        return float("nan")
    return float(np.corrcoef(a, b)[0, 1])


def _plain(value: Any) -> Any:
    return _number(value) if isinstance(value, np.floating) else value.item()


def _number(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None
