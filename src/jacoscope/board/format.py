"""The format in which a sample's Jacobians are logged, step by step. docs/board.md describes it.

A sample has one time series of numbers, tag ``jacobians/INDEX``, and one of maps for each output, tag
``jacobians/INDEX/OUTPUT``. This file imports neither torch nor matplotlib, since TensorBoard loads it.
"""

import base64
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tensorboard.compat.proto.summary_pb2 import DATA_CLASS_TENSOR, Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.util.tensor_util import make_ndarray

PLUGIN = "jacobians"
"""The name of the tab's plugin, in event files and in ``--samples_per_plugin``."""
FORMAT = 1
"""Raised when a reader of this version could not read what is written."""
TOLERANCE = 1e-4
"""Largest error of a decoded derivative, as a share of the largest derivative of the sample at that step."""
COLUMNS = ("class", "logit", "probability")
"""Numbers of each class, before the scales of its maps."""

_STEPS = 32767  # of a 16-bit integer, up to the largest magnitude of a map
_NOT_FINITE = -32768
_INT16, _FLOAT64 = np.dtype("<i2"), np.dtype("<f8")
_TYPES = {_INT16: 5, _FLOAT64: 2}  # DT_INT16 and DT_DOUBLE of TensorFlow's types.proto

Floats = NDArray[np.floating[Any]]


class FormatError(ValueError):
    """What was logged is not of this format."""


@dataclass(frozen=True)
class Value:
    """A number of each step.

    Attributes:
        name: such as ``logits/frobenius``.
        label: in charts.
        output: whose Jacobian it is computed from; empty if it is the same for all outputs.
        log: whether its axis is logarithmic.
    """

    name: str
    label: str
    output: str = ""
    log: bool = False


@dataclass(frozen=True)
class Probe:
    """What does not change from step to step.

    Attributes:
        index: of the sample, in its data set.
        label: its class; −1 if unknown.
        class_names: one for each output.
        outputs: whose Jacobians are shown: ``logits``, ``probs``.
        values: the numbers of each step.
        image: ``[channels, height, width]``, 8 bits from the smallest to the largest pixel of ``pixel_range``.
        pixel_range: what 0 and 255 of the image stand for.
        input_shape: of the input that the network takes; maps and image may be smaller.
    """

    index: int
    label: int
    class_names: tuple[str, ...]
    outputs: tuple[str, ...]
    values: tuple[Value, ...]
    image: NDArray[np.uint8]
    pixel_range: tuple[float, float]
    input_shape: tuple[int, ...]

    @property
    def map_size(self) -> int:
        """Entries of all maps of a step, at most."""
        return len(self.class_names) * int(np.prod(self.image.shape[-2:]))

    def to_json(self) -> bytes:
        """Return it as the content of the metadata of a series of numbers."""
        image = base64.b64encode(self.image.tobytes()).decode()
        content = {**asdict(self), "image": image, "image_shape": self.image.shape, "format": FORMAT}
        return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()

    @classmethod
    def from_json(cls, content: bytes) -> "Probe":
        """Read the content of a metadata.

        Raises:
            FormatError: if it is not of this format.
        """
        try:
            read = json.loads(content)
            if read["format"] != FORMAT:
                raise FormatError(f"format {read['format']!r} was written by another version of jacoscope")
            shape = tuple(map(int, read["image_shape"]))
            low, high = map(float, read["pixel_range"])
            return cls(
                int(read["index"]),
                int(read["label"]),
                tuple(map(str, read["class_names"])),
                tuple(map(str, read["outputs"])),
                tuple(Value(str(v["name"]), str(v["label"]), str(v["output"]), bool(v["log"])) for v in read["values"]),
                np.frombuffer(base64.b64decode(read["image"], validate=True), np.uint8).reshape(shape),
                (low, high),
                tuple(map(int, read["input_shape"])),
            )
        except FormatError:
            raise
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise FormatError(f"the description of the sample cannot be read: {error!r}") from error


@dataclass(frozen=True)
class Moment:
    """A probe at one step.

    Attributes:
        classes: whose maps are kept, ascending, ``[maps]``.
        logits: of these classes, ``[maps]``.
        probabilities: of these classes, ``[maps]``.
        maps: by output, derivatives with respect to the brightness of each pixel, ``[maps, height, width]``.
        values: in the order of the probe's ``values``.
    """

    classes: NDArray[np.integer[Any]]
    logits: Floats
    probabilities: Floats
    maps: Mapping[str, Floats]
    values: tuple[float, ...]


