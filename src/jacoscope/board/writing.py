"""Write Jacobians of samples for the tab: tensors in, a message of TensorBoard's own format out."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from tensorboard.compat.proto.summary_pb2 import Summary
from torch import Tensor

from jacoscope.board.format import Moment, Probe, Value, encode, numbers_tag, probs_from_logits
from jacoscope.errors import UserError
from jacoscope.jacobian_batch import JacobianBatch
from jacoscope.measures import MEASURES, shown_in
from jacoscope.visuals.heatmaps import brightness_derivative, shrink, to_unit_range

MAX_CLASSES = 12
"""Classes whose maps are kept, unless said otherwise."""
MAX_SIDE = 84
"""Pixels of the longer side of a map; larger images are averaged over blocks."""


def write(
    writer: Any,
    step: int,
    images: Tensor,
    J: Tensor,
    logits: Tensor,
    *,
    labels: Sequence[int] | Tensor | None = None,
    indices: Sequence[int] | Tensor | None = None,
    class_names: Sequence[str] | None = None,
    outputs: Sequence[str] = ("logits", "probs"),
    max_classes: int = MAX_CLASSES,
) -> None:
    """Log the Jacobians of some samples at a step to the tab "Jacobians". Call it with the same samples at each step.

    Args:
        writer: a ``torch.utils.tensorboard.SummaryWriter``.
        step: of the training.
        images: the samples, ``[samples, channels, height, width]``.
        J: the Jacobians of their logits, ``[samples, classes, channels, height, width]``.
        logits: ``[samples, classes]``.
        labels: their classes; −1 where unknown.
        indices: of the samples in their data set; by default 0, 1, …
        class_names: one for each class; by default their numbers.
        outputs: whose Jacobians are shown: ``"logits"``, ``"probs"``. Those of the probabilities are computed from J.
        max_classes: largest number of classes, the most probable ones, whose maps are kept.

    Raises:
        UserError: if the shapes do not fit each other.

    >>> import tempfile
    >>> from torch.utils.tensorboard import SummaryWriter
    >>> images, J, logits = torch.rand(2, 1, 8, 8), torch.rand(2, 3, 1, 8, 8), torch.rand(2, 3)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with SummaryWriter(folder) as writer:
    ...         write(writer, 0, images, J, logits)
    """
    if J.shape != (len(images), logits.shape[-1], *images.shape[1:]) or images.ndim != 4 or len(logits) != len(images):
        raise UserError(
            f"board.write: images {list(images.shape)}, J {list(J.shape)} and logits {list(logits.shape)} do not fit "
            "each other; they are [samples, channels, height, width], [samples, classes, channels, height, width] and "
            "[samples, classes]: J, logits = jacobian(model, images, return_outputs=True)"
        )
    given = {"labels": labels, "indices": indices}
    for name, column in given.items():
        if column is not None and len(column) != len(images):
            raise UserError(f"board.write: {len(column)} {name} were given, but there are {len(images)} images")
    if class_names is not None and len(class_names) != logits.shape[1]:
        raise UserError(f"board.write: {len(class_names)} class_names were given, but there are {logits.shape[1]}")
    if not outputs or set(outputs) - {"logits", "probs"}:
        raise UserError(f"board.write: outputs={list(outputs)!r}; allowed are ['logits', 'probs']")
    batch = JacobianBatch(images, J.detach().float(), logits.detach().float())
    message = summary(
        images,
        {name: shrink(brightness_derivative(batch.of(name).J), MAX_SIDE) for name in outputs},
        batch.logits,
        tab_values(batch, outputs),
        indices=_whole_numbers(range(len(images)) if indices is None else indices),
        labels=_whole_numbers([-1] * len(images) if labels is None else labels),
        class_names=class_names or [str(k) for k in range(logits.shape[1])],
        max_classes=max_classes,
    )
    writer.file_writer.add_summary(message, step)


def tab_values(batch: JacobianBatch, outputs: Sequence[str]) -> dict[str, Tensor]:
    """Return the measures that the tab shows, ``[samples]`` each, by name; NaN where a Jacobian is not finite."""
    found: dict[str, Tensor] = {}
    for output in outputs:
        for measure in shown_in("tab"):
            if measure.key(output) not in found and measure.min_outputs <= batch.J.shape[1]:
                values = measure(batch.of(output))
                finite = batch.of(output).finite.to(values.device)
                found[measure.key(output)] = values.masked_fill(~finite, torch.nan).cpu()
    return found


def summary(
    images: Tensor,
    maps: Mapping[str, Tensor],
    logits: Tensor,
    values: Mapping[str, Tensor],
    *,
    indices: Sequence[int],
    labels: Sequence[int],
    class_names: Sequence[str],
    max_classes: int = MAX_CLASSES,
    prefix: str = "",
) -> Summary:
    """Return what is logged of some samples at one step.

    Args:
        images: ``[samples, channels, height, width]``.
        maps: by output, J summed over the channels and shrunk, ``[samples, classes, height, width]``.
        logits: ``[samples, classes]``.
        values: by name, ``[samples]``: what :func:`tab_values` returns.
        indices: of the samples in their data set.
        labels: their classes; −1 where unknown.
        class_names: one for each class.
        max_classes: largest number of classes whose maps are kept.
        prefix: what all tags begin with.
    """
    pixels, ranges = _pictures(images)
    described = tuple(_described(name) for name in values)
    probabilities = logits.double().softmax(1).cpu().numpy()
    logits_, maps_ = logits.cpu().double().numpy(), {name: m.cpu().numpy() for name, m in maps.items()}
    if {"logits", "probs"} <= maps_.keys():  # in double precision: of a confident network, single keeps few digits
        exact = map(probs_from_logits, maps_["logits"].astype(np.float64), probabilities)
        maps_["probs"] = np.stack(list(exact))
    message = Summary()
    for i, (index, label) in enumerate(zip(indices, labels, strict=True)):
        kept = _most_probable(probabilities[i], label, max_classes)
        probe = Probe(
            index,
            label,
            tuple(map(str, class_names)),
            tuple(maps),
            described,
            pixels[i],
            ranges[i],
            tuple(images.shape[1:]),
        )
        moment = Moment(
            kept,
            logits_[i, kept],
            probabilities[i, kept],
            {name: of_output[i, kept] for name, of_output in maps_.items()},
            tuple(float(column[i]) for column in values.values()),
        )
        message.value.extend(encode(numbers_tag(index, prefix), probe, moment))
    return message


def _pictures(images: Tensor) -> tuple[list[Any], list[tuple[float, float]]]:
    """Return the images in 8 bits, with what 0 and 255 stand for."""
    small = shrink(images.detach().float(), MAX_SIDE)
    if small.shape[1] not in (1, 3):
        small = small.mean(1, keepdim=True)
    lows, highs = small.amin((1, 2, 3)).tolist(), small.amax((1, 2, 3)).tolist()
    ranges = [(0.0, 1.0) if low >= 0 and high <= 1 else (low, high) for low, high in zip(lows, highs, strict=True)]
    return list(to_unit_range(small).mul(255).round().byte().cpu().numpy()), ranges


def _described(name: str) -> Value:
    output, _, measure_name = name.partition("/")
    measure = MEASURES[measure_name]
    return Value(name, measure.label, output if measure.per_output else "", measure.scale == "log")


def _most_probable(probabilities: Any, label: int, count: int) -> Any:
    """Return the most probable classes, the sample's own among them, ascending."""
    order = np.argsort(-probabilities, kind="stable")[:count]
    if 0 <= label < len(probabilities) and label not in order:
        order[-1] = label
    return np.sort(order)


def _whole_numbers(values: Any) -> list[int]:
    return [int(value) for value in values]
