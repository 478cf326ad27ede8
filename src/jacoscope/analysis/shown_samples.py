"""The samples that the report shows, with their derivative maps."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from jacoscope.analysis.derivatives import jacobians_one_by_one, of_output
from jacoscope.analysis.report import Sample
from jacoscope.analysis.report.page import LISTS, ROWS
from jacoscope.analysis.report.samples import CLASSES_SHOWN
from jacoscope.analysis.stream import read_samples
from jacoscope.analysis.subject import Subject

BYTES = 2_500_000  # of maps in the explorer
SAMPLES = 64  # in the explorer, at most
RANKINGS = {
    "most_sensitive": "among the most sensitive",
    "confident_errors": "among the most confident errors",
    "least_sensitive": "among the least sensitive",
}


def shown_samples(subject: Subject, summary: dict[str, Any], table: pa.Table) -> Iterator[Sample]:
    """Yield the samples of the explorer, then those of the lists that are not among them."""
    _, height, width = subject.shape
    held = min(CLASSES_SHOWN, len(subject.class_numbers))
    room = max(1, min(SAMPLES, BYTES // (held * height * width * 8 // 3)))
    reasons = explored(summary, table, min(room, len(table)))
    listed = [row["index"] for name in LISTS for row in summary[name][:ROWS]]
    indices = list(dict.fromkeys([*reasons, *listed]))
    x, _ = read_samples(subject.split(summary["split"]), indices)
    for index, image, (J, logits) in zip(indices, x, jacobians_one_by_one(subject, x), strict=True):
        shown = of_output(J, logits, summary["output"])[0]
        yield Sample.of(index, reasons.get(index, ""), image, shown, logits[0].softmax(0))


def explored(summary: dict[str, Any], table: pa.Table, room: int) -> dict[int, str]:
    """Choose the samples of the explorer: those of the rankings, then the first of each class, then an even spread.

    Returns:
        For the index of each sample, why it is there.
    """
    found: dict[int, str] = {}
    for name, reason in RANKINGS.items():
        for row in summary[name][:8]:
            found.setdefault(row["index"], reason)
    index, labels = (table.column(name).to_numpy() for name in ("index", "label"))
    for k in np.unique(labels)[:50]:
        found.setdefault(int(index[np.flatnonzero(labels == k)[0]]), "first of its class")
    for row in np.linspace(0, len(table) - 1, room).round().astype(int).tolist():
        found.setdefault(int(index[row]), "evenly spread")
    return dict(list(found.items())[:room])
