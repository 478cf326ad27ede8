"""The question about single samples of a split: the decision, its Jacobian, and what changes the decision."""

import csv
import io
import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from rich.console import Console
from rich.markup import escape
from torch import Tensor

from jacoscope.analysis.attack import REACH, Crossing, crossing_along
from jacoscope.analysis.figures import change_figure, picture_figure, rendered
from jacoscope.analysis.folder import answer_path
from jacoscope.analysis.network import NetworkSpec, TrainedNetwork
from jacoscope.analysis.question import Question
from jacoscope.analysis.reduction import logits_jacobian
from jacoscope.analysis.report.sample_page import sample_page
from jacoscope.analysis.streaming import Devices
from jacoscope.analysis.summary import known
from jacoscope.analysis.terminal import show_files, show_labelled, text_table
from jacoscope.errors import UserError
from jacoscope.files import write_together
from jacoscope.jacobian_batch import JacobianBatch
from jacoscope.jacobians import BoundaryDistance, as_matrix, boundary_distance, output_norms
from jacoscope.measures import MEASURES, SINGULAR, shown_in
from jacoscope.runs.records import NOT_A_RECORD, read_json
from jacoscope.visuals.figure import jacobian_figure
from jacoscope.visuals.fonts import drawable, shortened

LETTERS = 24
"""Of a class's name above a picture."""

PICTURES = ("heatmap.png", "heatmap.svg", "decision.png")
FILES = ("reading.json", "jacobian.npy", "jacobian.csv", *PICTURES, "report.html")


def answer(question: Question, specs: Sequence[NetworkSpec], devices: Devices, console: Console) -> None:  # noqa: ARG001
    """Answer the question about samples of a split, one by one.

    Raises:
        UserError: if there is no such sample, then none is read; or one has no finite Jacobian.
    """
    (spec,) = specs
    network = TrainedNetwork.load(spec)
    dataset: Any = network.split(question.split)
    indices = question.indices or []
    for index in indices:
        if not 0 <= index < len(dataset):
            raise UserError(
                f"sample={index} is out of range: the {question.split} split has samples 0 to {len(dataset) - 1}"
            )
    names = [f"{question.split}_sample_{index}_{question.output_name}" for index in indices]
    for index, (folder, asked) in zip(indices, own_folders(question, spec, names), strict=True):
        pixels, labels = network.read_samples(question.split, [index])
        reading = read(network, f"{question.split} sample {index}", pixels[0], int(labels[0]), question, asked)
        files = save(reading, network.class_names, folder)
        show(console, reading, network.class_names)
        show_files(console, files)


def own_folders(question: Question, spec: NetworkSpec, names: list[str]) -> list[tuple[Path, dict[str, Any]]]:
    """Return, for each picture, the folder of its answer and what decides it.

    Raises:
        UserError: if the user named a folder that holds something else.
    """
    decides = {"checkpoint_sha256": spec.checkpoint.sha256(), "config": spec.config, "strategy": question.strategy}
    folders = [(answer_path(question, spec, name), {"name": name, **decides}) for name in names]
    for folder, asked in folders:
        if question.output_dir is not None:
            require_own(folder, asked)
    return folders


@dataclass(frozen=True)
class Reading:
    """Everything about one picture.

    Attributes:
        title: what it is a picture of, for people.
        pixels: ``[C, H, W]`` in [0, 1], as the network saw it.
        label: its class, or none for a picture of the user's own.
        output: what is differentiated.
        strategy: of :func:`jacoscope.jacobians.jacobian`.
        logits: ``[classes]``.
        J: Jacobian of the output, ``[classes, C, H, W]``.
        measures: of J, by name.
        boundary: the decision boundary to first order, a batch of one.
        crossing: where the decision really changes in that direction, a batch of one.
        asked: all that decides these numbers, as plain values.
    """

    title: str
    pixels: Tensor
    label: int | None
    output: str
    strategy: str
    logits: Tensor
    J: Tensor
    measures: dict[str, float]
    boundary: BoundaryDistance
    crossing: Crossing
    asked: dict[str, Any]

    @property
    def probabilities(self) -> Tensor:
        return self.logits.softmax(0)

    @property
    def prediction(self) -> int:
        return int(self.logits.argmax())

    @property
    def turns(self) -> bool:
        """Whether a change in that direction that turns the decision was found."""
        return bool(torch.isfinite(self.crossing.distance))

    @property
    def matrix(self) -> Tensor:
        """``[features, classes]``: entry [i, k] = ∂ output k / ∂ pixel i."""
        return as_matrix(self.J.unsqueeze(0))[0]


