"""What is kept of one picture: the matrix for programs, the figures for people."""

import csv
import io
import json
from pathlib import Path
from textwrap import fill
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from jacoscope.analysis.single import Reading, as_record, decision_in_words
from jacoscope.files import write_together
from jacoscope.visuals import diverging, jacobian_figure


def save_reading(reading: Reading, class_names: list[str], folder: Path) -> list[Path]:
    """Write ``reading.json``, ``jacobian.npy``, ``jacobian.csv``, ``heatmap.png``, ``.svg``, ``decision.png``.

    Returns:
        The files, in that order.

    Raises:
        UserError: if the folder cannot be written or the disk is full; then none is written.
    """
    heatmap = jacobian_figure(
        reading.pixels, reading.J, reading.probabilities, reading.label, class_names, reading.output
    )
    contents = {
        "reading.json": (json.dumps(as_record(reading, class_names), indent=2) + "\n").encode(),
        "jacobian.npy": _npy(reading.matrix),
        "jacobian.csv": _csv(reading, class_names),
        "heatmap.png": _rendered(heatmap, "png"),
        "heatmap.svg": _rendered(heatmap, "svg"),
        "decision.png": _rendered(decision_figure(reading, class_names), "png"),
    }
    return write_together(folder, contents, advice=", output_dir=FOLDER")


def decision_figure(reading: Reading, class_names: list[str]) -> Figure:
    """Draw the picture, the smallest change to first order that turns the decision, and the changed picture.

    Where no such change was found, draw the picture alone and say so.
    """
    figure = Figure(figsize=(8.4, 3.2), layout="constrained")
    before, *others = figure.subplots(1, 3 if reading.turns else 1, squeeze=False)[0]
    _image(before, reading.pixels)
    before.set_title(f"as it is: {class_names[reading.prediction]}", fontsize=10)
    if not reading.turns:
        words = f"{reading.title}: {decision_in_words(reading, class_names)}"
        figure.suptitle(fill(words, 90, break_long_words=True), fontsize=11)
        return figure
    change, after = others
    difference = (reading.crossing.changed[0] - reading.pixels).sum(0)
    limit = float(difference.abs().max()) or 1.0
    shown = change.imshow(difference.numpy(), cmap=diverging(), vmin=-limit, vmax=limit)
    change.set_axis_off()
    change.set_title(f"the change: L2 length {float(reading.crossing.distance):.3g}", fontsize=10)
    figure.colorbar(shown, ax=change, fraction=0.046, pad=0.03).set_label("change of pixel")
    _image(after, reading.crossing.changed[0])
    after.set_title(f"changed: {class_names[int(reading.crossing.prediction)]}", fontsize=10)
    figure.suptitle(f"{reading.title}: the smallest change to first order that turns the decision", fontsize=11)
    return figure


def _image(axis: Any, pixels: Tensor) -> None:
    axis.imshow(pixels.permute(1, 2, 0).squeeze(2).clamp(0, 1).numpy(), cmap="gray", vmin=0, vmax=1)
    axis.set_axis_off()


def _rendered(figure: Figure, kind: str) -> bytes:
    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.fonttype": "none"}):
        figure.savefig(buffer, format=kind, dpi=160)
    return buffer.getvalue()


def _npy(matrix: Tensor) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, matrix.contiguous().numpy())
    return buffer.getvalue()


def _csv(reading: Reading, class_names: list[str]) -> bytes:
    """A row for each pixel: where it is, its value, and the derivative of every class with respect to it."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    channels, height, width = reading.pixels.shape
    writer.writerow(["channel", "row", "column", "pixel", *class_names])
    places = [(c, r, w) for c in range(channels) for r in range(height) for w in range(width)]
    for place, value, derivatives in zip(
        places, reading.pixels.flatten().tolist(), reading.matrix.tolist(), strict=True
    ):
        writer.writerow([*place, f"{value:.6g}", *(f"{d:.9g}" for d in derivatives)])
    return buffer.getvalue().encode()
