"""The samples that the report shows, kept with their derivative maps while their Jacobians are in memory.

Which samples the report shows is known only after the last one: the most sensitive ones, the errors with the largest
confidence, … So each part keeps those of its samples that may still be among them.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from jacoscope.analysis.arrays import DAMAGED, holds_arrays, read_arrays
from jacoscope.analysis.network import NetworkSpec
from jacoscope.analysis.report import Sample
from jacoscope.analysis.report.samples import CLASSES_SHOWN
from jacoscope.analysis.tables import evenly_spread

BYTES = 2_500_000
"""Of maps in the report itself, as text."""
SAMPLES = 64
"""In the report itself, at most."""
BYTES_BESIDE = 7_500_000
"""Of maps in the file beside the report, as text."""
OF_EACH_RANKING = 8
"""Samples of each ranking that are kept."""
FIRST_OF_CLASSES = 50
"""Number of classes whose first sample is shown."""
KEPT = ("index", "image", "classes", "probabilities", "limits", "maps")
"""The arrays of :func:`kept_arrays`."""
RANKINGS = {
    "most_sensitive": "among the most sensitive",
    "confident_errors": "among the most confident errors",
    "least_sensitive": "among the least sensitive",
}
"""Lists of samples in summary.json that are shown, in this order."""


Scores = Callable[[dict[str, Tensor]], dict[str, Tensor]]
"""Returns, from columns of a table, by which numbers samples are ranked; those with the largest ones are shown."""


def scores_of_split(columns: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return what the samples of a split are ranked by, for each of :data:`RANKINGS`."""
    norm = columns["frobenius"]
    return {
        "most_sensitive": norm,
        "confident_errors": columns["confidence"].where(~columns["correct"], -torch.inf),
        "least_sensitive": -norm,
    }


class Candidates:
    """Decides, chunk by chunk, which samples may be among those that are shown in the end.

    Args:
        spec: the network.
        samples: how many there are in all.
        networks: whose maps are shown of each sample.
        scores: what the samples are ranked by.
    """

    def __init__(self, spec: NetworkSpec, samples: int, networks: int = 1, scores: Scores = scores_of_split) -> None:
        room, beside = room_in_explorer(spec, networks), room_beside(spec, networks)
        self._evenly = {*evenly_spread(samples, room), *evenly_spread(samples, beside)}
        self._errors_left = beside // 2
        self._first_of_classes = min(FIRST_OF_CLASSES, room)
        self._seen: set[int] = set()
        self._scores = scores
        self._best: dict[str, Tensor] = {}

    def choose(self, indices: list[int], columns: dict[str, Tensor]) -> list[int]:
        """Choose among the samples of a chunk; chunks come in the order of the samples.

        Args:
            indices: of the samples in the split.
            columns: of samples.parquet, by name.

        Returns:
            Places within the chunk, ascending.
        """
        finite = columns["finite"]
        places = {place for place, index in enumerate(indices) if index in self._evenly}
        for name, score in self._scores(columns).items():
            places |= self._entering(name, score.where(finite, -torch.inf))
        errors = (finite & ~columns["correct"]).nonzero().flatten()[: self._errors_left].tolist()
        self._errors_left -= len(errors)
        places |= set(errors)
        for place, label in enumerate(columns["label"].tolist()):
            if finite[place] and label < self._first_of_classes and label not in self._seen:
                self._seen.add(label)
                places.add(place)
        return [place for place in sorted(places) if finite[place]]

    def _entering(self, name: str, score: Tensor) -> set[int]:
        """Return the samples of a chunk that are among the best so far; of equal ones the first."""
        best = self._best.get(name, score[:0])
        order = score.argsort(descending=True, stable=True)[:OF_EACH_RANKING]
        entering = order[score[order] > (best[-1] if len(best) == OF_EACH_RANKING else -torch.inf)]
        self._best[name] = torch.cat([best, score[entering]]).sort(descending=True).values[:OF_EACH_RANKING]
        return set(entering.tolist())


def kept_arrays(
    places: list[int], indices: list[int], x: Tensor, labels: Tensor, J: Tensor, logits: Tensor
) -> dict[str, Tensor]:
    """Make the derivative maps of some samples of a chunk, as arrays with a row for each sample.

    Args:
        places: of these samples in the chunk.
        indices: of all samples of the chunk in the split.
        x: images, ``[batch, C, H, W]``.
        labels: true classes, ``[batch]``.
        J: Jacobians of the outputs that are shown, ``[batch, classes, C, H, W]``.
        logits: ``[batch, classes]``.
    """
    probabilities = logits[places].softmax(1)
    samples = [
        Sample.of(indices[place], "", x[place], J[place], probabilities[row], int(labels[place]))
        for row, place in enumerate(places)
    ]
    maps, (channels, height, width) = min(CLASSES_SHOWN, J.shape[1]), x.shape[1:]
    return {
        "index": torch.tensor([sample.index for sample in samples], dtype=torch.int64),
        "image": _stacked([sample.image for sample in samples], (channels, height, width)),
        "classes": torch.tensor([sample.classes for sample in samples], dtype=torch.int64).view(-1, maps),
        "probabilities": torch.tensor([sample.probabilities for sample in samples]).view(-1, maps),
        "limits": _stacked([sample.limits for sample in samples], (maps,)),
        "maps": _stacked([sample.maps for sample in samples], (maps, height, width)).short(),
    }