def read(
    network: TrainedNetwork,
    title: str,
    pixels: Tensor,
    label: int | None,
    question: Question,
    asked: dict[str, Any] | None = None,
) -> Reading:
    """Compute the decision and the Jacobian of one picture, ``[C, H, W]``. ``asked`` is kept in its record.

    Raises:
        UserError: if it has no Jacobian, or one that is NaN or infinite.
    """
    x = pixels.unsqueeze(0)
    strategy = network.usable_strategy(question.strategy)
    J, logits = logits_jacobian(network, x, strategy)
    if not (logits.isfinite().all() and J.isfinite().all()):
        blame = "derivatives" if logits.isfinite().all() else "logits"
        raise UserError(
            f"{title}: the network's {blame} are NaN or infinite there, so there is nothing to read. "
            "Ask about another one, or another checkpoint, checkpoint=FILE"
        )
    boundary = boundary_distance(J, logits)
    crossing = crossing_along(network.module, x, boundary.direction, boundary.distance)
    output = question.named_output
    batch = JacobianBatch(x, J, logits).of(output)
    measures = {name: float(measure(batch)) for name, measure in MEASURES.items()}
    return Reading(
        title, pixels, label, output, strategy, logits[0], batch.J[0], measures, boundary, crossing, asked or {}
    )


def require_own(folder: Path, asked: dict[str, Any]) -> None:
    """Check that a folder that the user named holds no other files of these names than those of the same answer.

    Raises:
        UserError: naming the first file that is not.
    """
    there = [name for name in FILES if os.path.lexists(folder / name)]
    try:
        found = read_json(folder / FILES[0]).get("question") if there else asked
    except NOT_A_RECORD:
        found = None
    if found != asked:
        owner = "analyze.py did not write" if found is None else "is the answer to another question"
        raise UserError(f"output_dir={folder} holds {there[0]}, which {owner}: name another folder, or remove it")


def save(reading: Reading, class_names: list[str], folder: Path) -> list[Path]:
    """Write the numbers, the Jacobian, the pictures and the page of a sample.

    Returns:
        The files.

    Raises:
        UserError: if the folder cannot be written or the disk is full; then none is written.
    """
    figure = jacobian_figure(
        reading.pixels, reading.J, reading.probabilities, reading.label, class_names, reading.output
    )
    matrix = io.BytesIO()
    np.save(matrix, reading.matrix.contiguous().numpy())
    record = as_record(reading, class_names)
    heatmap, decision = rendered(figure, "png"), rendered(decision_figure(reading, class_names), "png")
    pictures = {
        f"The derivative of each {SINGULAR[reading.output]}": heatmap,
        "What changes the decision": decision,
    }
    J, p, label = reading.J, reading.probabilities, reading.label
    contents = (
        (json.dumps(record, indent=2) + "\n").encode(),
        matrix.getvalue(),
        _csv(reading, class_names),
        heatmap,
        rendered(figure, "svg"),
        decision,
        sample_page(record, reading.pixels, J, p, label, class_names, pictures),
    )
    return write_together(folder, dict(zip(FILES, contents, strict=True)), advice=", output_dir=FOLDER")


def show(console: Console, reading: Reading, class_names: list[str]) -> None:
    """Print the decision about a picture and how it depends on the pixels."""
    name = escape(class_names[reading.prediction])
    verdict = f"{name} with probability {reading.probabilities[reading.prediction]:.2%}"
    if reading.label is not None:
        right = reading.label == reading.prediction
        verdict += ", right" if right else f", wrong: it is a {escape(class_names[reading.label])}"
    console.print(f"\n[bold]{escape(reading.title)}[/]", highlight=False)
    console.print(f"prediction  [bold]{verdict}[/]", highlight=False)
    rows, columns = reading.matrix.shape
    norms = [f"{m.label} {reading.measures[m.name]:.4g}" for m in shown_in("networks") if m.per_output]
    show_labelled(
        console,
        "J",
        f"{rows}×{columns}, J[i, k] = ∂ {reading.output} k / ∂ pixel i; strategy {reading.strategy}; "
        f"{', '.join(norms)}",
    )
    table = text_table("class", "prob.", "‖∂‖₂")
    table.add_column("strongest pixels\n(row, column)", min_width=17)
    table.add_column()
    table.add_column()
    lengths = output_norms(reading.J.unsqueeze(0))[0]
    for k, entries in enumerate(strongest_pixels(reading.matrix, reading.pixels.shape, 3)):
        places = [
            f"({','.join(str(e[key]) for key in ('channel', 'row', 'column') if key in e)}) {e['value']:+.2g}"
            for e in entries
        ]
        cells = (escape(class_names[k]), f"{float(reading.probabilities[k]):.2g}", f"{float(lengths[k]):.2g}")
        table.add_row(*cells, *places, style="bold" if k == reading.prediction else None)
    console.print()
    console.print(table)
    console.print()
    show_labelled(console, "decision", decision_in_words(reading, class_names))


