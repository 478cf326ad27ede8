"""The pictures of Jacobians that are drawn during training: tensors in, one uint8 picture out."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from jacoscope.measures import DERIVATIVE, PLURAL, SINGULAR
from jacoscope.visuals.colors import WORDS, Pixels, sequential
from jacoscope.visuals.fonts import drawable
from jacoscope.visuals.heatmaps import (
    Scale,
    brightness_derivative,
    channel_magnitude,
    heatmap,
    paint_images,
    percent,
    shrink,
    strongest_outputs,
    to_unit_range,
)
from jacoscope.visuals.line_chart import Line, line_chart
from jacoscope.visuals.sheet import TILE_SIZE, RowLabel, compose_sheet

PICTURES = {
    "probe_sheet": f"{WORDS['positive']}: a brighter pixel raises the class; {WORDS['negative']}: it lowers it",
    "class_maps": "the mean magnitude of each class's derivatives",
    "sensitivity": "root mean square over the classes, laid over the input",
    "over_epochs": "the derivative of each sample's own class, from epoch to epoch",
    "spectrum": "mean singular values, a line for each epoch",
}
"""What each picture shows, by the last part of its tag, for TensorBoard's page of explanations."""
GALLERY_SIZE = 140
"""Pixels, about, of a picture's longer side where there are few."""
_IN_A_ROW = 5
_SMALLEST = 1e-6  # of the largest singular value: what is below is rounding


def probe_sheet(
    images: Tensor,
    J: Tensor,
    probabilities: Tensor | None,
    labels: Sequence[int | None],
    class_names: Sequence[str],
    output: str = "logits",
    max_classes: int = 10,
    tile_size: int = TILE_SIZE,
) -> Pixels:
    """Draw samples and their derivatives: a row for each sample; the image, then a map for each class.

    All maps share one symmetric scale. A row's label has the true class, and the predicted one with its
    probability; a wrong prediction is red. A colour image's map is the sum over its channels: the derivative with
    respect to the brightness of the pixel. With more than ``max_classes`` outputs, those with the largest
    derivatives on these samples are shown; of large images, averages over blocks of pixels.

    Args:
        images: ``[samples, channels, height, width]``; those with pixels beyond [0, 1] are stretched to it, each by
            itself.
        J: ``[samples, outputs, channels, height, width]``.
        probabilities: ``[samples, outputs]``; None to show no predictions.
        labels: true classes; ``None`` where unknown.
        class_names: one for each output.
        output: what was differentiated, for the units.
        max_classes: columns at most.
        tile_size: pixels, about, of the longer side of a map.

    >>> J = torch.randn(2, 3, 1, 8, 8)
    >>> probe_sheet(torch.rand(2, 1, 8, 8), J, torch.eye(3)[:2], [0, 2], ["a", "b", "c"]).shape[2]
    3
    """
    maps = shrink(brightness_derivative(J), tile_size)
    shown = strongest_outputs(maps, max_classes)
    pictures = paint_images(shrink(images, tile_size))
    scale = Scale.of_derivatives(maps[:, shown], output)
    painted = heatmap(maps[:, shown], scale)
    rows = [[pictures[i], *painted[i]] for i in range(len(images))]
    predictions = [None] * len(images) if probabilities is None else probabilities.cpu()
    class_names = drawable(class_names)
    row_labels = [_row_label(p, label, class_names) for p, label in zip(predictions, labels, strict=True)]
    columns = ["", *(class_names[k] for k in shown)]
    title = f"Which way each pixel moves the {SINGULAR.get(output, output)} of each class"
    return compose_sheet(rows, title, row_labels, columns, scale, tile_size)


def class_maps_sheet(
    maps: Tensor,
    class_names: Sequence[str],
    output: str = "logits",
    max_classes: int = 10,
    tile_size: int = GALLERY_SIZE,
) -> Pixels:
    """Draw the mean magnitude of the derivatives, one map for each output.

    Args:
        maps: mean |J| over samples, ``[outputs, channels, height, width]``.
        class_names: one for each output.
        output: what was differentiated, for the units.
        max_classes: maps at most: those with the largest derivatives.
        tile_size: pixels, about, of the longer side of a map.

    >>> class_maps_sheet(torch.rand(3, 1, 8, 8), ["a", "b", "c"]).dtype
    dtype('uint8')
    """
    summed = shrink(channel_magnitude(maps), tile_size)
    shown = strongest_outputs(summed.unsqueeze(0), max_classes)
    scale = Scale.magnitude(summed[shown], f"mean |{DERIVATIVE.get(output, output)}|")
    title = f"Pixels that move the {SINGULAR.get(output, output)} of each class, on average"
    names = drawable(class_names)
    return _gallery(heatmap(summed[shown], scale), [names[k] for k in shown], title, scale, tile_size)