def kept_samples(arrays: Mapping[str, Tensor], reasons: Mapping[int, str]) -> Iterator[Sample]:
    """Yield the samples of :func:`kept_arrays`: first those with a reason to be in the explorer, in that order.

    Args:
        arrays: as :func:`kept_arrays` returns them, of any samples.
        reasons: why samples are in the explorer, by index.
    """
    rows = {index: row for row, index in enumerate(arrays["index"].tolist())}
    for index in dict.fromkeys([*reasons, *rows]):
        image, classes, probabilities, limits, maps = (
            arrays[name][rows[index]] for name in ("image", "classes", "probabilities", "limits", "maps")
        )
        why = reasons.get(index, "")
        yield Sample(index, why, image, classes.tolist(), probabilities.tolist(), limits, maps)


def holds_shown_samples(path: Path, spec: NetworkSpec) -> bool:
    """Check whether a file holds derivative maps of a network's samples, no more than are shown."""
    try:
        count = len(read_arrays(path)["index"])
    except DAMAGED:
        return False
    rows = (count, min(CLASSES_SHOWN, spec.classes))
    shapes = {
        "index": (count,),
        "image": (count, *spec.shape),
        **dict.fromkeys(("classes", "probabilities", "limits"), rows),
        "maps": (*rows, *spec.shape[1:]),
    }
    most = room_in_explorer(spec) + room_beside(spec) + len(RANKINGS) * OF_EACH_RANKING
    return count <= most and holds_arrays(path, shapes)


def explored(spec: NetworkSpec, samples: int, ranked: Mapping[str, Any], table: pa.Table) -> dict[int, str]:
    """Choose the samples of the explorer: those of the rankings, then the first of each class, then an even spread.

    Args:
        spec: the network.
        samples: how many there are in all.
        ranked: the lists of samples of summary.json.
        table: columns ``index`` and ``label`` of the samples whose Jacobian is finite.

    Returns:
        For the index of each sample, why it is there.
    """
    best = {reason: [row["index"] for row in ranked[name]] for name, reason in RANKINGS.items()}
    return chosen_for_explorer(best, samples, table, room_in_explorer(spec))


def chosen_for_explorer(best: Mapping[str, Sequence[int]], samples: int, table: pa.Table, room: int) -> dict[int, str]:
    """Choose the samples of an explorer: the best of some rankings, the first of each class, then an even spread.

    Args:
        best: indices of samples by the reason why they are shown.
        samples: how many there are in all.
        table: columns ``index`` and ``label`` of the samples whose Jacobian is finite.
        room: samples, at most.

    Returns:
        For the index of each sample, why it is there.
    """
    found: dict[int, str] = {}
    for reason, ranked in best.items():
        for number in ranked[:OF_EACH_RANKING]:
            found.setdefault(number, reason)
    index, labels = (table[name].to_numpy() for name in ("index", "label"))
    for k in range(min(FIRST_OF_CLASSES, room)):
        for row in np.flatnonzero(labels == k)[:1]:
            found.setdefault(int(index[row]), "first of its class")
    for number in sorted(set(evenly_spread(samples, room)) & set(index.tolist())):
        found.setdefault(number, "evenly spread")
    return dict(list(found.items())[:room])


def kept_beside(spec: NetworkSpec, samples: int, table: pa.Table, networks: int = 1) -> list[int]:
    """Choose the samples of the file beside the report: up to half of them wrong decisions, then an even spread.

    Args:
        spec: the network.
        samples: how many there are in all.
        table: columns ``index`` and ``correct`` of the samples whose Jacobian is finite.
        networks: whose maps are shown of each sample.
    """
    room = room_beside(spec, networks)
    index, correct = (table[name].to_numpy() for name in ("index", "correct"))
    errors = index[~correct.astype(bool)][: room // 2].tolist()
    finite = set(index.tolist())
    evenly = [number for number in evenly_spread(samples, room) if number in finite]
    chosen = [evenly[place] for place in evenly_spread(len(evenly), room - len(errors))] if evenly else []
    return list(dict.fromkeys([*errors, *chosen]))


def room_beside(spec: NetworkSpec, networks: int = 1) -> int:
    """Return how many samples the file beside the report holds, with maps of some networks each."""
    channels, height, width = spec.shape
    bytes_of_one = (networks * min(CLASSES_SHOWN, spec.classes) + min(channels, 3)) * height * width
    return max(1, BYTES_BESIDE // (bytes_of_one * 4 // 3))


def room_in_explorer(spec: NetworkSpec, networks: int = 1) -> int:
    """Return how many samples the explorer holds, with maps of some networks each."""
    _, height, width = spec.shape
    maps = networks * min(CLASSES_SHOWN, spec.classes)
    return max(1, min(SAMPLES, BYTES // (maps * height * width * 8 // 3)))  # as base64: 4 characters for 3 bytes


def _stacked(tensors: Sequence[Tensor], shape: tuple[int, ...]) -> Tensor:
    return torch.stack(list(tensors)) if tensors else torch.empty(0, *shape)