def strongest_pixels(matrix: Tensor, shape: tuple[int, ...], count: int) -> list[list[dict[str, Any]]]:
    """Return, for each class, the pixels with the largest derivatives: row, column, value (and channel, if several).

    >>> strongest_pixels(torch.tensor([[0.0], [-2.0], [1.0], [0.0]]), (1, 2, 2), 1)
    [[{'row': 0, 'column': 1, 'value': -2.0}]]
    """
    chosen = matrix.abs().topk(min(count, len(matrix)), dim=0).indices.T
    channel, row, column = (place.tolist() for place in np.unravel_index(chosen.numpy(), shape))
    values = matrix.T.gather(1, chosen).tolist()
    several = shape[0] > 1
    return [
        [
            {**({"channel": c} if several else {}), "row": r, "column": w, "value": value}
            for c, r, w, value in zip(*of_class, strict=True)
        ]
        for of_class in zip(channel, row, column, values, strict=True)
    ]


def as_record(reading: Reading, class_names: list[str]) -> dict[str, Any]:
    """Return the reading as plain values, for JSON; units are pixels in [0, 1]."""
    distance = float(reading.boundary.distance)
    return {
        "what": reading.title,
        "question": reading.asked,
        "prediction": class_names[reading.prediction],
        "label": None if reading.label is None else class_names[reading.label],
        "probabilities": dict(zip(class_names, reading.probabilities.tolist(), strict=True)),
        "logits": dict(zip(class_names, reading.logits.tolist(), strict=True)),
        "output": reading.output,
        "strategy": reading.strategy,
        "jacobian_shape": list(reading.matrix.shape),
        "frobenius_norm": reading.measures["frobenius"],
        "spectral_norm": reading.measures["spectral"],
        "effective_rank": reading.measures["effective_rank"],
        "measures": {name: known(value) for name, value in reading.measures.items()},
        "strongest_pixels": dict(
            zip(class_names, strongest_pixels(reading.matrix, reading.pixels.shape, 5), strict=True)
        ),
        "decision": {
            "nearest_class": class_names[int(reading.boundary.nearest)],
            "first_order_distance": known(distance),
            "verified_distance": float(reading.crossing.distance) if reading.turns else None,
            "verified_class": class_names[int(reading.crossing.prediction)] if reading.turns else None,
        },
    }


def decision_in_words(reading: Reading, class_names: list[str]) -> str:
    """Describe what would change the decision, to first order and in the network itself."""
    distance = float(reading.boundary.distance)
    now, then = class_names[reading.prediction], class_names[int(reading.boundary.nearest)]
    if math.isinf(distance):
        return "no small change of the pixels would change it: to first order, nothing depends on them"
    text = f"to first order, a change of L2 length {distance:.3g} turns {now} into {then}; "
    if not reading.turns:
        return text + f"in the network, no change up to {REACH * distance:.3g} in that direction does"
    found, outcome = float(reading.crossing.distance), class_names[int(reading.crossing.prediction)]
    return text + f"in the network it takes {found:.3g} in that direction, and then it says {outcome}"


def decision_figure(reading: Reading, class_names: list[str]) -> Figure:
    """Draw the picture, the smallest change to first order that turns the decision, and the changed picture.

    Where no such change was found, draw the picture alone and say so.
    """
    names = drawable(class_names)
    before = f"as it is: {shortened(names[reading.prediction], LETTERS)}"
    if not reading.turns:
        return picture_figure(reading.pixels, before, f"{reading.title}: {decision_in_words(reading, list(names))}")
    return change_figure(
        reading.pixels,
        reading.crossing.changed[0],
        titles=(
            before,
            f"the change that turns it: L2 length {float(reading.crossing.distance):.3g}\n"
            f"(predicted to first order: {float(reading.boundary.distance):.3g})",
            f"changed: {shortened(names[int(reading.crossing.prediction)], LETTERS)}",
        ),
        title=f"{reading.title}: the decision along the direction of the smallest change to first order",
    )


def _csv(reading: Reading, class_names: list[str]) -> bytes:
    """A row for each pixel: where it is, its value, and the derivative of every class with respect to it."""
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow(["channel", "row", "column", "pixel", *class_names])
    places = np.unravel_index(np.arange(reading.pixels.numel()), reading.pixels.shape)
    rows = np.column_stack([*places, reading.pixels.flatten().numpy(), reading.matrix.numpy()])
    np.savetxt(buffer, rows, ["%d"] * 3 + ["%.6g"] + ["%.9g"] * len(class_names), ",")
    return buffer.getvalue().encode()
