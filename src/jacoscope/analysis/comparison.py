"""Two networks on the same samples: norms, agreement, and whether their Jacobians point the same way."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from jacoscope.analysis.reduction import MapSums, reduce_chunk
from jacoscope.analysis.single import jacobian_of
from jacoscope.analysis.stream import read_samples
from jacoscope.analysis.subject import Subject
from jacoscope.errors import UserError

SHARED = (("index", pa.int64(), "index of the sample in its split"), ("label", pa.int32(), "true class"))
OF_EACH = (
    ("prediction", pa.int32(), "class with the largest logit"),
    ("correct", pa.bool_(), "whether prediction and label agree"),
    ("confidence", pa.float32(), "probability of the predicted class"),
    ("frobenius", pa.float32(), "Frobenius norm of J"),
    ("spectral", pa.float32(), "spectral norm of J"),
    ("effective_rank", pa.float32(), "effective rank of J"),
    ("boundary_distance", pa.float32(), "first-order distance to the decision boundary, L2 in pixel units"),
)


@dataclass(frozen=True)
class Comparison:
    """What two networks, a and b, say of the same samples.

    Attributes:
        table: a row for each sample; columns of one network end in ``_a`` or ``_b``.
        maps: for each network, sums of maps for each true class.
    """

    table: pa.Table
    maps: tuple[MapSums, MapSums]


def compare(
    a: Subject, b: Subject, split: str, samples: int, output: str, chunk_size: int, progress: Callable[[int], None]
) -> Comparison:
    """Compare two networks on the first samples of the data of ``a``, chunk by chunk.

    Raises:
        UserError: if they take different images or have different classes.
    """
    images_a, images_b = (subject.origin.config["images"] for subject in (a, b))
    for key in ("shape", "classes"):
        if images_a[key] != images_b[key]:
            raise UserError(
                f"compare: the networks differ in images.{key}, {images_a[key]} and {images_b[key]}: "
                "only networks of the same images and classes can be put side by side"
            )
    dataset = a.split(split)
    maps = tuple(MapSums.zero(images_a["classes"], a.shape) for _ in range(2))
    pieces = []
    for start in range(0, samples, chunk_size):
        indices = list(range(start, min(samples, start + chunk_size)))
        x, labels = read_samples(dataset, indices)
        columns: dict[str, Tensor] = {"index": torch.tensor(indices), "label": labels}
        wanted = []
        for subject, mark, sums in zip((a, b), "ab", maps, strict=True):
            reduced, J = reduce_chunk(x, labels, *jacobian_of(subject, x), output, sums)
            columns |= {f"{name}_{mark}": reduced[name] for name, _, _ in OF_EACH}
            wanted.append(J)
        columns["cosine"] = cosine(*wanted)
        pieces.append(columns)
        progress(indices[-1] + 1)
    fields = [pa.field(name, kind, metadata={"meaning": meaning}) for name, kind, meaning in SHARED]
    fields += [
        pa.field(f"{name}_{mark}", kind, metadata={"meaning": f"{meaning}, network {mark}"})
        for mark in "ab"
        for name, kind, meaning in OF_EACH
    ]
    fields.append(pa.field("cosine", pa.float32(), metadata={"meaning": "cosine of the angle between both J"}))
    arrays = [pa.array(torch.cat([piece[f.name] for piece in pieces]).numpy()).cast(f.type) for f in fields]
    return Comparison(pa.table(arrays, schema=pa.schema(fields)), (maps[0], maps[1]))


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


def summarise_comparison(table: pa.Table) -> dict[str, Any]:
    """Say in a few numbers how the networks differ, all from the table."""
    c = {name: table.column(name).to_numpy() for name in table.column_names}
    means = {
        mark: {
            "accuracy": float(c[f"correct_{mark}"].mean()),
            **{
                f"median_{name}": float(np.quantile(c[f"{name}_{mark}"], 0.5, method="nearest"))
                for name in ("frobenius", "spectral", "effective_rank", "boundary_distance", "confidence")
            },
        }
        for mark in "ab"
    }
    right_a, right_b = c["correct_a"].astype(bool), c["correct_b"].astype(bool)
    return {
        "samples": len(table),
        "a": means["a"],
        "b": means["b"],
        "agreement": float((c["prediction_a"] == c["prediction_b"]).mean()),
        "only_a_right": int((right_a & ~right_b).sum()),
        "only_b_right": int((right_b & ~right_a).sum()),
        "both_wrong": int((~right_a & ~right_b).sum()),
        "b_more_sensitive": float((c["frobenius_b"] > c["frobenius_a"]).mean()),
        "median_ratio_of_frobenius": float(np.median(c["frobenius_b"] / np.maximum(c["frobenius_a"], 1e-30))),
        "median_cosine": float(np.median(c["cosine"])),
    }
