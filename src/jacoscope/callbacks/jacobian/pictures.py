"""The pictures of a training: the same validation samples each time, and their maps at earlier epochs."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from jacoscope.board.writing import summary, tab_values
from jacoscope.callbacks.jacobian.measuring import Differentiator, Measurement
from jacoscope.callbacks.jacobian.sampling import from_all_processes
from jacoscope.callbacks.jacobian.sinks import Sink
from jacoscope.errors import UserError
from jacoscope.jacobians import sensitivity_map
from jacoscope.lightning import rank_zero_warn
from jacoscope.visuals import training_pictures as draw
from jacoscope.visuals.colors import Pixels
from jacoscope.visuals.fonts import drawable
from jacoscope.visuals.heatmaps import shrink
from jacoscope.visuals.sheet import TILE_SIZE


@dataclass
class Portrait:
    """The probes and maps of their Jacobians at one moment, all on the CPU."""

    indices: list[int]
    """In the validation set."""
    labels: list[int]
    """Classes; −1 where unknown."""
    images: Tensor
    """``[probes, channels, height, width]``."""
    logits: Tensor
    """``[probes, outputs]``."""
    maps: dict[str, Tensor]
    """By output, J summed over the channels and shrunk, ``[probes, outputs, 1, height, width]``."""
    sensitivity: dict[str, Tensor]
    """By output, root mean square of J over the outputs, ``[probes, channels, height, width]``."""
    values: dict[str, Tensor]
    """By ``output/measure``, those that the tab shows, ``[probes]``."""


class Probes:
    """Samples found once in the validation set.

    Args:
        indices: in the validation set; ``None`` takes the first sample of each class.
        max_classes: how many classes have a probe.
        max_probes: largest number of probes.

    Raises:
        UserError: if there are more indices than ``max_probes``.
    """

    def __init__(self, indices: Sequence[int] | None, max_classes: int, max_probes: int = 24) -> None:
        if indices is not None and len(indices) > max_probes:
            raise UserError(
                f"JacobianCallback: {len(indices)} probe_indices are more than max_probes={max_probes}: "
                "all probes are drawn on one sheet"
            )
        self.wanted = None if indices is None else [int(index) for index in indices]
        self.most = min(max_classes, max_probes)
        self.found: dict[int, tuple[int, int, Tensor]] = {}
        """By index, or by class where none were wanted: index, class and input of the sample."""
        self.complete = False

    def add_from(self, x: Tensor, labels: Tensor, indices: Tensor) -> None:
        """Keep those samples of a batch that are wanted; by default the first of each class, of the lowest classes."""
        if self.complete:
            return
        for position, (label, index) in enumerate(zip(labels.tolist(), indices.tolist(), strict=True)):
            if self.wanted is not None:
                key, is_wanted = index, index in self.wanted
            else:
                key = label if label >= 0 else index  # no classes: the first samples
                is_wanted = len(self.found) < self.most or key < max(self.found)
            if is_wanted and key not in self.found:
                self.found[key] = (index, label, x[position].detach().cpu().clone())
                if self.wanted is None and len(self.found) > self.most:
                    del self.found[max(self.found)]

    def gather(self) -> None:
        """Agree with the other processes on the probes, after the first validation."""
        if self.complete:
            return
        everyone: dict[int, tuple[int, int, Tensor]] = {}
        for found in from_all_processes(self.found):
            for key, sample in found.items():
                if key not in everyone or sample[0] < everyone[key][0]:
                    everyone[key] = sample
        self.complete = True
        if self.wanted is None:
            self.found = {key: everyone[key] for key in sorted(everyone)[: self.most]}
            return
        self.found = {key: everyone[key] for key in self.wanted if key in everyone}
        if missing := [index for index in self.wanted if index not in everyone]:
            rank_zero_warn(f"JacobianCallback: probe_indices {missing} are not among the validation samples seen")

    def portrait(self, module: nn.Module, differentiate: Differentiator, outputs: Sequence[str]) -> Portrait | None:
        """Return the probes with maps of their Jacobians; ``None`` if there are none, or no images.

        Args:
            module: that is drawn.
            differentiate: computes the Jacobians.
            outputs: which Jacobians to draw.
        """
        if not self.found or next(iter(self.found.values()))[2].ndim != 3:
            return None
        indices, labels, images = zip(*self.found.values(), strict=True)
        logits: list[Tensor] = []
        maps: dict[str, list[Tensor]] = {name: [] for name in outputs}
        sensitivity: dict[str, list[Tensor]] = {name: [] for name in outputs}
        values: list[dict[str, Tensor]] = []
        x = torch.stack(images)
        for _, batch in differentiate.in_pieces(module, x.to(device_of(module))):
            logits.append(batch.logits.cpu())
            values.append(tab_values(batch, outputs))
            for name in outputs:
                J = batch.of(name).J
                maps[name].append(shrink(J.sum(2, keepdim=True), TILE_SIZE).cpu())
                sensitivity[name].append(sensitivity_map(J).cpu())
        return Portrait(
            list(indices),
            list(labels),
            x,
            torch.cat(logits),
            {name: torch.cat(parts) for name, parts in maps.items()},
            {name: torch.cat(parts) for name, parts in sensitivity.items()},
            {name: torch.cat([piece[name] for piece in values]) for name in values[0]},
        )

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs to go on with the same samples."""
        return {"found": self.found, "complete": self.complete}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load what ``state_dict`` returned."""
        self.found, self.complete = state["found"], state["complete"]


def log_to_tab(
    sinks: Sequence[Sink], portrait: Portrait, class_names: Sequence[str], max_classes: int, prefix: str, step: int
) -> None:
    """Log the probes to the tab "Jacobians"."""
    if not sinks:
        return
    message = summary(
        portrait.images,
        {output: maps.squeeze(2) for output, maps in portrait.maps.items()},
        portrait.logits,
        portrait.values,
        indices=portrait.indices,
        labels=portrait.labels,
        class_names=class_names,
        max_classes=max_classes,
        prefix=prefix,
    )
    for sink in sinks:
        sink.log_summary(message, step)


def device_of(module: nn.Module) -> torch.device:
    """Return where the parameters of a module are; the CPU if it has none."""
    return next((parameter.device for parameter in module.parameters()), torch.device("cpu"))


class Album:
    """Draws what was measured, beside what was measured at earlier epochs.

    Args:
        max_classes: largest number of classes that have a map.
        max_epochs: largest number of epochs that are shown side by side.
    """

    def __init__(self, max_classes: int, max_epochs: int = 10) -> None:
        self.max_classes = max_classes
        self.max_epochs = max_epochs
        self.maps: dict[str, dict[int, Tensor]] = {}
        """By output and epoch, the maps of the probes' own classes, ``[probes, 1, height, width]``."""
        self.spectra: dict[str, dict[int, Tensor]] = {}
        """By output and epoch, mean singular values."""

    def log(
        self,
        sinks: Sequence[Sink],
        epochs: int,
        measured: Measurement,
        portrait: Portrait | None,
        names: Sequence[str],
        step: int,
        prefix: str = "",
    ) -> None:
        """Log histograms of the measures, and all pictures; the arguments are those of ``pictures``."""
        for key, values in measured.values.items():
            if len(finite := values[values.isfinite()]):
                for sink in sinks:
                    sink.log_histogram(f"{prefix}jacobian_distribution/{key}", finite, step)
        for tag, picture in self.pictures(epochs, measured, portrait, names):
            for sink in sinks:
                sink.log_picture(prefix + tag, picture, step)

    def pictures(
        self, epochs: int, measured: Measurement, portrait: Portrait | None, names: Sequence[str]
    ) -> Iterator[tuple[str, Pixels]]:
        """Draw everything; return the pictures, each with its tag.

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
                self._record(history, epochs, measured.spectra[output].mean(0))
                if len(history) > 1:
                    yield f"{tag}/spectrum", draw.spectrum_over_epochs(history, output)
            if count and total.ndim == 4:
                yield f"{tag}/class_maps", draw.class_maps_sheet(total / count, names, output, self.max_classes)
            if portrait is not None:
                for name, picture in self._of_probes(epochs, portrait, output, names):
                    yield f"{tag}/{name}", picture

    def _of_probes(
        self, epochs: int, portrait: Portrait, output: str, names: Sequence[str]
    ) -> Iterator[tuple[str, Pixels]]:
        images, maps = portrait.images, portrait.maps[output]
        labels = [label if 0 <= label < len(names) else None for label in portrait.labels]
        shown = drawable(names)
        captions = [
            f"#{index}" if label is None else shown[label]
            for index, label in zip(portrait.indices, labels, strict=True)
        ]
        probabilities = portrait.logits.softmax(1)
        yield "probe_sheet", draw.probe_sheet(images, maps, probabilities, labels, names, output, self.max_classes)
        yield "sensitivity", draw.sensitivity_overlay(images, portrait.sensitivity[output], captions, output)
        predictions = portrait.logits.argmax(1).tolist()
        own = [k if label is None else label for k, label in zip(predictions, labels, strict=True)]
        history = self.maps.setdefault(output, {})
        # bfloat16, whose range is that of float32: derivatives of confident probabilities are tiny.
        self._record(history, epochs, maps[torch.arange(len(maps)), own].bfloat16())
        if len(history) > 1:
            yield "over_epochs", draw.maps_over_epochs(history, images, captions, output)

    def _record(self, history: dict[int, Tensor], epochs: int, values: Tensor) -> None:
        """Add a moment; when there are too many, drop every other one but the first and the newest."""
        history[epochs] = values
        if len(history) > self.max_epochs:
            for moment in sorted(history)[1:-1:2]:
                del history[moment]

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs to go on with the same history."""
        return {"maps": self.maps, "spectra": self.spectra}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load what ``state_dict`` returned."""
        self.maps, self.spectra = state["maps"], state["spectra"]
