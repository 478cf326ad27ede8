"""The pictures of Jacobians that are drawn during training: tensors in, one uint8 picture out."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from jacoscope.visuals.colors import (
    Pixels,
    diverging,
    paint_magnitude,
    paint_signed,
    sequential,
    symmetric_limit,
)
from jacoscope.visuals.sheet import TILE_SIZE, RowLabel, Scale, compose_sheet

_GALLERY_SIZE = 140

SINGULAR = {"logits": "logit", "probs": "probability", "log_probs": "log-probability"}
UNITS = {"logits": "∂ logit / ∂ pixel", "probs": "∂ probability / ∂ pixel", "log_probs": "∂ log p / ∂ pixel"}


def probe_sheet(
    images: Tensor,
    J: Tensor,
    probabilities: Tensor,
    labels: Sequence[int | None],
    class_names: Sequence[str],
    output: str = "logits",
    max_classes: int = 10,
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
        probabilities: ``[samples, outputs]``.
        labels: true classes; ``None`` where unknown.
        class_names: one for each output.
        output: what was differentiated, for the units.
        max_classes: columns at most.

    >>> J = torch.randn(2, 3, 1, 8, 8)
    >>> probe_sheet(torch.rand(2, 1, 8, 8), J, torch.eye(3)[:2], [0, 2], ["a", "b", "c"]).shape[2]
    3
    """
    maps = shrink(brightness_derivative(J))
    shown = _strongest_outputs(maps, max_classes)
    pictures = paint_image(shrink(images))
    painted, scale = _on_one_scale(maps[:, shown], output)
    rows = [[pictures[i], *painted[i]] for i in range(len(images))]
    row_labels = [_row_label(p, label, class_names) for p, label in zip(probabilities.cpu(), labels, strict=True)]
    columns = ["", *(class_names[k] for k in shown)]
    title = f"Which way each pixel moves the {SINGULAR.get(output, output)} of each class"
    return compose_sheet(rows, title, row_labels, columns, scale)


def class_maps_sheet(maps: Tensor, class_names: Sequence[str], output: str = "logits", max_classes: int = 10) -> Pixels:
    """Draw the mean magnitude of the derivatives, one map for each output.

    Args:
        maps: mean |J| over samples, ``[outputs, channels, height, width]``.
        class_names: one for each output.
        output: what was differentiated, for the units.
        max_classes: maps at most: those with the largest derivatives.

    >>> class_maps_sheet(torch.rand(3, 1, 8, 8), ["a", "b", "c"]).dtype
    dtype('uint8')
    """
    summed = shrink(channel_magnitude(maps), _GALLERY_SIZE)
    shown = _strongest_outputs(summed.unsqueeze(0), max_classes)
    limit = symmetric_limit(summed[shown])
    painted = list(paint_magnitude(summed[shown], limit))
    scale = Scale(sequential(), 0.0, limit, f"mean |{UNITS.get(output, output)}|")
    title = f"Pixels that move the {SINGULAR.get(output, output)} of each class, on average"
    return _gallery(painted, [class_names[k] for k in shown], title, scale)


def sensitivity_overlay(images: Tensor, sensitivity: Tensor, captions: Sequence[str], output: str = "logits") -> Pixels:
    """Lay the sensitivity of each pixel over the image, all samples on one scale.

    Args:
        images: ``[samples, channels, height, width]``; those with pixels beyond [0, 1] are stretched to it, each by
            itself.
        sensitivity: root mean square of J over the outputs, ``[samples, channels, height, width]``.
        captions: one for each sample.
        output: what was differentiated, for the units.
    """
    magnitudes = shrink(channel_magnitude(sensitivity), _GALLERY_SIZE)
    limit = symmetric_limit(magnitudes)
    strength = (magnitudes / limit).nan_to_num(0.0).clamp(0, 1).cpu().numpy()[..., None]
    # The image in pale grey, dark on light; the stronger the sensitivity, the more its colour covers it.
    brightness = to_unit_range(shrink(images, _GALLERY_SIZE)).mean(1)
    grey = 255 - 110 * brightness.cpu().numpy()[..., None]
    color = paint_magnitude(magnitudes, limit).astype(np.float32)
    mixed = (grey * (1 - strength) + color * strength).round().astype(np.uint8)
    scale = Scale(sequential(), 0.0, limit, f"rms {UNITS.get(output, output)}")
    return _gallery(list(mixed), captions, f"Pixels that the {_PLURALS.get(output, output)} react to", scale)


def maps_over_epochs(
    history: Mapping[int, Tensor],
    images: Tensor,
    row_labels: Sequence[str],
    output: str = "logits",
) -> Pixels:
    """Draw how the derivative of each sample's own class changed over training, side by side on one scale.

    Args:
        history: by epoch, the maps ``[samples, channels, height, width]``; they may be shrunk already.
        images: ``[samples, channels, height, width]``; those with pixels beyond [0, 1] are stretched to it, each by
            itself.
        row_labels: one for each sample.
        output: what was differentiated, for the units.
    """
    epochs = sorted(history)
    maps = torch.stack([shrink(brightness_derivative(history[epoch])) for epoch in epochs], dim=1)
    painted, scale = _on_one_scale(maps, output)
    pictures = paint_image(shrink(images))
    rows = [[pictures[i], *painted[i]] for i in range(len(images))]
    columns = ["epoch", *map(str, epochs)]
    labels = [RowLabel(label) for label in row_labels]
    return compose_sheet(rows, "The derivative of each sample's own class, over epochs", labels, columns, scale)


