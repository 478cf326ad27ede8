"""A few fixed validation samples that are drawn again and again, so that one can watch their maps change."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from pytorch_lightning.utilities import rank_zero_warn
from torch import Tensor

from jacoscope.callbacks.batches import Model
from jacoscope.callbacks.measurement import jacobian_of, logits_jacobian
from jacoscope.callbacks.processes import from_all_processes
from jacoscope.errors import UserError
from jacoscope.jacobians import sensitivity_map
from jacoscope.visuals import shrink
from jacoscope.visuals.sheet import TILE_SIZE

MOST = 24
"""Probes that fit on a sheet."""


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


class Probes:
    """Samples found once in the validation set.

    Args:
        indices: in the validation set; ``None`` takes the first sample of each class.
        max_classes: how many classes have a probe.

    Raises:
        UserError: for more than fit on a sheet.
    """

    def __init__(self, indices: Sequence[int] | None, max_classes: int) -> None:
        if indices is not None and len(indices) > MOST:
            raise UserError(f"JacobianCallback: {len(indices)} probe_indices do not fit on a sheet; {MOST} at most do")
        self.wanted = None if indices is None else [int(index) for index in indices]
        self.most = min(max_classes, MOST)
        self.found: dict[int, tuple[int, int, Tensor]] = {}
        """By index, or by class where none were wanted: index, class and input of the sample."""
        self.complete = False

    def look_for(self, x: Tensor, labels: Tensor, indices: Tensor) -> None:
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

    def portrait(self, model: Model, device: torch.device, output: Any, outputs: Sequence[str]) -> Portrait | None:
        """Give the probes with maps of their Jacobians; ``None`` where there are none, or no images.

        Args:
            model: in evaluation mode.
            device: where the model is.
            output: ``"logits"``, or a callable that picks the logits.
            outputs: which Jacobians to draw.
        """
        if not self.found or next(iter(self.found.values()))[2].ndim != 3:
            return None
        indices, labels, images = zip(*self.found.values(), strict=True)
        logits: list[Tensor] = []
        maps: dict[str, list[Tensor]] = {name: [] for name in outputs}
        sensitivity: dict[str, list[Tensor]] = {name: [] for name in outputs}
        for x in images:  # one by one: of large images with many classes, a single Jacobian is large enough
            J, z = logits_jacobian(model, x.unsqueeze(0).to(device), output)
            logits.append(z.cpu())
            for name in outputs:
                Jo = jacobian_of(name, J, z)
                maps[name].append(shrink(Jo.sum(2, keepdim=True), TILE_SIZE).cpu())
                sensitivity[name].append(sensitivity_map(Jo).cpu())
        return Portrait(
            list(indices),
            list(labels),
            torch.stack(images),
            torch.cat(logits),
            {name: torch.cat(parts) for name, parts in maps.items()},
            {name: torch.cat(parts) for name, parts in sensitivity.items()},
        )

    def state_dict(self) -> dict[str, Any]:
        """Give what a resumed run needs to go on with the same samples."""
        return {"found": self.found, "complete": self.complete}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what ``state_dict`` gave."""
        self.found, self.complete = state["found"], state["complete"]