@dataclass(frozen=True)
class Course:
    """A probe over the steps.

    Attributes:
        probe: what does not change.
        steps: ascending, ``[steps]``.
        classes: whose maps are kept, ``[steps, maps]``.
        logits: of these classes, ``[steps, maps]``.
        probabilities: of these classes, ``[steps, maps]``.
        values: by name, ``[steps]``.
        jacobians: by output, ``[steps, maps, height, width]``, float32; NaN where a derivative was not finite.
    """

    probe: Probe
    steps: NDArray[np.int64]
    classes: NDArray[np.int64]
    logits: NDArray[np.float64]
    probabilities: NDArray[np.float64]
    values: dict[str, NDArray[np.float64]]
    jacobians: dict[str, NDArray[np.float32]]

    @property
    def predictions(self) -> NDArray[np.int64]:
        """The class with the largest logit, ``[steps]``."""
        best = self.logits.argmax(1)[:, None]
        return np.take_along_axis(self.classes, best, 1)[:, 0]


class Event(NamedTuple):
    """A tensor that was logged at a step."""

    step: int
    tensor: NDArray[Any]


def numbers_tag(index: int, prefix: str = "") -> str:
    """Return the tag of a probe's numbers, which is also what its maps' tags begin with.

    >>> numbers_tag(17), maps_tag(numbers_tag(17), "probs")
    ('jacobians/17', 'jacobians/17/probs')
    """
    return f"{prefix}{PLUGIN}/{index}"


def maps_tag(tag: str, output: str) -> str:
    """Return the tag of a probe's maps of an output."""
    return f"{tag}/{output}"


def encode(tag: str, probe: Probe, moment: Moment) -> list[Summary.Value]:
    """Return what is written of a probe at one step.

    The maps of ``probs`` are left out where they follow from those of ``logits`` within :data:`TOLERANCE`.

    Args:
        tag: of the numbers, :func:`numbers_tag`.
        probe: what does not change.
        moment: what does.
    """
    encoded: dict[str, NDArray[np.int16]] = {}
    scales: dict[str, NDArray[np.float64]] = {}
    for output in probe.outputs:
        encoded[output], scales[output] = _to_integers(moment.maps[output])
    if "probs" in encoded and "logits" in encoded:
        kept = _from_integers(encoded["logits"], scales["logits"])
        if _follow(kept, moment.probabilities, moment.maps["probs"]):
            del encoded["probs"]
            scales["probs"] = np.full(len(kept), np.nan)
    columns = [moment.classes, moment.logits, moment.probabilities, *scales.values()]
    table = np.stack(columns, axis=1).astype(_FLOAT64)
    numbers = np.concatenate([np.asarray(moment.values, _FLOAT64), table.ravel()])
    return [
        _summary(tag, numbers, probe.to_json()),
        *(_summary(maps_tag(tag, output), maps, b'{"format":1}') for output, maps in encoded.items()),
    ]


def decode(probe: Probe, numbers: Iterable[Event], maps: Mapping[str, Iterable[Event]]) -> Course:
    """Read what :func:`encode` returned at several steps. Steps of which a part is missing are left out.

    Args:
        probe: what does not change.
        numbers: of each step.
        maps: by output, those of each step, as integers. Of outputs that are not named, no Jacobians are returned.

    Raises:
        FormatError: if a tensor is not what the probe's description says.
    """
    found = {output: {event.step: event.tensor for event in events} for output, events in maps.items()}
    moments: dict[int, Moment] = {}
    for step, tensor in numbers:
        moment = _decode_moment(probe, tensor, {output: by_step.get(step) for output, by_step in found.items()})
        if moment is not None:
            moments[step] = moment
    steps = sorted(moments)
    chosen = [moments[step] for step in steps]
    outputs = [output for output in probe.outputs if output in found]
    shapes = {moment.maps[output].shape for moment in chosen for output in outputs}
    shapes |= {(len(m.classes), *next(iter(m.maps.values())).shape[1:]) for m in chosen if m.maps}
    if len(shapes) > 1 or len({len(moment.classes) for moment in chosen}) > 1:
        raise FormatError(f"the maps of sample {probe.index} do not all have the same shape")
    shape = (0, *next(iter(shapes), (0, *probe.image.shape[1:])))
    width = shape[1]
    return Course(
        probe,
        np.array(steps, np.int64),
        np.array([moment.classes for moment in chosen], np.int64).reshape(-1, width),
        np.array([moment.logits for moment in chosen], np.float64).reshape(-1, width),
        np.array([moment.probabilities for moment in chosen], np.float64).reshape(-1, width),
        {v.name: np.array([m.values[i] for m in chosen], np.float64) for i, v in enumerate(probe.values)},
        {
            output: np.stack([m.maps[output] for m in chosen]).astype(np.float32)
            if chosen
            else np.zeros(shape, np.float32)
            for output in outputs
        },
    )


