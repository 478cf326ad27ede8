"""The samples that the report shows, and their derivative maps, kept while their Jacobians are in memory.

Which samples the report shows is known only after the last one: the most sensitive ones, the errors with the largest
confidence, … So each part keeps those of its samples that may still be among them.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from jacoscope.analysis.arrays import UNREADABLE, holds_arrays, read_arrays
from jacoscope.analysis.network import NetworkSpec
from jacoscope.jacobian_batch import of_output

BYTES = 2_500_000
"""Of maps in the report's explorer, as text."""
SAMPLES = 64
"""In the explorer, at most."""
OF_EACH_RANKING = 8
"""Samples that are kept of each ranking."""
CLASSES_SHOWN = 10
"""Classes whose maps are kept: the most probable ones."""
FIRST_OF_CLASSES = 50
"""The first sample of each class is shown, for so many classes."""
STEPS = 32767
"""A map is kept as 16-bit integers: the largest magnitude of the map is so many steps."""
RANKINGS = {
    "most_sensitive": "among the most sensitive",
    "confident_errors": "among the most confident errors",
    "least_sensitive": "among the least sensitive",
}
"""Lists of samples in summary.json that are shown, in this order."""


@dataclass(frozen=True)
class ShownSamples:
    """Derivative maps of some samples, in the order of the samples.

    Maps of several channels are summed: the derivative with respect to the brightness of the pixel.

    Attributes:
        index: of each sample in its split, ``[samples]``.
        classes: the classes whose maps are kept, ascending, ``[samples, maps]``.
        probabilities: of these classes, ``[samples, maps]``.
        limits: largest magnitude of each map, ``[samples, maps]``.
        maps: ``[samples, maps, height, width]``, as 16-bit integers from −32767 to 32767 for −limit to limit.
    """

    index: Tensor
    classes: Tensor
    probabilities: Tensor
    limits: Tensor
    maps: Tensor

    @classmethod
    def of(cls, indices: Tensor, J: Tensor, logits: Tensor) -> "ShownSamples":
        """Make the maps of some samples.

        Args:
            indices: of the samples, ``[samples]``.
            J: their Jacobians, ``[samples, classes, C, H, W]``.
            logits: ``[samples, classes]``.
        """
        probabilities, classes = logits.softmax(1).topk(min(CLASSES_SHOWN, logits.shape[1]), dim=1)
        classes, order = classes.sort(dim=1)
        maps = J[torch.arange(len(J)).unsqueeze(1), classes].sum(2)
        limits = maps.abs().amax((2, 3))
        scale = limits.where(limits > 0, torch.ones_like(limits)).view(*limits.shape, 1, 1)
        steps = (maps / scale * STEPS).round().short()
        return cls(indices, classes, probabilities.gather(1, order), limits, steps)

    def arrays(self) -> dict[str, Tensor]:
        """Return the attributes by name."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    def row(self, index: int) -> int:
        """Return the place of a sample."""
        (place,) = (self.index == index).nonzero().flatten().tolist()
        return int(place)

    def values(self, index: int) -> Tensor:
        """Return the maps of a sample in their units, ``[maps, height, width]``."""
        row = self.row(index)
        return self.maps[row] * (self.limits[row] / STEPS).view(-1, 1, 1)


def holds_shown_samples(path: Path, spec: NetworkSpec) -> bool:
    """Check whether a file holds derivative maps of a network's samples, no more than are shown."""
    try:
        count = len(read_arrays(path)["index"])
    except UNREADABLE:
        return False
    rows = (count, min(CLASSES_SHOWN, spec.classes))
    shapes = {
        "index": (count,),
        "classes": rows,
        "probabilities": rows,
        "limits": rows,
        "maps": (*rows, *spec.shape[1:]),
    }
    return count <= SAMPLES + len(RANKINGS) * OF_EACH_RANKING and holds_arrays(path, shapes)


