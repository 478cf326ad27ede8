"""summary.json: what the table says as a whole, every number computed from samples.parquet alone."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from jacoscope.analysis.finite import finite_rows, left_out
from jacoscope.analysis.statistics import Values, auroc, correlation, quantiles, ranks

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


SPECTRA = 20_000
"""Percentiles of the singular values are taken over at most so many samples, evenly spread."""


def summarise(table_file: Path, class_names: list[str]) -> dict[str, Any]:
    """Summarise a table of samples, with a few columns of it in memory at a time: some 60 bytes a sample.

    Args:
        table_file: samples.parquet, as :mod:`jacoscope.analysis.schema` describes it.
        class_names: one for each class.

    Returns:
        Plain values for JSON; what cannot be known (the mean over no samples) is null. Samples without a finite
        Jacobian are counted in ``left_out`` and play no part in the rest.

    Raises:
        UserError: if no sample has a finite Jacobian.
    """
    table = finite_rows(table_file, [*MEASURES, "index", "label", "prediction", "correct"])
    columns = {name: table.column(name).to_numpy() for name in table.column_names}
    correct = columns["correct"].astype(bool)
    right, wrong = _group(columns, correct), _group(columns, ~correct)
    return {
        "samples": len(table),
        "left_out": left_out(table_file),
        "errors": int((~correct).sum()),
        "accuracy": _number(correct.mean()),
        "measures": {name: distribution(columns[name]) for name in MEASURES},
        "by_class": {name: _group(columns, columns["label"] == k) for k, name in enumerate(class_names)},
        "correct": right,
        "wrong": wrong,
        "frobenius_wrong_to_correct": _ratio(wrong["frobenius"], right["frobenius"]),
        "correlation_with_confidence": {
            name: {
                "pearson": _number(correlation(columns[name], columns["confidence"])),
                "spearman": _number(correlation(ranks(columns[name]), ranks(columns["confidence"]))),
            }
            for name in (*NORMS, "effective_rank", "boundary_distance")
        },
        "auroc_of_errors": {name: _number(auroc(sign * columns[name], ~correct)) for name, sign in DETECTORS.items()},
        "spectrum": _spectrum(table_file),
        "most_sensitive": _ends(columns, "frobenius", largest=True),
        "least_sensitive": _ends(columns, "frobenius", largest=False),
        "confident_errors": _ends(columns, "confidence", largest=True, among=~correct),
    }


def distribution(values: Values) -> dict[str, float | None]:
    """Give the mean of the finite values and how many are infinite; quantiles and extremes with these as the largest.

    >>> distribution(np.array([1.0, 3.0, 2.0, np.inf]))["mean"], distribution(np.array([np.inf]))["infinite"]
    (2.0, 1)
    """
    finite = values[np.isfinite(values)]
    described: dict[str, float | None] = {"infinite": len(values) - len(finite)}
    described["mean"] = _number(finite.mean(dtype=np.float64)) if len(finite) else None
    names = ("min", "percentile_5", "median", "percentile_95", "max")
    at = quantiles(values, [0, 0.05, 0.5, 0.95, 1])
    return described | {name: _number(value) for name, value in zip(names, at, strict=True)}


def _spectrum(table_file: Path) -> dict[str, Any]:
    """Give mean and percentiles of each singular value, reading a batch of rows at a time.

    ``share_of_strongest`` is that of the mean spectrum, σ₁² / Σ σᵢ².
    """
    file = pq.ParquetFile(table_file)
    step = -(-file.metadata.num_rows // SPECTRA)
    total: Values = np.zeros(1)
    kept, seen = [], 0
    for whole in file.iter_batches(columns=["singular_values", "finite"]):
        batch = whole.filter(whole.column("finite"))
        lists = batch.column("singular_values")
        values = lists.flatten().to_numpy().reshape(len(batch), lists.type.list_size)
        total = total + values.sum(0, dtype=np.float64)
        kept.append(values[-seen % step :: step])
        seen += len(batch)
    low, high = np.percentile(np.concatenate(kept), [5, 95], axis=0)
    mean = total / seen
    named = {"mean": mean, "percentile_5": low, "percentile_95": high}
    return {
        "values": len(mean),
        "share_of_strongest": _ratio(float(mean[0] ** 2), float((mean**2).sum())),
        **{name: [_number(value) for value in values] for name, values in named.items()},
    }


def _group(columns: dict[str, Values], which: Values) -> dict[str, Any]:
    count = int(which.sum())
    return {
        "samples": count,
        "accuracy": _number(columns["correct"][which].mean()) if count else None,
        "infinite_boundary_distances": int(np.isinf(columns["boundary_distance"][which]).sum()),
        **{name: distribution(columns[name][which])["mean"] for name in MEASURES},
    }


def _ends(columns: dict[str, Values], by: str, *, largest: bool, among: Values | None = None) -> list[dict[str, Any]]:
    where = np.arange(len(columns[by])) if among is None else np.flatnonzero(among)
    order = where[np.argsort(-columns[by][where] if largest else columns[by][where], kind="stable")][:12]
    shown = ("index", "label", "prediction", "confidence", "frobenius", "spectral", "boundary_distance")
    return [{name: _plain(columns[name][i]) for name in shown} for i in order]


def _ratio(numerator: float | None, denominator: float | None) -> float | None:
    return numerator / denominator if numerator is not None and denominator else None


def _plain(value: Any) -> Any:
    return _number(value) if isinstance(value, np.floating) else value.item()


def _number(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None
