"""The table of a whole split: a row for each sample, mean maps for each class, and the Jacobians on request."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import pyarrow as pa
import torch
from torch import Tensor

from jacoscope.analysis.derivatives import jacobian_of
from jacoscope.analysis.reduction import MapSums, Reduction
from jacoscope.analysis.schema import Column, arrow_schema, columns
from jacoscope.analysis.store import JacobianStore
from jacoscope.analysis.stream import Work, as_table, checked_labels, read_samples
from jacoscope.analysis.subject import Subject


@dataclass(frozen=True)
class SplitTable(Work):
    """The rows of samples.parquet.

    Attributes:
        output: what the norms are of.
        store: for the full Jacobians, if they are wanted.
    """

    output: str
    store: JacobianStore | None

    @property
    def columns(self) -> list[Column]:
        """The columns of the table."""
        images = self.origins[0].config["images"]
        return columns(images["classes"], min(images["classes"], torch.Size(images["shape"]).numel()), self.output)

    @cached_property
    def reduction(self) -> Reduction:
        """From Jacobians to rows."""
        return Reduction(self.output)

    @property
    def schema(self) -> pa.Schema:
        return arrow_schema(self.columns, {})

    def make(self, subjects: Sequence[Subject], indices: list[int]) -> tuple[pa.Table, dict[str, Tensor]]:
        (subject,) = subjects
        classes = subject.origin.config["images"]["classes"]
        x, labels = read_samples(subject.split(self.split), indices)
        checked_labels(labels, classes, indices)
        J, logits = jacobian_of(subject, x)
        sums = MapSums.zero(classes, subject.shape) if subject.origin.keeps_maps else None
        reduced, wanted = self.reduction(x, labels, J, logits, sums)
        if self.store is not None:
            self.store.write(indices[0], wanted)
        rows = as_table({"index": torch.tensor(indices), **reduced}, self.schema)
        return rows, sums.arrays() if sums is not None else {}
