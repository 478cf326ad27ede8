"""Two networks on the same samples: norms, agreement, and whether their Jacobians point the same way."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from jacoscope.analysis.derivatives import jacobian_of
from jacoscope.analysis.finite import finite_rows, left_out
from jacoscope.analysis.reduction import MapSums, Reduction
from jacoscope.analysis.schema import ALWAYS_THERE, Column, arrow_schema, columns
from jacoscope.analysis.statistics import quantiles
from jacoscope.analysis.stream import Work, as_table, checked_labels, read_samples
from jacoscope.analysis.subject import Subject

OF_EACH = (
    "prediction",
    "correct",
    "confidence",
    "frobenius",
    "spectral",
    "effective_rank",
    "boundary_distance",
)
"""Columns of samples.parquet that are there for both networks, with ``_a`` or ``_b`` behind the name."""


@dataclass(frozen=True)
class ComparisonTable(Work):
    """The rows of comparison.parquet; ``origins`` are those of the networks a and b.

    Attributes:
        output: whose derivatives are compared.
    """

    output: str

    @property
    def schema(self) -> pa.Schema:
        """The columns, with units and meanings."""
        known = {column.name: column for column in columns(2, 2, self.output)}
        of_each = [
            known[name]._replace(name=f"{name}_{mark}", meaning=f"{known[name].meaning}, network {mark}")
            for mark in "ab"
            for name in OF_EACH
        ]
        angle = Column("cosine", pa.float32(), "", "cosine of the angle between both J")
        return arrow_schema([*(known[name] for name in ALWAYS_THERE), *of_each, angle], {})

    @cached_property
    def reduction(self) -> Reduction:
        """From Jacobians to rows."""
        return Reduction(self.output)

    def make(self, subjects: Sequence[Subject], indices: list[int]) -> tuple[pa.Table, dict[str, Tensor]]:
        classes, shape = subjects[0].origin.config["images"]["classes"], subjects[0].shape
        x, labels = read_samples(subjects[0].split(self.split), indices)
        values = {"index": torch.tensor(indices), "label": checked_labels(labels, classes, indices)}
        added: dict[str, Tensor] = {}
        both = []
        for subject, mark in zip(subjects, "ab", strict=True):
            sums = MapSums.zero(classes, shape) if subject.origin.keeps_maps else None
            reduced, J = self.reduction(x, labels, *jacobian_of(subject, x), sums)
            values |= {f"{name}_{mark}": reduced[name] for name in OF_EACH}
            if sums is not None:
                added |= {f"{name}_{mark}": total for name, total in sums.arrays().items()}
            both.append(J)
            values["finite"] = values["finite"] & reduced["finite"] if "finite" in values else reduced["finite"]
        return as_table({**values, "cosine": cosine(*both)}, self.schema), added


def cosine(J: Tensor, K: Tensor) -> Tensor:
    r"""Cosine between two Jacobians, :math:`\langle J, K\rangle_F / (\|J\|_F \|K\|_F)`, ``[batch]``.

    0 where either is zero.

    >>> bool(torch.isclose(cosine(torch.ones(1, 2, 3), -2 * torch.ones(1, 2, 3)), torch.tensor(-1.0)))
    True
    """
    a, b = J.flatten(1), K.flatten(1)
    lengths = torch.linalg.vector_norm(a, dim=1) * torch.linalg.vector_norm(b, dim=1)
    cosines: Tensor = ((a * b).sum(1) / lengths).where(lengths > 0, torch.zeros_like(lengths))
    return cosines


def summarise_comparison(table_file: Path) -> dict[str, Any]:
    """Say in a few numbers how the networks differ, all from comparison.parquet.

    Raises:
        UserError: if no sample has a finite Jacobian in both.
    """
    table = finite_rows(table_file)
    c = {name: table.column(name).to_numpy() for name in table.column_names}
    right_a, right_b = c["correct_a"].astype(bool), c["correct_b"].astype(bool)
    more = c["frobenius_b"] > c["frobenius_a"]
    ratio = c["frobenius_b"] / np.maximum(c["frobenius_a"], np.finfo(np.float32).tiny)
    low, high = quantiles(c["cosine"], [0.05, 0.95])
    return {
        "samples": len(table),
        "left_out": left_out(table_file),
        "a": _of_one(c, "a"),
        "b": _of_one(c, "b"),
        "agreement": float((c["prediction_a"] == c["prediction_b"]).mean()),
        "only_a_right": int((right_a & ~right_b).sum()),
        "only_b_right": int((right_b & ~right_a).sum()),
        "both_wrong": int((~right_a & ~right_b).sum()),
        "b_more_sensitive": float(more.mean()),
        "median_ratio_of_frobenius": _median(ratio),
        "median_cosine": _median(c["cosine"]),
        "cosine_percentile_5": low,
        "cosine_percentile_95": high,
    }


def _of_one(c: dict[str, Any], mark: str) -> dict[str, float | None]:
    names = ("frobenius", "spectral", "effective_rank", "boundary_distance", "confidence")
    medians = {f"median_{name}": _median(c[f"{name}_{mark}"]) for name in names}
    return {"accuracy": float(c[f"correct_{mark}"].mean()), **medians}


def _median(values: Any) -> float | None:
    """The median; none where it is infinite."""
    (median,) = quantiles(values, [0.5])
    return median if np.isfinite(median) else None
