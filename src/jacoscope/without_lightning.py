"""Measure any PyTorch model, and log or show what was measured, without Lightning.

The numbers, pictures and tags are those of :class:`~jacoscope.callbacks.JacobianCallback`, from the same code.
"""

import html
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from jacoscope.callbacks.jacobian.arguments import OUTPUTS
from jacoscope.callbacks.jacobian.dashboard import explanation, layout
from jacoscope.callbacks.jacobian.measuring import (
    Differentiator,
    Measurement,
    measure_own,
    summarise,
    summarise_training,
    warn_of_not_finite,
)
from jacoscope.callbacks.jacobian.pictures import Album, Portrait, Probes, log_to_tab
from jacoscope.callbacks.jacobian.sampling import Samples
from jacoscope.callbacks.jacobian.sinks import WriterSink
from jacoscope.errors import UserError, require_choice
from jacoscope.jacobians import DEFINITION
from jacoscope.jacobians.outputs import OUTPUTS as ALLOWED
from jacoscope.measures import MEASURES, Statistic
from jacoscope.visuals.colors import Pixels
from jacoscope.visuals.sheet import TILE_SIZE, encode_png, png_uri
from jacoscope.visuals.training_pictures import GALLERY_SIZE, probe_sheet

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

STATISTICS: dict[Statistic, str] = {"mean": "mean", "median": "median", "p05": "5 %", "p95": "95 %", "max": "largest"}
"""Columns of the table of a result, with their headings."""
SHOWN_ROWS = 10
"""Samples that are drawn, unless said otherwise."""


@dataclass(frozen=True)
class Picture:
    """A picture that draws itself in a notebook.

    Attributes:
        pixels: ``[height, width, 3]``, uint8.
    """

    pixels: Pixels = field(repr=False)

    def save(self, path: str | Path) -> None:
        """Write a PNG file."""
        Path(path).write_bytes(encode_png(self.pixels))

    def _repr_png_(self) -> bytes:
        return encode_png(self.pixels)


@dataclass(frozen=True)
class Result:
    """What :func:`measure` found. It draws itself in a notebook.

    Attributes:
        scalars: the numbers over all samples, by tag: ``"jacobian/logits/frobenius/mean"``, …
        values: the numbers of each sample, by ``output/measure``, each ``[samples]``.
        labels: true classes, ``[samples]``; −1 where unknown.
        predictions: ``[samples]``.
        class_names: one for each output.
        outputs: whose Jacobians were measured.
        strategy: how they were computed.
        max_classes: largest number of classes that have means and maps of their own.
        measured: all that the pictures are drawn from.
        portrait: the samples that are drawn, with their maps; None if the inputs are no images.
    """

    scalars: dict[str, float]
    class_names: list[str]
    outputs: tuple[str, ...]
    strategy: str
    max_classes: int
    measured: Measurement = field(repr=False)
    portrait: Portrait | None = field(repr=False)

    @property
    def values(self) -> dict[str, Tensor]:
        return self.measured.values

    @property
    def labels(self) -> Tensor:
        return self.measured.labels

    @property
    def predictions(self) -> Tensor:
        return self.measured.predictions

    def maps(self, output: str = "logits") -> Tensor:
        """Return the maps of the samples that are drawn, ``[drawn samples, outputs, height, width]``.

        A map is J summed over the channels: the derivative with respect to a pixel's brightness. Those of large images
        are averaged over blocks of pixels.

        Raises:
            UserError: if this output was not measured, or the inputs are no images.
        """
        if self.portrait is None or output not in self.portrait.maps:
            drawn = "the inputs are no images" if self.portrait is None else f"there are maps of {list(self.outputs)}"
            raise UserError(f"There are no maps of {output!r}: {drawn}")
        return self.portrait.maps[output].squeeze(2)

    def picture(self, output: str = "logits") -> Picture:
        """Draw samples beside the derivative of each class.

        Raises:
            UserError: as ``maps``.
        """
        maps = self.maps(output).unsqueeze(2)
        assert self.portrait is not None
        labels = [label if 0 <= label < len(self.class_names) else None for label in self.portrait.labels]
        probabilities = self.portrait.logits.softmax(1)
        return Picture(
            probe_sheet(self.portrait.images, maps, probabilities, labels, self.class_names, output, self.max_classes)
        )

    def __repr__(self) -> str:
        lines = [f"{len(self.labels)} samples, {len(self.class_names)} outputs, strategy {self.strategy}"]
        lines += [f"{name}  {'  '.join(numbers)}" for name, numbers in self._rows()]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{name}</th>" for name in STATISTICS.values())
        body = "".join(
            f"<tr><td style='text-align:left'>{html.escape(name)}</td>{''.join(f'<td>{n}</td>' for n in numbers)}</tr>"
            for name, numbers in self._rows()
        )
        drawn = ""
        if self.portrait is not None:
            uri = png_uri(encode_png(self.picture(self.outputs[0]).pixels))
            drawn = f"<img alt='samples and their Jacobians' style='max-width:100%' src='{uri}'>"
        return f"<table><tr><th>{len(self.labels)} samples</th>{head}</tr>{body}</table>{drawn}"

    def _rows(self) -> list[tuple[str, list[str]]]:
        rows = []
        for key in self.values:
            output, _, name = key.partition("/")
            measure = MEASURES[name]
            title = measure.meaning(output).partition(":")[0] if measure.per_output else measure.axis()
            found = [self.scalars.get(measure.tag(output, statistic)) for statistic in STATISTICS]
            rows.append((title, ["" if value is None else f"{value:.4g}" for value in found]))
        return rows


