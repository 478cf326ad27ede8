"""One picture: what the network says of it, its Jacobian, and what would change the decision."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from jacoscope.analysis.decision import REACH, Crossing, crossing_along
from jacoscope.analysis.derivatives import jacobian_of, of_output
from jacoscope.analysis.subject import Subject
from jacoscope.errors import UserError
from jacoscope.jacobians import (
    BoundaryDistance,
    as_matrix,
    boundary_distance,
    effective_rank,
    frobenius_norm,
    spectral_norm,
)


@dataclass(frozen=True)
class Reading:
    """All that is asked of one picture.

    Attributes:
        title: what it is a picture of, for people.
        pixels: ``[C, H, W]`` in [0, 1], as the network saw it.
        label: its class, or none for a picture of the user's own.
        output: what is differentiated.
        logits: ``[classes]``.
        J: Jacobian of the output, ``[classes, C, H, W]``.
        boundary: the decision boundary to first order, a batch of one.
        crossing: where the decision really changes in that direction, a batch of one.
    """

    title: str
    pixels: Tensor
    label: int | None
    output: str
    logits: Tensor
    J: Tensor
    boundary: BoundaryDistance
    crossing: Crossing

    @property
    def probabilities(self) -> Tensor:
        return self.logits.softmax(0)

    @property
    def prediction(self) -> int:
        return int(self.logits.argmax())

    @property
    def turns(self) -> bool:
        """Whether a change in that direction that turns the decision was found."""
        return bool(torch.isfinite(self.crossing.distance))

    @property
    def matrix(self) -> Tensor:
        """``[features, classes]``: entry [i, k] = ∂ output k / ∂ pixel i."""
        return as_matrix(self.J.unsqueeze(0))[0]


def read_single(subject: Subject, title: str, pixels: Tensor, label: int | None, output: str) -> Reading:
    """Ask a network about one picture ``[C, H, W]``.

    Raises:
        UserError: if it has no Jacobian, or one that is NaN or infinite.
    """
    x = pixels.unsqueeze(0)
    J, logits = jacobian_of(subject, x)
    if not (logits.isfinite().all() and J.isfinite().all()):
        blame = "derivatives" if logits.isfinite().all() else "logits"
        raise UserError(
            f"{title}: the network's {blame} are NaN or infinite there, so there is nothing to read. "
            "Ask about another one, or another checkpoint, checkpoint=FILE"
        )
    boundary = boundary_distance(J, logits)
    crossing = crossing_along(subject.network, x, boundary.direction, boundary.distance)
    return Reading(title, pixels, label, output, logits[0], of_output(J, logits, output)[0], boundary, crossing)


def strongest_pixels(matrix: Tensor, shape: tuple[int, int, int], count: int) -> list[list[dict[str, Any]]]:
    """Give, for each class, the pixels with the largest derivatives: row, column, value (and channel, if several).

    >>> strongest_pixels(torch.tensor([[0.0], [-2.0], [1.0], [0.0]]), (1, 2, 2), 1)
    [[{'row': 0, 'column': 1, 'value': -2.0}]]
    """
    channels, height, width = shape
    chosen = matrix.abs().topk(min(count, len(matrix)), dim=0).indices.T
    classes = []
    for k, pixels in enumerate(chosen.tolist()):
        entries = []
        for i in pixels:
            channel, rest = divmod(i, height * width)
            place = {"row": rest // width, "column": rest % width, "value": float(matrix[i, k])}
            entries.append({"channel": channel, **place} if channels > 1 else place)
        classes.append(entries)
    return classes


def as_record(reading: Reading, class_names: list[str]) -> dict[str, Any]:
    """Give the reading as plain values, for JSON; units are pixels in [0, 1]."""
    J = reading.J.unsqueeze(0)
    distance = float(reading.boundary.distance)
    return {
        "what": reading.title,
        "prediction": class_names[reading.prediction],
        "label": None if reading.label is None else class_names[reading.label],
        "probabilities": dict(zip(class_names, reading.probabilities.tolist(), strict=True)),
        "logits": dict(zip(class_names, reading.logits.tolist(), strict=True)),
        "output": reading.output,
        "jacobian_shape": list(reading.matrix.shape),
        "frobenius_norm": float(frobenius_norm(J)),
        "spectral_norm": float(spectral_norm(J)),
        "effective_rank": float(effective_rank(J)),
        "strongest_pixels": dict(
            zip(class_names, strongest_pixels(reading.matrix, _shape(reading.pixels), 5), strict=True)
        ),
        "decision": {
            "nearest_class": class_names[int(reading.boundary.nearest)],
            "first_order_distance": distance if math.isfinite(distance) else None,
            "verified_distance": float(reading.crossing.distance) if reading.turns else None,
            "verified_class": class_names[int(reading.crossing.prediction)] if reading.turns else None,
        },
    }


def decision_in_words(reading: Reading, class_names: list[str]) -> str:
    """Say what would turn the decision, to first order and in the network itself."""
    distance = float(reading.boundary.distance)
    now, then = class_names[reading.prediction], class_names[int(reading.boundary.nearest)]
    if math.isinf(distance):
        return "no small change of the pixels would turn it: to first order, nothing depends on them"
    text = f"to first order, a change of L2 length {distance:.3g} turns {now} into {then}; "
    if not reading.turns:
        return text + f"in the network, no change up to {REACH * distance:.3g} in that direction does"
    found, outcome = float(reading.crossing.distance), class_names[int(reading.crossing.prediction)]
    return text + f"in the network it takes {found:.3g} in that direction, and then it says {outcome}"


def _shape(pixels: Tensor) -> tuple[int, int, int]:
    channels, height, width = pixels.shape
    return channels, height, width