def sensitivity_overlay(
    images: Tensor,
    sensitivity: Tensor,
    captions: Sequence[str],
    output: str = "logits",
    tile_size: int = GALLERY_SIZE,
) -> Pixels:
    """Lay the sensitivity of each pixel over the image, all samples on one scale.

    Args:
        images: ``[samples, channels, height, width]``; those with pixels beyond [0, 1] are stretched to it, each by
            itself.
        sensitivity: root mean square of J over the outputs, ``[samples, channels, height, width]``.
        captions: one for each sample.
        output: what was differentiated, for the units.
        tile_size: pixels, about, of the longer side of a picture.
    """
    magnitudes = shrink(channel_magnitude(sensitivity), tile_size)
    scale = Scale.magnitude(magnitudes, f"rms {DERIVATIVE.get(output, output)}")
    strength = (magnitudes / scale.high).nan_to_num(0.0).clamp(0, 1).cpu().numpy()[..., None]
    # The image in pale grey, dark on light; the stronger the sensitivity, the more its colour covers it.
    brightness = to_unit_range(shrink(images, tile_size)).mean(1)
    grey = 255 - 110 * brightness.cpu().numpy()[..., None]
    color = heatmap(magnitudes, scale).astype(np.float32)
    mixed = (grey * (1 - strength) + color * strength).round().astype(np.uint8)
    title = f"Pixels that the {PLURAL.get(output, output)} react to"
    return _gallery(mixed, captions, title, scale, tile_size)


def maps_over_epochs(
    history: Mapping[int, Tensor],
    images: Tensor,
    row_labels: Sequence[str],
    output: str = "logits",
    tile_size: int = TILE_SIZE,
) -> Pixels:
    """Draw how the derivative of each sample's own class changed over training, side by side on one scale.

    Args:
        history: by epoch, the maps ``[samples, channels, height, width]``; they may be shrunk already.
        images: ``[samples, channels, height, width]``; those with pixels beyond [0, 1] are stretched to it, each by
            itself.
        row_labels: one for each sample.
        output: what was differentiated, for the units.
        tile_size: pixels, about, of the longer side of a map.
    """
    epochs = sorted(history)
    maps = torch.stack([shrink(brightness_derivative(history[epoch]), tile_size) for epoch in epochs], dim=1)
    scale = Scale.of_derivatives(maps, output)
    pictures, painted = paint_images(shrink(images, tile_size)), heatmap(maps, scale)
    rows = [[pictures[i], *painted[i]] for i in range(len(images))]
    columns = ["epoch", *map(str, epochs)]
    labels = [RowLabel(label) for label in row_labels]
    title = "The derivative of each sample's own class, over epochs"
    return compose_sheet(rows, title, labels, columns, scale, tile_size)


def spectrum_over_epochs(history: Mapping[int, Tensor], output: str = "logits") -> Pixels:
    """Plot the mean singular values of the Jacobian, a line for each epoch, later ones darker.

    Args:
        history: by epoch, singular values in descending order, ``[values]``; zeros are left out.
        output: what was differentiated, for the title.
    """
    epochs = sorted(history)
    shades = np.rint(sequential()(np.linspace(0.25, 1.0, len(epochs)))[:, :3] * 255).astype(int)
    lines = []
    for epoch, shade in zip(epochs, shades.tolist(), strict=True):
        values = history[epoch].detach().cpu().double().numpy()
        values = np.where(values > _SMALLEST * max(values.max(initial=0.0), 1e-30), values, 0.0)
        name = f"epoch {epoch}" if epoch in (epochs[0], epochs[-1]) else ""
        lines.append(Line(values, tuple(shade), name))
    title = "How many directions of the input matter, and how much"
    return line_chart(lines, title, "singular value, from the largest", f"mean σ of ∂ {output} / ∂ pixels")


def _gallery(pictures: Pixels, captions: Sequence[str], title: str, scale: Scale, tile_size: int) -> Pixels:
    """Pictures ``[number, height, width, 3]`` with captions, five in a row."""
    starts = range(0, len(pictures), _IN_A_ROW)
    rows = [list(pictures[i : i + _IN_A_ROW]) for i in starts]
    above = [captions[i : i + _IN_A_ROW] for i in starts]
    return compose_sheet(rows, title, scale=scale, tile_size=tile_size, captions=above)


def _row_label(probabilities: Tensor | None, label: int | None, class_names: Sequence[str]) -> RowLabel:
    if probabilities is None:
        return RowLabel("" if label is None else class_names[label])
    predicted = int(probabilities.argmax())
    detail = f"→ {class_names[predicted]} ({percent(float(probabilities[predicted]))})"
    if label is None:
        return RowLabel(detail)
    return RowLabel(class_names[label], detail, marked=predicted != label)