def measure(
    model: nn.Module,
    x: Tensor,
    y: Tensor | None = None,
    *,
    outputs: Sequence[str] = OUTPUTS,
    output: Callable[[Any], Tensor] | None = None,
    strategy: str = DEFINITION,
    class_names: Sequence[str] | None = None,
    max_classes: int = 10,
    max_drawn: int = SHOWN_ROWS,
) -> Result:
    r"""Measure how the outputs of a classifier depend on its inputs, at some samples.

    Computed are, for each sample, the exact Jacobian :math:`J_{ki} = \partial\,\mathrm{output}_k / \partial x_i` in
    evaluation mode, and of it all measures of :data:`jacoscope.measures.MEASURES`. The model is left as it was.

    Args:
        model: takes ``[batch, *input_shape]`` and returns logits ``[batch, classes]``.
        x: the samples, ``[samples, *input_shape]``, on the device of the model; all are measured.
        y: their classes, whole numbers ``[samples]``; None if unknown: means by class and by outcome are left out.
        outputs: whose Jacobians are measured: ``"logits"``, ``"probs"``, ``"log_probs"``.
        output: takes the logits out of what the model returns, as ``lambda returned: returned["logits"]``.
        strategy: as :func:`jacoscope.jacobian` takes it. The default becomes ``"auto"`` for a model that
            ``torch.func`` cannot differentiate.
        class_names: one for each output; by default their numbers.
        max_classes: largest number of classes that have means and maps of their own.
        max_drawn: largest number of samples that are drawn: the first of each class, or the first of all without ``y``.

    Raises:
        UserError: if an argument is not allowed.
        JacobianError: if the model has no Jacobian.

    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    >>> result = measure(model, torch.rand(20, 1, 8, 8), torch.arange(20) % 3)
    >>> len(result.values["logits/frobenius"]), result.maps().shape
    (20, torch.Size([3, 3, 8, 8]))
    """
    if not outputs or set(outputs) - ALLOWED.keys():
        raise UserError(f"outputs={list(outputs)} is not allowed; it is some of {', '.join(ALLOWED)}")
    for name, count in (("max_classes", max_classes), ("max_drawn", max_drawn)):
        if count < 1:
            raise UserError(f"{name}={count} is not allowed; it is 1 or more")
    if not len(x):
        raise UserError("x has no samples")
    labels = _labels(y, x)
    indices = torch.arange(len(x))
    differentiate = Differentiator(output=output, strategy=strategy)
    differentiate.check(model, x)
    measured = measure_own(model, Samples(x, labels, indices), differentiate, outputs)
    warn_of_not_finite(measured)
    names = _names(class_names, measured.classes)
    probes = Probes(None, max_drawn, max_drawn)
    probes.add_from(x, labels, indices)
    portrait = probes.portrait(model, differentiate, outputs)
    scalars = summarise(measured, names, max_classes)
    return Result(scalars, names, tuple(outputs), differentiate.strategy, max_classes, measured, portrait)


def _labels(y: Tensor | None, x: Tensor) -> Tensor:
    if y is None:
        return torch.full((len(x),), -1)
    if not isinstance(y, Tensor) or y.shape != (len(x),) or y.is_floating_point():
        given = f"a tensor {list(y.shape)} of {y.dtype}" if isinstance(y, Tensor) else f"a {type(y).__name__}"
        raise UserError(f"y is {given}, not classes: a tensor [{len(x)}] of whole numbers, or None")
    return y.detach().cpu().long()


def _names(class_names: Sequence[str] | None, outputs: int) -> list[str]:
    names = [str(k) for k in range(outputs)] if class_names is None else list(map(str, class_names))
    if len(names) != outputs:
        raise UserError(f"{len(names)} class_names were given, but there are {outputs} outputs")
    return names


_albums: WeakKeyDictionary[Any, Album] = WeakKeyDictionary()
"""What was drawn with each writer before: pictures over epochs show it again."""


