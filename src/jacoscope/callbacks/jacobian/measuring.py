"""Measure a module on some samples, and compute the scalars that are logged.

TensorBoard makes a group of cards for each first part of a tag. ``jacobian/`` has what is read every day; more detailed
scalars have groups of their own.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from jacoscope.callbacks.jacobian.sampling import NO_SAMPLES, Samples, from_all_processes
from jacoscope.jacobian_batch import JacobianBatch
from jacoscope.jacobians import DEFINITION, jacobian, usable_strategy
from jacoscope.lightning import rank_zero_warn
from jacoscope.measures import MEASURES, Measure, Statistic, auroc, curve_tag, shown_in

_ENTRIES_AT_A_TIME = 1 << 24  # of Jacobians held at once: 64 MB in float32
_SINGULAR_VALUES = 10  # that have a curve each
_QUANTILES = {"p05": 0.05, "median": 0.5, "p95": 0.95}


class Differentiator:
    """Computes the Jacobians of a module's logits with respect to its inputs.

    Args:
        forward_fn: called with the module and the inputs; by default the module's ``forward``.
        output: takes the logits ``[batch, classes]`` from what is returned; by default they are what is returned.
        strategy: as :func:`jacoscope.jacobian` takes it. The default falls back to ``"auto"`` for a module that
            ``torch.func`` cannot differentiate; the log at level debug has the reason.

    Raises:
        UserError: if there is no such strategy.
    """

    def __init__(
        self,
        forward_fn: Callable[[Any, Tensor], Any] | None = None,
        output: Callable[[Any], Tensor] | None = None,
        strategy: str = DEFINITION,
    ) -> None:
        self.strategy = strategy
        self.is_checked = False
        self._forward_fn = forward_fn
        self._output: Any = output or "logits"

    def check(self, module: nn.Module, x: Tensor) -> None:
        """Compute the Jacobians of two samples, so that a mistake is found first.

        The default strategy becomes ``"auto"`` if ``torch.func`` cannot differentiate the module.

        Args:
            module: to be measured later.
            x: a batch of inputs.

        Raises:
            JacobianError: if the module has no Jacobian.
        """
        if self.strategy == DEFINITION:
            self.strategy = usable_strategy(self._model(module), x[:2].detach(), self._output, self.strategy)
        self(module, x[:2])
        self.is_checked = True

    def __call__(self, module: nn.Module, x: Tensor) -> JacobianBatch:
        """Compute the Jacobians of the logits, in float32 at least; the module is left as it was.

        Raises:
            JacobianError: if the module has none.
        """
        J, logits = jacobian(
            self._model(module),
            x.detach(),
            self._output,
            strategy=self.strategy,
            return_outputs=True,
            check_finite=False,
        )
        if J.dtype in (torch.float16, torch.bfloat16):
            J, logits = J.float(), logits.float()
        return JacobianBatch(x, J, logits)

    def in_pieces(self, module: nn.Module, x: Tensor) -> Iterator[tuple[slice, JacobianBatch]]:
        """Compute the Jacobians of many samples, a part of them at a time, so that they fit in memory."""
        step, done = 1, 0  # the first sample alone shows how large a Jacobian is
        while done < len(x):
            piece = slice(done, done + step)
            batch = self(module, x[piece])
            yield piece, batch
            done += step
            step = max(1, _ENTRIES_AT_A_TIME // max(1, batch.J[0].numel()))

    def _model(self, module: nn.Module) -> nn.Module | Callable[[Tensor], Any]:
        return module if self._forward_fn is None else partial(self._forward_fn, module)


@dataclass
class Measurement:
    """Numbers of each sample, all on the CPU, and sums over the samples.

    Samples whose Jacobian is not finite are listed in ``not_finite`` and are in nothing else.
    """

    indices: Tensor
    """``[samples]``, into the data set."""
    labels: Tensor
    """``[samples]``; −1 where there are none."""
    predictions: Tensor
    """``[samples]``."""
    values: dict[str, Tensor]
    """By ``output/measure``, ``[samples]``."""
    spectra: dict[str, Tensor]
    """By output, singular values, ``[samples, values]``."""
    map_sums: dict[str, Tensor]
    """By output, the sum of |J| over the samples, ``[outputs, *input_shape]``."""
    not_finite: list[int] = field(default_factory=list)
    """Indices of samples whose Jacobian is not finite."""

    @property
    def classes(self) -> int:
        """How many outputs the model has; 0 if nothing was measured."""
        return next((len(maps) for maps in self.map_sums.values()), 0)


_NOTHING = Measurement(NO_SAMPLES.indices, NO_SAMPLES.labels, NO_SAMPLES.labels, {}, {}, {})


def measure(module: nn.Module, samples: Samples, differentiate: Differentiator, outputs: Sequence[str]) -> Measurement:
    """Measure a module at samples; of several processes, at those of all of them together.

    Jacobians are computed once, of the logits; those of probabilities follow from them exactly.

    Args:
        module: that is measured.
        samples: those of this process.
        differentiate: computes the Jacobians.
        outputs: which Jacobians to report: ``"logits"``, ``"probs"``.
    """
    return _merge(from_all_processes(measure_own(module, samples, differentiate, outputs)))


def measure_own(
    module: nn.Module, samples: Samples, differentiate: Differentiator, outputs: Sequence[str]
) -> Measurement:
    """Measure a module at the samples of this process alone; the arguments are those of ``measure``."""
    parts = [
        _measure_piece(batch, Samples(*(column[piece] for column in samples)), outputs)
        for piece, batch in differentiate.in_pieces(module, samples.inputs)
    ]
    return _merge(parts)


def _measure_piece(batch: JacobianBatch, samples: Samples, outputs: Sequence[str]) -> Measurement:
    finite = batch.finite
    indices, labels, kept = samples.indices, samples.labels, finite.cpu()
    if not kept.all():
        chosen = finite.to(batch.J.device)
        batch = JacobianBatch(batch.x[chosen], batch.J[chosen], batch.logits[chosen])
    values, spectra, map_sums = {}, {}, {}
    for output in outputs:
        of_output = batch.of(output)
        for m in shown_in("curves"):
            if m.key(output) not in values and m.min_outputs <= batch.J.shape[1]:
                values[m.key(output)] = m(of_output).cpu()
        spectra[output] = of_output.singular_values.float().cpu()
        map_sums[output] = of_output.J.abs().sum(0).cpu()
    return Measurement(
        indices[kept],
        labels[kept],
        batch.predictions.cpu(),
        values,
        spectra,
        map_sums,
        indices[~kept].tolist(),
    )


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
        [index for part in parts for index in part.not_finite],
    )


def summarise(measured: Measurement, class_names: Sequence[str], max_classes: int) -> dict[str, float]:
    """Return the scalars of a measurement, by tag.

    Args:
        measured: of validation or test samples.
        class_names: one for each output.
        max_classes: number of classes, from the first, whose means are returned.
    """
    scalars: dict[str, float] = {}
    labelled = measured.labels >= 0
    correct = measured.predictions == measured.labels
    if labelled.any():
        scalars["jacobian-about/wrong_count"] = float((labelled & ~correct).sum())
    for key, values in measured.values.items():
        shown = _measure_of(key)
        known = values.isfinite()  # a boundary that no input moves is infinitely far
        scalars |= _statistics("jacobian", key, values[known], shown.statistics)
        if "by_outcome" in shown.shown:
            for name, part in (("correct", correct), ("wrong", ~correct)):
                scalars |= _mean(f"jacobian-by_outcome_{key}/{name}", values[known & labelled & part])
            wrong = ~correct[labelled]
            if shown.concern and wrong.any() and not wrong.all():
                scalars[f"jacobian-by_outcome_{key}/auroc"] = auroc(shown.concern * values[labelled], wrong)
        if "by_class" in shown.shown:
            for k, name in enumerate(class_names[:max_classes]):
                group = f"jacobian-by_class_{key.replace('/', '_')}"
                scalars |= _mean(f"{group}/{name}", values[known & (measured.labels == k)])
    for output, spectrum in measured.spectra.items():
        mean = spectrum.mean(0)[:_SINGULAR_VALUES].tolist() if len(spectrum) else []
        scalars |= {f"jacobian-spectrum_{output}/{i:02d}": value for i, value in enumerate(mean, start=1)}
    scalars["jacobian-about/nonfinite"] = float(len(measured.not_finite))
    return scalars


def summarise_training(measured: Measurement, scalars: dict[str, float]) -> dict[str, float]:
    """Return the same over training samples, and how much larger the means of validation samples are.

    Args:
        measured: of training samples.
        scalars: of validation samples, as ``summarise`` returns them.
    """
    result: dict[str, float] = {}
    for key, values in measured.values.items():
        result |= _statistics("jacobian-train", key, values[values.isfinite()], _measure_of(key).statistics)
        mean = result.get(f"jacobian-train/{key}/mean")
        if mean and f"jacobian/{key}/mean" in scalars:
            result[f"jacobian-val_over_train/{key}"] = scalars[f"jacobian/{key}/mean"] / mean
    return result


def warn_of_not_finite(measured: Measurement, trained_on: Measurement = _NOTHING) -> None:
    """Warn of samples whose Jacobian is not finite, if there are any."""
    indices = measured.not_finite
    if indices:
        rank_zero_warn(
            f"The Jacobian is not finite at {len(indices)} of {len(indices) + len(measured.indices)} samples, left out "
            f"here: indices {', '.join(map(str, indices[:10]))}{' …' if len(indices) > 10 else ''}"
        )
    if trained_on.not_finite:  # their indices are known to the sampler alone
        count = len(trained_on.not_finite)
        rank_zero_warn(
            f"The Jacobian is not finite at {count} of {count + len(trained_on.indices)} training samples, left out"
        )


def is_headline(tag: str) -> bool:
    """Whether a scalar is one of the few metrics of a run: the means in the group ``jacobian``."""
    return tag.startswith("jacobian/") and tag.endswith("/mean")


def _measure_of(key: str) -> Measure:
    return MEASURES[key.rpartition("/")[2]]


def _mean(tag: str, values: Tensor) -> dict[str, float]:
    return {tag: float(values.double().mean())} if len(values) else {}


def _statistics(group: str, key: str, values: Tensor, names: Sequence[Statistic]) -> dict[str, float]:
    """Compute statistics of a measure over some samples, by tag; of no values, none."""
    if not len(values):
        return {}
    values = values.double()
    at = torch.tensor(list(_QUANTILES.values()), dtype=torch.float64)
    found: dict[str, float] = dict(zip(_QUANTILES, values.quantile(at).tolist(), strict=True))
    found |= {"mean": float(values.mean()), "max": float(values.max())}
    return {curve_tag(group, key, name): found[name] for name in names}
