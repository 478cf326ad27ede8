"""A chunk of Jacobians, reduced: a row of numbers for each sample, and sums of maps for each class."""

from dataclasses import dataclass

import torch
from torch import Tensor

from jacoscope.analysis.single import of_output
from jacoscope.jacobians import (
    boundary_distance,
    frobenius_norm,
    l1_operator_norm,
    linf_operator_norm,
    output_norms,
    singular_values,
)

MAP_ENTRIES = 1 << 24  # maps for each class are kept up to this size, 64 MiB each in float32
PIECE_ENTRIES = 1 << 18  # Jacobian entries reduced at a time: what stays in the cache is read once from memory


@dataclass(frozen=True)
class MapSums:
    """Sums over samples, for each true class; divided by the counts they are mean maps.

    Attributes:
        count: samples, ``[classes]``.
        image: of the images, ``[classes, C, H, W]``.
        own: of the true class's derivative, J[label].
        own_magnitude: of its absolute value.
        sensitivity: of the root mean square over outputs.
    """

    count: Tensor
    image: Tensor
    own: Tensor
    own_magnitude: Tensor
    sensitivity: Tensor

    @classmethod
    def zero(cls, classes: int, shape: tuple[int, ...]) -> "MapSums":
        """Give the sums over nothing; in float64, so that millions of samples add up."""
        maps = [torch.zeros(classes, *shape, dtype=torch.float64) for _ in range(4)]
        return cls(torch.zeros(classes, dtype=torch.int64), *maps)

    def add(self, x: Tensor, labels: Tensor, J: Tensor) -> None:
        """Add a piece: images, their classes, their Jacobians."""
        own = J[torch.arange(len(J)), labels]
        self.count.index_add_(0, labels, torch.ones_like(labels))
        for total, values in (
            (self.image, x),
            (self.own, own),
            (self.own_magnitude, own.abs()),
            (self.sensitivity, J.square().mean(1).sqrt_()),
        ):
            total.index_add_(0, labels, values.double())

    def arrays(self) -> dict[str, Tensor]:
        """Give the sums by their names."""
        return {name: getattr(self, name) for name in ("count", "image", "own", "own_magnitude", "sensitivity")}

    def plus(self, other: dict[str, Tensor]) -> "MapSums":
        """Give the sum of these sums and others, by their names."""
        return MapSums(**{name: mine + other[name] for name, mine in self.arrays().items()})


def reduce_chunk(
    x: Tensor, labels: Tensor, J: Tensor, logits: Tensor, output: str, sums: MapSums | None
) -> tuple[dict[str, Tensor], Tensor]:
    """Reduce a chunk.

    Args:
        x: images, ``[batch, C, H, W]``.
        labels: their classes, ``[batch]``.
        J: Jacobians of the logits, ``[batch, classes, C, H, W]``.
        logits: ``[batch, classes]``.
        output: what the norms are of.
        sums: that the chunk's maps are added to, if maps are wanted.

    Returns:
        The columns by their names (all but ``index``), and the Jacobians of ``output``.
    """
    step = max(1, PIECE_ENTRIES // J[0].numel())
    pieces = []
    outputs = []
    for start in range(0, len(x), step):
        part = slice(start, start + step)
        wanted = of_output(J[part], logits[part], output)
        pieces.append(_columns(J[part], logits[part], labels[part], wanted))
        if sums is not None:
            sums.add(x[part], labels[part], wanted)
        if wanted is not J and output != "logits":
            outputs.append(wanted)
    columns = {name: torch.cat([piece[name] for piece in pieces]) for name in pieces[0]}
    return columns, torch.cat(outputs) if outputs else J


def _columns(J: Tensor, logits: Tensor, labels: Tensor, wanted: Tensor) -> dict[str, Tensor]:
    probabilities = logits.softmax(1)
    confidence, prediction = probabilities.max(1)
    best = logits.topk(2, dim=1).values
    s = singular_values(wanted)
    spectral, nuclear = s[:, 0], s.sum(1)
    q = s / nuclear.where(nuclear > 0, torch.ones_like(nuclear)).unsqueeze(1)
    share = s / spectral.where(spectral > 0, torch.ones_like(spectral)).unsqueeze(1)
    distance, nearest, _ = boundary_distance(J, logits)
    return {
        "label": labels,
        "prediction": prediction,
        "correct": prediction == labels,
        "confidence": confidence,
        "label_probability": probabilities.gather(1, labels.unsqueeze(1)).squeeze(1),
        "margin": best[:, 0] - best[:, 1],
        "frobenius": frobenius_norm(wanted),
        "spectral": spectral,
        "nuclear": nuclear,
        "l1_operator": l1_operator_norm(wanted),
        "linf_operator": linf_operator_norm(wanted),
        "stable_rank": share.square().sum(1),
        "effective_rank": torch.special.entr(q).sum(1).exp() * (nuclear > 0),
        "boundary_distance": distance,
        "nearest_class": nearest,
        "logits": logits,
        "output_norms": output_norms(wanted),
        "singular_values": s,
    }