def log(writer: "SummaryWriter", result: Result, step: int, training: Result | None = None) -> None:
    """Log a result to TensorBoard: curves, pictures, histograms, the tab "Jacobians", charts and explanations.

    Tags are those of :class:`~jacoscope.callbacks.JacobianCallback`. Measure the same samples each time.

    Args:
        writer: a ``torch.utils.tensorboard.SummaryWriter``.
        result: of validation samples.
        step: of the training.
        training: of training samples, for the curves ``jacobian-train/…``.

    Raises:
        UserError: if ``writer`` is no SummaryWriter.

    >>> from tempfile import TemporaryDirectory
    >>> from torch.utils.tensorboard import SummaryWriter
    >>> with TemporaryDirectory() as folder, SummaryWriter(folder) as writer:
    ...     log(writer, measure(nn.Sequential(nn.Flatten(), nn.Linear(64, 3)), torch.rand(9, 1, 8, 8)), step=0)
    """
    if not all(hasattr(writer, name) for name in ("add_scalar", "add_histogram", "add_custom_scalars", "log_dir")):
        raise UserError(
            f"jacoscope.log writes to a torch.utils.tensorboard.SummaryWriter, not to a {type(writer).__name__}. "
            "In a Lightning project, use JacobianCallback"
        )
    sink = WriterSink(writer)
    scalars = result.scalars | (summarise_training(training.measured, result.scalars) if training else {})
    if writer not in _albums:
        _albums[writer] = Album(result.max_classes)
        sink.log_text("jacobian/how_to_read", explanation(len(result.labels), result.strategy))
        sink.log_layout(layout(result.outputs, list(scalars)))
    sink.log_scalars(scalars, step)
    if result.portrait is not None:
        log_to_tab([sink], result.portrait, result.class_names, result.max_classes, "", step)
    _albums[writer].log([sink], step, result.measured, result.portrait, result.class_names, step)


def show(
    J: Tensor,
    x: Tensor,
    logits: Tensor | None = None,
    y: Tensor | int | None = None,
    *,
    class_names: Sequence[str] | None = None,
    output: str = "logits",
    max_classes: int = 10,
) -> Picture:
    """Draw images beside the derivative of each output: the result draws itself in a notebook.

    Args:
        J: as :func:`jacoscope.jacobian` returns it, ``[batch, outputs, channels, height, width]``, or that of one
            sample, ``[outputs, channels, height, width]``.
        x: the images, ``[batch, channels, height, width]``, or one of them.
        logits: ``[batch, outputs]``, or those of one sample; if given, predictions are shown.
        y: true classes, ``[batch]``, or one number; −1 where unknown.
        class_names: one for each output; by default their numbers.
        output: what was differentiated, for the units: ``"logits"``, ``"probs"`` or ``"log_probs"``.
        max_classes: largest number of outputs that are shown: those with the largest derivatives.

    Raises:
        UserError: if the shapes do not fit each other, or ``output`` is none of these.

    >>> picture = show(torch.randn(2, 3, 1, 8, 8), torch.rand(2, 1, 8, 8))
    >>> picture.pixels.shape[2], show(torch.randn(3, 1, 8, 8), torch.rand(1, 8, 8), y=2)
    (3, Picture())
    """
    if J.ndim == x.ndim + 1 and x.ndim == 3:
        J, x = J.unsqueeze(0), x.unsqueeze(0)
        logits = None if logits is None else logits.reshape(1, -1)
    if J.ndim != 5 or x.ndim != 4 or J.shape[2:] != x.shape[1:] or len(J) != len(x):
        raise UserError(
            f"J is {list(J.shape)} and x is {list(x.shape)}: to be drawn, they are [batch, outputs, channels, height, "
            "width] and [batch, channels, height, width], or the same without batch"
        )
    names = _names(class_names, J.shape[1])
    require_choice("output", output, ALLOWED, "show: ")
    if logits is not None and logits.shape != J.shape[:2]:
        raise UserError(f"logits are {list(logits.shape)}, but J is of {len(J)} samples and {J.shape[1]} outputs")
    given = [] if y is None else torch.as_tensor(y).reshape(-1).tolist()
    if y is not None and len(given) != len(x):
        raise UserError(f"y has {len(given)} classes, but there are {len(x)} images")
    labels = [label if 0 <= label < len(names) else None for label in given] or [None] * len(x)
    probabilities = None if logits is None else logits.detach().softmax(1)
    x, J = x.detach().float().cpu(), J.detach().float().cpu()
    tile_size = TILE_SIZE if len(x) > 3 else GALLERY_SIZE
    return Picture(probe_sheet(x, J, probabilities, labels, names, output, max_classes, tile_size))
