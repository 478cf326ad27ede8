"""A few fixed samples that are drawn again and again, so that one can watch their maps change."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from pytorch_lightning.utilities import rank_zero_warn
from torch import Tensor

from jacoscope.callbacks.measurement import Model, jacobian_of, logits_jacobian
from jacoscope.callbacks.processes import from_all_processes
from jacoscope.jacobians import sensitivity_map
from jacoscope.visuals import Pixels, maps_over_epochs, probe_sheet, sensitivity_overlay, spectrum_over_epochs

_MOMENTS = 10  # how many epochs are shown side by side


class Probes:
    """Samples found once in the validation set, and their maps so far.

    Args:
        indices: in the validation set; ``None`` takes the first sample of each class.
        max_classes: how many classes have a probe.
    """

    def __init__(self, indices: Sequence[int] | None, max_classes: int) -> None:
        self.wanted = indices
        self.max_classes = max_classes
        self.found: dict[int, tuple[int, int, Tensor]] = {}
        """By index, or by class where none were wanted: index, class and input of the sample."""
        self.complete = False
        self.maps: dict[str, dict[int, Tensor]] = {}
        self.spectra: dict[str, dict[int, Tensor]] = {}

    def look_for(self, x: Tensor, labels: Tensor, indices: Tensor) -> None:
        """Keep those samples of a batch that are wanted."""
        if self.complete:
            return
        for position, (label, index) in enumerate(zip(labels.tolist(), indices.tolist(), strict=True)):
            if self.wanted is not None:
                key, is_wanted = index, index in self.wanted and index not in self.found
            elif label >= 0:
                key, is_wanted = label, label not in self.found
            else:  # no classes: the first samples
                key, is_wanted = index, len(self.found) < self.max_classes
            if is_wanted:
                self.found[key] = (index, label, x[position].detach().cpu().clone())

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
            self.found = {key: everyone[key] for key in sorted(everyone)[: self.max_classes]}
            return
        self.found = {key: everyone[key] for key in self.wanted if key in everyone}
        if missing := [index for index in self.wanted if index not in everyone]:
            rank_zero_warn(f"JacobianCallback: probe_indices {missing} are not among the validation samples seen")

    def record_spectra(self, epochs: int, spectra: dict[str, Tensor]) -> None:
        """Keep the mean singular values of each output after so many epochs."""
        for output, values in spectra.items():
            _record(self.spectra.setdefault(output, {}), epochs, values)

    def draw(
        self, model: Model, device: torch.device, output: Any, outputs: Sequence[str], epochs: int, names: Sequence[str]
    ) -> Iterator[tuple[str, Pixels]]:
        """Give the pictures, each with its tag.

        Args:
            model: inputs to what ``output`` takes.
            device: where the model is.
            output: ``"logits"``, or a callable that picks the logits.
            outputs: whose Jacobians are drawn.
            epochs: how many are done.
            names: of the classes.
        """
        for name in outputs:
            if len(self.spectra.get(name, {})) > 1:
                yield f"jacobian_maps/{name}/spectrum", spectrum_over_epochs(self.spectra[name], name)
        samples = list(self.found.values())
        if not samples or samples[0][2].ndim != 3:
            return
        images = torch.stack([x for _, _, x in samples])
        J, logits = logits_jacobian(model, images.to(device), output)
        J, logits = J.cpu(), logits.cpu()
        probabilities = logits.softmax(1)
        labels = [label if 0 <= label < len(names) else None for _, label, _ in samples]
        captions = [
            f"#{sample[0]}" if label is None else names[label] for sample, label in zip(samples, labels, strict=True)
        ]
        own = torch.tensor(
            [p if label is None else label for p, label in zip(logits.argmax(1).tolist(), labels, strict=True)]
        )
        for name in outputs:
            Jo = jacobian_of(name, J, logits)
            yield (
                f"jacobian_maps/{name}/probe_sheet",
                probe_sheet(images, Jo, probabilities, labels, names, name, self.max_classes),
            )
            yield f"jacobian_maps/{name}/sensitivity", sensitivity_overlay(images, sensitivity_map(Jo), captions, name)
            history = self.maps.setdefault(name, {})
            _record(history, epochs, Jo[torch.arange(len(Jo)), own].half())
            if len(history) > 1:
                yield f"jacobian_maps/{name}/over_epochs", maps_over_epochs(history, images, captions, name)

    def state_dict(self) -> dict[str, Any]:
        """Give what a resumed run needs to go on drawing the same samples."""
        kept = ("found", "complete", "maps", "spectra")
        return {name: getattr(self, name) for name in kept}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what ``state_dict`` gave."""
        for name, value in state.items():
            setattr(self, name, value)


def _record(history: dict[int, Tensor], epochs: int, values: Tensor) -> None:
    """Add a moment; when there are too many, drop every other one but the first and the newest."""
    history[epochs] = values
    if len(history) > _MOMENTS:
        for moment in sorted(history)[1:-1:2]:
            del history[moment]
