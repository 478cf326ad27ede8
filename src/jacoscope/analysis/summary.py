"""summary.json: what the table says as a whole, every number computed from samples.parquet alone."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from scipy.stats import pearsonr

from jacoscope.analysis.tables import finite_rows, left_out
from jacoscope.intervals import auroc_interval, both_vary, rank_correlation, wilson_interval
from jacoscope.measures import MEASURES, auroc, shown_in

Values = NDArray[Any]
SPECTRA = 20_000
"""Largest number of samples, evenly spread, from which percentiles of the singular values are computed."""
BINS = 10
"""Of a calibration curve, of equal width, from chance to 1."""
LISTED = 12
"""Samples in each ranking."""
LISTED_COLUMNS = ("index", "label", "prediction", "correct", *(measure.name for measure in shown_in("samples")))
"""Columns that the rankings are made from."""


def summarise(file: Path, class_names: list[str]) -> dict[str, Any]:
    """Summarise a table of samples, with a few columns of it in memory at a time: some 60 bytes a sample.

    Args:
        file: samples.parquet, with the columns of :mod:`jacoscope.analysis.tables`.
        class_names: one for each class.

    Returns:
        Plain values for JSON; what cannot be known (the mean over no samples) is null. Samples without a finite
        Jacobian are counted in ``left_out`` and are in nothing else.

    Raises:
        UserError: if no sample has a finite Jacobian.
    """
    table = finite_rows(file, ["index", "label", "prediction", "correct", *MEASURES])
    columns = {name: table[name].to_numpy() for name in table.column_names}
    correct = columns["correct"].astype(bool)
    right, wrong = _group(columns, correct), _group(columns, ~correct)
    is_wrong, confidence = torch.from_numpy(~correct), columns["confidence"]
    return {
        "samples": len(table),
        "left_out": left_out(file),
        "errors": int((~correct).sum()),
        "accuracy": known(correct.mean()),
        "measures": {name: distribution(columns[name]) for name in MEASURES},
        "by_class": {name: _group(columns, columns["label"] == k) for k, name in enumerate(class_names)},
        "correct": right,
        "wrong": wrong,
        "frobenius_wrong_to_correct": _ratio(wrong["frobenius"], right["frobenius"]),
        "correlation_with_confidence": {
            name: correlations(columns[name], confidence) for name, m in MEASURES.items() if m.of != "logits"
        },
        "auroc_of_errors": {
            name: known(auroc(measure.concern * torch.tensor(columns[name]), is_wrong))
            for name, measure in MEASURES.items()
            if measure.concern
        },
        "auroc_of_errors_interval": {
            name: auroc_interval(measure.concern * columns[name], ~correct)
            for name, measure in MEASURES.items()
            if measure.concern
        },
        "calibration": calibration(confidence, correct, len(class_names)),
        "spectrum": _spectrum(file),
        **rankings(columns),
    }


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


def rankings(columns: dict[str, Values]) -> dict[str, list[dict[str, Any]]]:
    """Return the samples at the ends: the most and the least sensitive ones, and the errors with most confidence.

    Args:
        columns: of the samples whose Jacobian is finite, with those of :data:`LISTED_COLUMNS`.
    """
    return {
        "most_sensitive": _ranked(columns, -columns["frobenius"]),
        "least_sensitive": _ranked(columns, columns["frobenius"]),
        "confident_errors": _ranked(columns, -columns["confidence"], among=~columns["correct"].astype(bool)),
    }


def distribution(values: Values) -> dict[str, float | None]:
    """Return the mean of the finite values, the number of infinite ones, and quantiles with these as the largest.

    >>> distribution(np.array([1.0, 3.0, 2.0, np.inf]))["mean"], distribution(np.array([np.inf]))["infinite"]
    (2.0, 1)
    """
    finite = values[np.isfinite(values)]
    described: dict[str, float | None] = {"infinite": len(values) - len(finite)}
    described["mean"] = known(finite.mean(dtype=np.float64)) if len(finite) else None
    names = ("min", "percentile_5", "median", "percentile_95", "max")
    at = quantiles(values, [0, 0.05, 0.5, 0.95, 1])
    return described | {name: known(value) for name, value in zip(names, at, strict=True)}


def quantiles(values: Values, at: Sequence[float]) -> list[float]:
    """Compute quantiles as :func:`numpy.quantile`; infinite values are the largest, and so is all beside them.

    >>> quantiles(np.array([1, 2, 4, np.inf]), [0, 0.5, 0.9]), quantiles(np.array([]), [0.5])
    ([1.0, 3.0, inf], [nan])
    """
    if not len(values):
        return [float("nan")] * len(at)
    with np.errstate(invalid="ignore"):  # between a number and infinity NumPy computes inf − inf
        between = np.quantile(values.astype(np.float64), at)
    above = np.quantile(values, at, method="higher")
    return np.where(np.isnan(between), above, between).tolist()  # type: ignore[no-any-return]


def correlations(a: Values, b: Values) -> dict[str, float | None]:
    """Return Pearson's correlation of the pairs that are finite, and Spearman's, where infinity is the largest rank.

    Null where a correlation is not defined: one of the two is constant.
    """
    finite = np.isfinite(a) & np.isfinite(b)
    return {
        "pearson": known(pearsonr(a[finite], b[finite]).statistic) if both_vary(a[finite], b[finite]) else None,
        "spearman": rank_correlation(a, b).spearman,
    }


def known(value: Any) -> float | None:
    """Return a number as it is written in JSON: null for NaN and infinity."""
    return float(value) if np.isfinite(value) else None


def _spectrum(file: Path) -> dict[str, Any]:
    """Return mean and percentiles of each singular value, with a batch of rows in memory at a time.

    ``share_of_strongest`` is that of the mean spectrum, σ₁² / Σ σᵢ².
    """
    table = pq.ParquetFile(file)
    step = -(-table.metadata.num_rows // SPECTRA)
    total: Values = np.zeros(1)
    kept, seen = [], 0
    for whole in table.iter_batches(columns=["singular_values", "finite"]):
        batch = whole.filter(whole.column("finite"))
        if not len(batch):
            continue
        values = batch.column("singular_values").flatten().to_numpy().reshape(len(batch), -1)
        total = total + values.sum(0, dtype=np.float64)
        kept.append(values[-seen % step :: step])
        seen += len(batch)
    low, high = np.percentile(np.concatenate(kept), [5, 95], axis=0)
    mean = total / seen
    named = {"mean": mean, "percentile_5": low, "percentile_95": high}
    return {
        "values": len(mean),
        "share_of_strongest": _ratio(float(mean[0] ** 2), float((mean**2).sum())),
        **{name: [known(value) for value in values] for name, values in named.items()},
    }


def _group(columns: dict[str, Values], which: Values) -> dict[str, Any]:
    count = int(which.sum())
    return {
        "samples": count,
        "accuracy": known(columns["correct"][which].mean()) if count else None,
        "infinite_boundary_distances": int(np.isinf(columns["boundary_distance"][which]).sum()),
        **{name: distribution(columns[name][which])["mean"] for name in MEASURES},
    }


def _ranked(columns: dict[str, Values], by: Values, among: Values | None = None) -> list[dict[str, Any]]:
    """Return the samples with the smallest values of ``by``; of equal ones the first."""
    where = np.arange(len(by)) if among is None else np.flatnonzero(among)
    order = where[np.argsort(by[where], kind="stable")][:LISTED]
    shown = [name for name in LISTED_COLUMNS if name != "correct"]
    return [{name: _plain(columns[name][i]) for name in shown} for i in order]


def _ratio(numerator: float | None, denominator: float | None) -> float | None:
    return numerator / denominator if numerator is not None and denominator else None


def _plain(value: Any) -> Any:
    return known(value) if isinstance(value, np.floating) else value.item()
