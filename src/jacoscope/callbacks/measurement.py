"""What is measured of a model at some samples: norms, spectra, boundary distances, mean maps."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from jacoscope.callbacks.batches import Model
from jacoscope.callbacks.processes import from_all_processes
from jacoscope.callbacks.samples import NO_SAMPLES, Samples
from jacoscope.jacobians import (
    boundary_distance,
    effective_rank,
    frobenius_norm,
    jacobian,
    probs_jacobian_from_logits,
    singular_values,
)

_ENTRIES_AT_A_TIME = 1 << 24  # of Jacobians held at once: 64 MB in float32


@dataclass
class Measurement:
    """Numbers of each sample, all on the CPU, and sums over the samples.

    Samples whose Jacobian is not finite are counted among ``broken`` and are in nothing else.
    """

    indices: Tensor
    """``[samples]``, into the data set."""
    labels: Tensor
    """``[samples]``; −1 where there are none."""
    predictions: Tensor
    """``[samples]``."""
    values: dict[str, Tensor]
    """By ``output/quantity``, ``[samples]``."""
    spectra: dict[str, Tensor]
    """By output, singular values, ``[samples, values]``."""
    map_sums: dict[str, Tensor]
    """By output, the sum of |J| over the samples, ``[outputs, *input_shape]``."""
    broken: list[int] = field(default_factory=list)
    """Indices of samples whose Jacobian is not finite."""

    @property
    def classes(self) -> int:
        """How many outputs the model has; 0 if nothing was measured."""
        return next((len(maps) for maps in self.map_sums.values()), 0)


_NOTHING = Measurement(NO_SAMPLES.indices, NO_SAMPLES.labels, NO_SAMPLES.labels, {}, {}, {})


def measure(model: Model, samples: Samples, output: Any, outputs: Sequence[str]) -> Measurement:
    """Measure a model at samples; among several processes, at those of all of them together.

    Jacobians are computed once, of the logits; those of probabilities follow from them exactly.

    Args:
        model: inputs to what ``output`` takes.
        samples: those of this process.
        output: ``"logits"``, or a callable that picks the logits from what the model returns.
        outputs: which Jacobians to report: ``"logits"``, ``"probs"``.
    """
    parts = [_NOTHING]
    step, done = 1, 0  # the first sample alone tells how large a Jacobian is
    while done < len(samples.labels):
        piece = slice(done, done + step)
        parts.append(_measure_piece(model, Samples(*(column[piece] for column in samples)), output, outputs))
        done += step
        step = max(1, _ENTRIES_AT_A_TIME // parts[-1].map_sums[outputs[0]].numel())
    return _merge(from_all_processes(_merge(parts)))


def logits_jacobian(model: Model, x: Tensor, output: Any) -> tuple[Tensor, Tensor]:
    """Give the Jacobian of the logits, ``[batch, outputs, *input_shape]``, and the logits; float32 at least."""
    J, logits = jacobian(model, x, output, return_outputs=True, check_finite=False)
    if J.dtype in (torch.float16, torch.bfloat16):
        J, logits = J.float(), logits.float()
    return J, logits


def jacobian_of(name: str, J: Tensor, logits: Tensor) -> Tensor:
    """Give the Jacobian of ``"logits"`` or ``"probs"`` from that of the logits."""
    return probs_jacobian_from_logits(J, logits) if name == "probs" else J


def _merge(parts: Sequence[Measurement]) -> Measurement:
    """Join measurements of different samples: numbers side by side, sums added."""
    parts = [part for part in parts if part.values] or [_NOTHING]
    return Measurement(
        torch.cat([part.indices for part in parts]),
        torch.cat([part.labels for part in parts]),
        torch.cat([part.predictions for part in parts]),
        {name: torch.cat([part.values[name] for part in parts]) for name in parts[0].values},
        {name: torch.cat([part.spectra[name] for part in parts]) for name in parts[0].spectra},
        {name: torch.stack([part.map_sums[name] for part in parts]).sum(0) for name in parts[0].map_sums},
        [index for part in parts for index in part.broken],
    )


def _measure_piece(model: Model, samples: Samples, output: Any, outputs: Sequence[str]) -> Measurement:
    J, logits = logits_jacobian(model, samples.inputs, output)
    finite = (J.flatten(1).isfinite().all(1) & logits.isfinite().all(1)).cpu()
    keep = finite.to(J.device)
    J, logits = J[keep], logits[keep]
    values, spectra, map_sums = {}, {}, {}
    for name in outputs:
        Jo = jacobian_of(name, J, logits)
        spectrum = singular_values(Jo)
        values[f"{name}/frobenius"] = frobenius_norm(Jo).cpu()
        values[f"{name}/spectral"] = spectrum[:, 0].cpu()
        # A diagonal matrix has the same singular values and is far smaller.
        values[f"{name}/effective_rank"] = effective_rank(spectrum.diag_embed()).cpu()
        spectra[name] = spectrum.cpu()
        map_sums[name] = Jo.abs().sum(0).cpu()
    if J.shape[1] > 1:
        values["logits/boundary_distance"] = boundary_distance(J, logits).distance.cpu()
    return Measurement(
        samples.indices[finite],
        samples.labels[finite],
        logits.argmax(1).cpu(),
        values,
        spectra,
        map_sums,
        samples.indices[~finite].tolist(),
    )