def shrink(pictures: Tensor, size: int = TILE_SIZE) -> Tensor:
    """Average over blocks of pixels, where a side of ``[..., height, width]`` is longer than ``size``.

    >>> shrink(torch.rand(2, 3, 336, 168)).shape, shrink(torch.rand(28, 28)).shape
    (torch.Size([2, 3, 84, 42]), torch.Size([28, 28]))
    """
    height, width = pictures.shape[-2:]
    scale = size / max(height, width)
    if scale >= 1:
        return pictures
    small = max(1, round(height * scale)), max(1, round(width * scale))
    averaged = adaptive_avg_pool2d(pictures.detach().float().reshape(-1, height, width), small)
    return averaged.reshape(*pictures.shape[:-2], *small)


def to_unit_range(images: Tensor) -> Tensor:
    """Leave images with pixels in [0, 1] as they are; stretch any other from its own darkest value to its brightest.

    Standardised images would else be drawn as their brightest parts on black. All channels of an image are stretched
    together; values that are not finite become 0.

    Args:
        images: ``[samples, channels, height, width]``.

    >>> to_unit_range(torch.tensor([[[[0.2, 0.4]]], [[[-2.0, 2.0]]]])).flatten(1).tolist()
    [[0.20000000298023224, 0.4000000059604645], [0.0, 1.0]]
    """
    images = images.detach().float()
    images = images.where(images.isfinite(), 0.0)
    low, high = images.amin((1, 2, 3), keepdim=True), images.amax((1, 2, 3), keepdim=True)
    stretched = (images - low) / (high - low).clamp_min(torch.finfo(images.dtype).tiny)
    return stretched.where((low < 0) | (high > 1), images)


def paint_image(images: Tensor) -> Pixels:
    """Turn images, ``[samples, channels, height, width]``, into pictures ``[samples, height, width, 3]``.

    One channel is grey, three are red, green and blue; of any other number the mean is drawn.
    """
    shown = to_unit_range(images)
    if shown.shape[1] not in (1, 3):
        shown = shown.mean(1, keepdim=True)
    bytes_ = shown.mul(255).round().byte().cpu()
    return bytes_.expand(-1, 3, -1, -1).permute(0, 2, 3, 1).contiguous().numpy()


def brightness_derivative(J: Tensor) -> Tensor:
    """Sum over the channels, ``[..., channels, height, width]`` to ``[..., height, width]``.

    The derivative when all channels of a pixel grow together.
    """
    return J.detach().float().sum(-3)


def channel_magnitude(maps: Tensor) -> Tensor:
    """L2 norm over the channels, ``[..., channels, height, width]`` to ``[..., height, width]``."""
    length: Tensor = torch.linalg.vector_norm(maps.detach().float(), dim=-3)
    return length


def _on_one_scale(maps: Tensor, output: str) -> tuple[Pixels, Scale]:
    """Colour maps ``[samples, …, height, width]`` on one symmetric scale, and give that scale.

    The derivatives of probabilities shrink with confidence, by orders of magnitude from one sample to the next: on an
    even scale the least certain sample would fade all others to nothing. Theirs is logarithmic, down to the largest
    derivative of the sample that moves least.
    """
    units = UNITS.get(output, f"∂ {output} / ∂ pixel")
    if output == "probs":
        limit = symmetric_limit(maps, 1.0)
        peaks = maps.abs().nan_to_num(0.0).flatten(1).amax(1)
        bend = min(max(float(peaks.min()), 1e-6 * limit), limit)
        if bend < 0.05 * limit:
            return paint_signed(maps, limit, bend), Scale(diverging(), -limit, limit, units, bend)
    limit = symmetric_limit(maps)
    return paint_signed(maps, limit), Scale(diverging(), -limit, limit, units)


def _gallery(pictures: Sequence[Pixels], captions: Sequence[str], title: str, scale: Scale) -> Pixels:
    """Pictures with captions, five in a row."""
    starts = range(0, len(pictures), 5)
    rows = [pictures[i : i + 5] for i in starts]
    below = [captions[i : i + 5] for i in starts]
    return compose_sheet(rows, title, [], [], scale, _GALLERY_SIZE, below)


_PLURALS = {"logits": "logits", "probs": "probabilities", "log_probs": "log-probabilities"}


def _strongest_outputs(maps: Tensor, limit: int) -> list[int]:
    """The outputs with the largest maps ``[samples, outputs, height, width]``, in their own order."""
    strength = maps.nan_to_num(0.0).abs().sum((0, 2, 3))
    return sorted(strength.topk(min(limit, len(strength))).indices.tolist())


def _row_label(probabilities: Tensor, label: int | None, class_names: Sequence[str]) -> RowLabel:
    predicted = int(probabilities.argmax())
    detail = f"→ {class_names[predicted]} ({percent(float(probabilities[predicted]))})"
    if label is None:
        return RowLabel(detail)
    return RowLabel(class_names[label], detail, marked=predicted != label)


def percent(probability: float) -> str:
    """Write a probability, with more digits near the ends, where they matter.

    >>> percent(0.9996), percent(0.42), percent(0.997), percent(1e-5)
    ('>99.9 %', '42 %', '99.7 %', '<0.1 %')
    """
    if 0.999 <= probability < 1:
        return ">99.9 %"
    if 0 < probability < 0.001:
        return "<0.1 %"
    digits = 0 if 0.01 <= probability < 0.99 or probability in (0, 1) else 1
    return f"{100 * probability:.{digits}f} %"