class Candidates:
    """Decides, chunk by chunk, which samples may be among those that are shown in the end.

    Args:
        spec: the network.
        samples: how many there are in all.
    """

    def __init__(self, spec: NetworkSpec, samples: int) -> None:
        room = room_in_explorer(spec)
        self._evenly = set(evenly_spread(samples, room))
        self._first_of_classes = min(FIRST_OF_CLASSES, room)
        self._seen: set[int] = set()
        self._best = {name: torch.empty(0) for name in RANKINGS}

    def choose(self, indices: list[int], columns: dict[str, Tensor]) -> Tensor:
        """Choose among the samples of a chunk; chunks come in the order of the samples.

        Args:
            indices: of the samples in the split.
            columns: of samples.parquet, by name.

        Returns:
            Places within the chunk, ascending.
        """
        finite, norm = columns["finite"], columns["frobenius"]
        scores = {
            "most_sensitive": norm,
            "confident_errors": columns["confidence"].where(~columns["correct"], -torch.inf),
            "least_sensitive": -norm,
        }
        places = {place for place, index in enumerate(indices) if index in self._evenly}
        for name, score in scores.items():
            places |= self._entering(name, score.where(finite, -torch.inf))
        for place, label in enumerate(columns["label"].tolist()):
            if finite[place] and label < self._first_of_classes and label not in self._seen:
                self._seen.add(label)
                places.add(place)
        return torch.tensor([place for place in sorted(places) if finite[place]], dtype=torch.int64)

    def _entering(self, name: str, score: Tensor) -> set[int]:
        """Return the samples of a chunk that are among the best so far; of equal ones the first."""
        best = self._best[name]
        order = score.argsort(descending=True, stable=True)[:OF_EACH_RANKING]
        is_better = score[order] > (best[-1] if len(best) == OF_EACH_RANKING else -torch.inf)
        entering = order[is_better]
        self._best[name] = torch.cat([best, score[entering]]).sort(descending=True).values[:OF_EACH_RANKING]
        return set(entering.tolist())


def room_in_explorer(spec: NetworkSpec) -> int:
    """Return how many samples the explorer holds."""
    _, height, width = spec.shape
    maps = min(CLASSES_SHOWN, spec.classes)
    return max(1, min(SAMPLES, BYTES // (maps * height * width * 8 // 3)))  # as base64: 4 characters for 3 bytes


def evenly_spread(count: int, chosen: int) -> list[int]:
    """Choose numbers below ``count``, evenly spread and ascending; all of them if there are no more than ``chosen``.

    >>> evenly_spread(10, 4), evenly_spread(2, 4)
    ([0, 3, 6, 9], [0, 1])
    """
    return np.linspace(0, count - 1, min(count, chosen)).round().astype(int).tolist()  # type: ignore[no-any-return]


def explored(spec: NetworkSpec, samples: int, summary: dict[str, Any], table: pa.Table) -> dict[int, str]:
    """Choose the samples of the explorer: those of the rankings, then the first of each class, then an even spread.

    Args:
        spec: the network.
        samples: how many there are in all.
        summary: the content of summary.json.
        table: columns ``index`` and ``label`` of the samples whose Jacobian is finite.

    Returns:
        For the index of each sample, why it is there.
    """
    found: dict[int, str] = {}
    room = room_in_explorer(spec)
    for name, reason in RANKINGS.items():
        for row in summary[name][:OF_EACH_RANKING]:
            found.setdefault(row["index"], reason)
    index, labels = (table[name].to_numpy() for name in ("index", "label"))
    for k in range(min(FIRST_OF_CLASSES, room)):
        for row in np.flatnonzero(labels == k)[:1]:
            found.setdefault(int(index[row]), "first of its class")
    finite = set(index.tolist())
    for number in evenly_spread(samples, room):
        if number in finite:
            found.setdefault(number, "evenly spread")
    return dict(list(found.items())[:room])


def maps_of(places: Tensor, indices: list[int], J: Tensor, logits: Tensor, output: str) -> ShownSamples:
    """Make the maps of the chosen samples of a chunk.

    Args:
        places: of the samples in the chunk.
        indices: of all samples of the chunk in the split.
        J: Jacobians of the logits, ``[batch, classes, C, H, W]``.
        logits: ``[batch, classes]``.
        output: the output whose derivatives are shown.
    """
    J, logits = J[places], logits[places]
    return ShownSamples.of(torch.tensor(indices)[places], of_output(J, logits, output), logits)
