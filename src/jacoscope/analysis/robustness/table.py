"""The rows of robustness.parquet: for each sample, which noise, attacks and corruptions its decision stands."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import pyarrow as pa
import torch
from torch import Tensor

from jacoscope.analysis.attack import SCHEMA, found_distances
from jacoscope.analysis.network import TrainedNetwork
from jacoscope.analysis.reduction import logits_jacobian
from jacoscope.analysis.robustness.perturbations import column_of, label_of, loss_gradient, stands
from jacoscope.analysis.robustness.settings import Robustness
from jacoscope.analysis.streaming import Part, Work
from jacoscope.analysis.tables import FINITE, Column, arrow_schema, as_table
from jacoscope.jacobians import boundary_distance

CHUNK = 100
"""Samples of a part: the same for every command, since the random numbers are drawn part by part."""


def robustness_columns(settings: Robustness) -> list[Column]:
    """Return the columns of robustness.parquet.

    Args:
        settings: what is asked for.
    """
    distances = [Column(f.name, f.type, *(f.metadata[k].decode() for k in (b"unit", b"meaning"))) for f in SCHEMA]
    wanted = {"predicted_distance", "predicted_class"} if not settings.finds_distances else set(SCHEMA.names)
    in_order = "index of the sample in its split; samples stand in the order of the draw"
    return [
        Column("index", pa.int64(), "", in_order, nullable=False),
        Column("label", pa.int32(), "class", "true class", nullable=False),
        Column("finite", pa.bool_(), "", FINITE, nullable=False),
        Column("prediction", pa.int32(), "class", "class with the largest logit"),
        Column("correct", pa.bool_(), "", "whether prediction and label agree"),
        Column("loss_gradient", pa.float32(), "per pixel unit", "L2 norm of the gradient of the cross-entropy"),
        *(column for column in distances if column.name in wanted - {"index"}),
        *(
            Column(
                column_of(name, size), pa.bool_(), "", f"whether the decision is right after {label_of(name)}, {size:g}"
            )
            for name, sizes in settings.sizes().items()
            for size in sizes
        ),
    ]


@dataclass(frozen=True)
class RobustnessTable(Work):
    """The rows of robustness.parquet. A sample's place in the draw is its ``index`` until all parts are merged.

    Attributes:
        settings: what is asked for.
        among: samples that are drawn from, the first ones of the split.
    """

    settings: Robustness
    among: int

    @property
    def schema(self) -> pa.Schema:
        return arrow_schema(robustness_columns(self.settings))

    @cached_property
    def drawn(self) -> list[int]:
        """The indices of the samples in the order of the draw: any number of them from the start is a random sample."""
        generator = torch.Generator().manual_seed(self.settings.seed)
        return torch.randperm(self.among, generator=generator)[: self.samples].tolist()

    def make(self, networks: Sequence[TrainedNetwork], indices: list[int]) -> Part:
        (network,) = networks
        x, labels = network.read_samples(self.split, [self.drawn[place] for place in indices])
        x, labels = x.to(network.device), labels.to(network.device)
        J, logits = logits_jacobian(network, x, self.strategy)
        finite = J.flatten(1).isfinite().all(1) & logits.isfinite().all(1)
        values = {"index": torch.tensor(indices), "label": labels.cpu(), "finite": finite}
        which = finite.nonzero().flatten()
        on_device = which.to(network.device)
        if len(which):
            rows = self._rows(network, x[on_device], labels[on_device], J[which], logits[which], indices[0])
            for name, row in rows.items():
                values[name] = torch.zeros(len(indices), dtype=row.dtype).index_copy(0, which, row.cpu())
        kinds = {field.name: field.type for field in self.schema}
        nothing = {
            name: torch.zeros(len(indices), dtype=torch.bool if pa.types.is_boolean(kind) else torch.int32)
            for name, kind in kinds.items()
        }
        return Part(as_table({**nothing, **values}, self.schema), {}, {})

    def _rows(
        self, network: TrainedNetwork, x: Tensor, labels: Tensor, J: Tensor, logits: Tensor, start: int
    ) -> dict[str, Tensor]:
        """Return the columns of samples with a finite Jacobian."""
        module, settings = network.module, self.settings
        boundary, prediction = boundary_distance(J, logits), logits.argmax(1)
        rows = {
            "prediction": prediction,
            "correct": prediction == labels.cpu(),
            "loss_gradient": loss_gradient(module, x, labels),
            "predicted_distance": boundary.distance,
            "predicted_class": boundary.nearest,
        }
        if settings.finds_distances:
            there = [tensor.to(x.device) for tensor in (prediction, boundary.direction, boundary.distance)]
            rows |= found_distances(module, x, *there)
        for name, sizes in settings.sizes().items():
            seeds = [zlib.crc32(f"{settings.seed} {start} {column_of(name, size)}".encode()) for size in sizes]
            found = stands(name, module, x, labels, sizes, seeds, settings.steps, settings.restarts)
            rows |= {column_of(name, size): row for size, row in zip(sizes, found, strict=True)}
        return rows
