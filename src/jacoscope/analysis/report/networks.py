"""The samples of a page in several networks: their table, and their maps side by side in the explorer."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jacoscope.analysis.report.explorer import Network, explorer_settings
from jacoscope.analysis.report.listing import TABLE_OF_SAMPLES, ReadImages, file_beside, listed_places
from jacoscope.analysis.report.samples import COARSE_STEPS, STEPS, Sample, for_explorer
from jacoscope.measures import shown_in

MEASURES_SHOWN = tuple(measure.name for measure in shown_in("samples"))
"""Columns of each network's rows that are shown, besides ``prediction``."""


@dataclass(frozen=True)
class OfNetwork:
    """What one network makes of the samples.

    Attributes:
        title: of the network.
        mark: short, for the titles of its columns.
        command: analyses one sample, with its number added.
        rows: ``prediction``, ``correct`` and :data:`MEASURES_SHOWN` of all samples, ``[samples]`` each.
        kept: samples with their maps by their index.
    """

    title: str
    mark: str
    command: str
    rows: Mapping[str, NDArray[Any]]
    kept: Mapping[int, Sample]

    @property
    def suffix(self) -> str:
        """Of the keys of its columns."""
        return "_" + self.mark.replace(" ", "_")


@dataclass(frozen=True)
class SamplesOfNetworks:
    """Samples in several networks.

    Attributes:
        index: of the samples in the split, ascending, ``[samples]``.
        label: their classes, ``[samples]``.
        networks: what each makes of them.
        in_page: indices of the samples whose maps stand in the page itself.
        class_names: one for each class.
    """

    index: NDArray[Any]
    label: NDArray[Any]
    networks: Sequence[OfNetwork]
    in_page: Sequence[int]
    class_names: Sequence[str]

    @property
    def correct(self) -> NDArray[Any]:
        """Which of the networks are right, ``[networks, samples]``."""
        return np.stack([network.rows["correct"].astype(bool) for network in self.networks])

    def listed(self) -> NDArray[Any]:
        """Return the places of the samples that the table has."""
        return listed_places(self.index, np.all(self.correct, 0), self.in_page)

    def table(self, between: Sequence[tuple[str, str, Sequence[Any]]], shown: Sequence[str]) -> dict[str, Any]:
        """Return the table of samples, as ``table.js`` reads it.

        Args:
            between: key, title and values ``[listed]`` of columns that stand before those of the networks.
            shown: keys of the networks' columns that are shown at first.
        """
        places = self.listed()
        columns: list[dict[str, Any]] = [
            {"key": "picture", "title": "", "kind": "picture"},
            {"key": "index", "title": "sample", "kind": "number"},
            {"key": "label", "title": "class", "kind": "text"},
        ]
        values = {"index": self.index[places].tolist(), "label": self._names(self.label[places])}
        for key, title, of_column in between:
            columns.append({"key": key, "title": title, "kind": "text" if isinstance(of_column[0], str) else "number"})
            values[key] = list(of_column)
        for network in self.networks:
            key = f"prediction{network.suffix}"
            columns.append({"key": key, "title": f"predicted, {network.mark}", "kind": "text", "shown": key in shown})
            values[key] = self._names(network.rows["prediction"][places])
        for measure in shown_in("samples"):
            for network in self.networks:
                key = f"{measure.name}{network.suffix}"
                kind = "percent" if measure.name == "confidence" else "number"
                title = f"{measure.heading}, {network.mark}"
                columns.append({"key": key, "title": title, "kind": kind, "empty": "∞", "shown": key in shown})
                values[key] = [float(f"{value:.5g}") for value in network.rows[measure.name][places].tolist()]
        return {"columns": columns, "values": values, **TABLE_OF_SAMPLES}

    def explorer(self, shape: tuple[int, ...], unit: str) -> dict[str, Any]:
        """Return what ``explorer.js`` reads.

        Args:
            shape: of an image, ``(C, H, W)``.
            unit: what is differentiated, in words.
        """
        networks = [Network(each.command, each.title, each.suffix) for each in self.networks]
        return explorer_settings(list(self._entries(self.in_page, STEPS)), shape, self.class_names, unit, networks)

    def beside(self, read_images: ReadImages) -> bytes:
        """Return the file beside the page."""
        indices = self.index[self.listed()].tolist()
        others = sorted({i for network in self.networks for i in network.kept} & {*indices} - {*self.in_page})
        return file_beside(indices, self._entries(others, COARSE_STEPS), read_images)

    def count_kept(self) -> int:
        """Return the number of samples with maps."""
        return len({i for network in self.networks for i in network.kept})

    def _entries(self, indices: Sequence[int], steps: int) -> Iterator[dict[str, Any]]:
        names = ("prediction", *MEASURES_SHOWN)
        for index in indices:
            place = int(np.searchsorted(self.index, index))
            label = int(self.label[place])
            rows = [{"label": label, **{name: of.rows[name][place].item() for name in names}} for of in self.networks]
            yield for_explorer([of.kept.get(index) for of in self.networks], rows, MEASURES_SHOWN, steps)

    def _names(self, classes: NDArray[Any]) -> list[str]:
        return [self.class_names[k] for k in classes.tolist()]
