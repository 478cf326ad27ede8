"""The pictures of a training, and what they remember of its earlier epochs."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from jacoscope.callbacks.measurement import Measurement
from jacoscope.callbacks.probes import Portrait
from jacoscope.visuals import (
    Pixels,
    class_maps_sheet,
    maps_over_epochs,
    probe_sheet,
    sensitivity_overlay,
    spectrum_over_epochs,
)

_MOMENTS = 10  # how many epochs are shown side by side
_MOST_CLASSES = 12  # columns that a sheet stays readable with


class Album:
    """Draws what was measured, each time anew and beside what it was before.

    Args:
        max_classes: how many classes have a map, at most.
    """

    def __init__(self, max_classes: int) -> None:
        self.max_classes = min(max_classes, _MOST_CLASSES)
        self.maps: dict[str, dict[int, Tensor]] = {}
        """By output and epoch, the maps of the probes' own classes, ``[probes, 1, height, width]``."""
        self.spectra: dict[str, dict[int, Tensor]] = {}
        """By output and epoch, mean singular values."""

    def pictures(
        self, epochs: int, measured: Measurement, portrait: Portrait | None, names: Sequence[str]
    ) -> Iterator[tuple[str, Pixels]]:
        """Draw everything; give the pictures, each with its tag.

        Args:
            epochs: how many are done.
            measured: of validation samples.
            portrait: of the probes, if there are any.
            names: of the classes.
        """
        count = len(measured.indices)
        for output, total in measured.map_sums.items():
            tag = f"jacobian_maps/{output}"
            if count:
                history = self.spectra.setdefault(output, {})
                _record(history, epochs, measured.spectra[output].mean(0))
                if len(history) > 1:
                    yield f"{tag}/spectrum", spectrum_over_epochs(history, output)
            if count and total.ndim == 4:
                yield f"{tag}/class_maps", class_maps_sheet(total / count, names, output, self.max_classes)
            if portrait is not None:
                for name, picture in self._of_probes(epochs, portrait, output, names):
                    yield f"{tag}/{name}", picture

    def _of_probes(
        self, epochs: int, portrait: Portrait, output: str, names: Sequence[str]
    ) -> Iterator[tuple[str, Pixels]]:
        images, maps = portrait.images, portrait.maps[output]
        labels = [label if 0 <= label < len(names) else None for label in portrait.labels]
        captions = [
            f"#{index}" if label is None else names[label]
            for index, label in zip(portrait.indices, labels, strict=True)
        ]
        probabilities = portrait.logits.softmax(1)
        yield "probe_sheet", probe_sheet(images, maps, probabilities, labels, names, output, self.max_classes)
        yield "sensitivity", sensitivity_overlay(images, portrait.sensitivity[output], captions, output)
        predictions = portrait.logits.argmax(1).tolist()
        own = [k if label is None else label for k, label in zip(predictions, labels, strict=True)]
        history = self.maps.setdefault(output, {})
        # bfloat16, whose range is that of float32: derivatives of confident probabilities are tiny.
        _record(history, epochs, maps[torch.arange(len(maps)), own].bfloat16())
        if len(history) > 1:
            yield "over_epochs", maps_over_epochs(history, images, captions, output)

    def state_dict(self) -> dict[str, Any]:
        """Give what a resumed run needs to go on with the same history."""
        return {"maps": self.maps, "spectra": self.spectra}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what ``state_dict`` gave."""
        self.maps, self.spectra = state["maps"], state["spectra"]


def _record(history: dict[int, Tensor], epochs: int, values: Tensor) -> None:
    """Add a moment; when there are too many, drop every other one but the first and the newest."""
    history[epochs] = values
    if len(history) > _MOMENTS:
        for moment in sorted(history)[1:-1:2]:
            del history[moment]