def to_array(tensor: TensorProto) -> NDArray[Any]:
    """Return a logged tensor as an array.

    Raises:
        FormatError: if its bytes do not fit its shape, or it is of no known type.
    """
    try:
        return np.asarray(make_ndarray(tensor))
    except (ValueError, TypeError, KeyError) as error:
        raise FormatError(f"a logged tensor cannot be read: {error}") from error


def _decode_moment(probe: Probe, tensor: NDArray[Any], maps: Mapping[str, NDArray[Any] | None]) -> Moment | None:
    """Return a moment; ``None`` if some of its maps are missing."""
    width = len(COLUMNS) + len(probe.outputs)
    count = len(probe.values)
    if tensor.dtype.kind != "f" or tensor.ndim != 1 or len(tensor) <= count or (len(tensor) - count) % width:
        raise FormatError(f"the numbers of sample {probe.index} have the wrong shape, {tensor.shape}")
    table = tensor[count:].reshape(-1, width).astype(np.float64)
    classes, logits, probabilities = table[:, 0], table[:, 1], table[:, 2]
    if not np.isin(classes, np.arange(len(probe.class_names))).all():
        raise FormatError(f"the numbers of sample {probe.index} name classes that it does not have")
    decoded: dict[str, Floats] = {}
    for place, output in enumerate(probe.outputs, start=len(COLUMNS)):
        if output not in maps:
            continue
        scales, follows = table[:, place], bool(np.isnan(table[:, place]).any())
        integers = maps.get("logits" if follows else output)
        if integers is None:
            return None
        if integers.ndim != 3 or len(integers) != len(classes) or integers.dtype != np.int16:
            raise FormatError(f"the maps of sample {probe.index} have the wrong shape or type, {integers.shape}")
        if follows:
            kept = _from_integers(integers, table[:, len(COLUMNS) + probe.outputs.index("logits")])
            decoded[output] = probs_from_logits(kept, probabilities)
        else:
            decoded[output] = _from_integers(integers, scales)
    return Moment(classes.astype(np.int64), logits, probabilities, decoded, tuple(tensor[:count].tolist()))


def probs_from_logits(maps: Floats, probabilities: Floats) -> NDArray[np.float64]:
    r"""Return the maps of the probabilities, :math:`p_k \sum_j p_j (J_k - J_j)`, from those of the logits.

    What is common to all maps is subtracted first, since it cancels.

    Args:
        maps: of the logits of all classes, ``[classes, height, width]``.
        probabilities: ``[classes]``.
    """
    with np.errstate(invalid="ignore"):  # what is not finite stays so
        differences = maps - maps[int(np.argmax(probabilities))]
        mean = np.tensordot(probabilities, differences, 1)
        return np.asarray(probabilities[:, None, None] * (probabilities.sum() * differences - mean), np.float64)


def _follow(logits_maps: Floats, probabilities: Floats, expected: Floats) -> bool:
    if not np.isfinite(expected).all() or abs(float(probabilities.sum()) - 1) > 1e-5:  # not of all classes
        return False
    error = np.abs(probs_from_logits(logits_maps, probabilities) - expected).max()
    return bool(error <= 0.5 * TOLERANCE * np.abs(expected).max())


def _to_integers(maps: Floats) -> tuple[NDArray[np.int16], NDArray[np.float64]]:
    """Return 16-bit integers, and for each map the magnitude that 32767 stands for."""
    maps = maps.astype(np.float64)
    finite = np.isfinite(maps)
    scales = np.where(finite, np.abs(maps), 0.0).max((1, 2))
    divisors = np.where(scales > 0, scales, 1.0)[:, None, None]
    integers = np.rint(np.where(finite, maps, 0.0) / divisors * _STEPS)
    return np.where(finite, integers, _NOT_FINITE).astype(_INT16), scales


def _from_integers(integers: NDArray[np.int16], scales: Floats) -> NDArray[np.float64]:
    maps = integers * (scales / _STEPS)[:, None, None]
    return np.where(integers == _NOT_FINITE, np.nan, maps)


def _summary(tag: str, array: NDArray[Any], content: bytes) -> Summary.Value:
    tensor = TensorProto(dtype=_TYPES[array.dtype], tensor_content=array.tobytes())
    for size in array.shape:
        tensor.tensor_shape.dim.add(size=size)
    metadata = SummaryMetadata(data_class=DATA_CLASS_TENSOR)
    metadata.plugin_data.plugin_name, metadata.plugin_data.content = PLUGIN, content
    return Summary.Value(tag=tag, tensor=tensor, metadata=metadata)
