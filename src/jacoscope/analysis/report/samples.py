"""A sample that the report shows, with its derivative maps in as few bytes as the eye needs."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

CLASSES_SHOWN = 10
"""Classes whose maps are kept, at most: the true one and the most probable ones."""
STEPS = 32767
"""Steps of a map's 16-bit integers, up to its largest magnitude."""
COARSE_STEPS = 127
"""Steps of the 8-bit integers in the file beside the report."""


@dataclass(frozen=True)
class Sample:
    """One sample with its derivative maps.

    Maps of several channels are summed: the derivative with respect to the brightness of the pixel. Each map is exact
    to 1/32767 of its largest magnitude.

    Attributes:
        index: in the split.
        why: why it can be chosen in the explorer; empty if it cannot.
        image: pixels in [0, 1], ``[C, H, W]``.
        classes: whose maps are kept, ascending.
        probabilities: of these classes.
        limits: largest magnitude of each map, ``[maps]``.
        maps: ``[maps, H, W]``, 16-bit integers from −32767 to 32767 for −limit to limit.
    """

    index: int
    why: str
    image: Tensor
    classes: list[int]
    probabilities: list[float]
    limits: Tensor
    maps: Tensor

    @classmethod
    def of(
        cls, index: int, why: str, image: Tensor, J: Tensor, probabilities: Tensor, label: int | None = None
    ) -> "Sample":
        """Keep what the report shows of a sample.

        Args:
            index: in the split.
            why: why it can be chosen in the explorer; empty if it cannot.
            image: pixels in [0, 1], ``[C, H, W]``.
            J: the Jacobian of the outputs that are shown, ``[classes, C, H, W]``.
            probabilities: ``[classes]``.
            label: the true class, if it is known; its map is kept too.

        >>> J = torch.tensor([[[[0.0, -4.0]]], [[[0.0, 0.0]]]])
        >>> sample = Sample.of(7, "", torch.zeros(1, 1, 2), J, torch.tensor([0.9, 0.1]))
        >>> sample.limits.tolist(), sample.values[0].tolist()
        ([4.0, 0.0], [[0.0, -4.0]])
        """
        classes = probabilities.topk(min(CLASSES_SHOWN, len(probabilities))).indices.tolist()
        classes = sorted(classes if label is None or label in classes else [*classes[:-1], label])
        maps = J[classes].sum(1)
        limits = maps.abs().amax((1, 2))
        scale = limits.where(limits > 0, torch.ones_like(limits)).view(-1, 1, 1)
        steps = (maps / scale * STEPS).round().short()
        return cls(index, why, image, classes, probabilities[classes].tolist(), limits, steps)

    @property
    def values(self) -> Tensor:
        """The maps in their own unit, ``[maps, H, W]``."""
        return self.maps * (self.limits / STEPS).view(-1, 1, 1)

    def for_script(self, row: Mapping[str, Any], measures: Sequence[str], steps: int = STEPS) -> dict[str, Any]:
        """Return what the page's script reads of this sample in one network.

        Args:
            row: of samples.parquet.
            measures: its columns that are shown with the map.
            steps: of the integers of the maps, up to the largest magnitude of each: :data:`STEPS` or
                :data:`COARSE_STEPS`.
        """
        maps = self.maps if steps == STEPS else (self.maps * (steps / STEPS)).round().to(torch.int8)
        return {
            "prediction": row["prediction"],
            "classes": self.classes,
            "probabilities": [float(f"{p:.6g}") for p in self.probabilities],
            "measures": {name: float(f"{row[name]:.6g}") for name in measures},  # infinite ones are null in the page
            "limits": [float(f"{limit:.8g}") for limit in self.limits.tolist()],
            "maps": _as_text(maps),
            "steps": steps,
        }


def for_explorer(
    samples: Sequence[Sample | None], rows: Sequence[Mapping[str, Any]], measures: Sequence[str], steps: int = STEPS
) -> dict[str, Any]:
    """Return what the page's explorer reads of one sample.

    Args:
        samples: the sample in each network; ``None`` where no maps of it were kept.
        rows: ``label``, ``prediction`` and the measures of the sample in each network.
        measures: that are shown with each map.
        steps: as in :meth:`Sample.for_script`.
    """
    first = next(sample for sample in samples if sample is not None)
    image = first.image if len(first.image) == 3 else first.image.mean(0)
    return {
        "index": first.index,
        "label": rows[0]["label"],
        "image": _as_text((image.clamp(0, 1) * 255).round().byte()),
        "networks": [
            None if sample is None else sample.for_script(row, measures, steps)
            for sample, row in zip(samples, rows, strict=True)
        ],
    }


def _as_text(values: Tensor) -> str:
    return base64.b64encode(values.numpy().astype(values.numpy().dtype.newbyteorder("<")).tobytes()).decode()
