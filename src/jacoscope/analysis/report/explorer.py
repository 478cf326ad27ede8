"""The explorer: which samples it holds, and their Jacobians in as few bytes as the eye needs."""

import base64
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from jacoscope.analysis.derivatives import jacobians_one_by_one, of_output
from jacoscope.analysis.stream import read_samples
from jacoscope.analysis.subject import Subject

BUDGET = 2_500_000  # bytes of Jacobians in the page
CLASSES = 10  # the most probable ones are held, where there are more


def choose_samples(summary: dict[str, Any], table: pa.Table, room: int) -> list[tuple[str, int]]:
    """Choose samples, each with why: the most interesting first, then one of each class, then an even spread."""
    found: dict[int, str] = {}
    for group, reason in (
        ("most_sensitive", "among the most sensitive"),
        ("confident_errors", "among the most confident errors"),
        ("least_sensitive", "among the least sensitive"),
    ):
        for row in summary[group][:8]:
            found.setdefault(row["index"], reason)
    index, labels = (table.column(name).to_numpy() for name in ("index", "label"))
    for k in np.unique(labels)[:50]:
        found.setdefault(int(index[np.flatnonzero(labels == k)[0]]), "first of its class")
    for row in np.linspace(0, len(table) - 1, room).round().astype(int).tolist():
        found.setdefault(int(index[row]), "evenly spread")
    return [(reason, index) for index, reason in list(found.items())[:room]]


def explorer_data(
    subject: Subject, split: str, output: str, summary: dict[str, Any], table: pa.Table
) -> list[dict[str, Any]]:
    """Give what the explorer shows: digits, probabilities and derivative maps.

    Maps of several channels are summed: the derivative with respect to the brightness of the pixel. A map is kept as
    16-bit integers on a scale of its own, exact to 1/32767 of its largest entry.
    """
    channels, height, width = subject.shape
    held = min(CLASSES, len(subject.class_numbers))
    room = max(1, min(64, BUDGET // (held * height * width * 8 // 3)))
    chosen = choose_samples(summary, table, min(room, len(table)))
    indices = [index for _, index in chosen]
    x, labels = read_samples(subject.split(split), indices)
    position = np.searchsorted(table.column("index").to_numpy(), indices)
    frobenius, distance = (table.column(name).to_numpy()[position] for name in ("frobenius", "boundary_distance"))
    entries = []
    for i, (J, logits) in enumerate(jacobians_one_by_one(subject, x)):
        reason, index = chosen[i]
        probabilities = logits[0].softmax(0)
        shown = sorted(probabilities.topk(held).indices.tolist())
        maps = of_output(J, logits, output)[0, shown].sum(1)
        limits = maps.abs().amax((1, 2))
        entries.append(
            {
                "index": index,
                "why": reason,
                "label": int(labels[i]),
                "prediction": int(logits[0].argmax()),
                "classes": shown,
                "probabilities": [float(f"{p:.6g}") for p in probabilities[shown].tolist()],
                "frobenius": float(f"{frobenius[i]:.6g}"),
                "distance": float(f"{distance[i]:.6g}") if np.isfinite(distance[i]) else None,
                "limits": [float(f"{limit:.8g}") for limit in limits.tolist()],
                "image": _encoded(x[i].mean(0) if channels != 3 else x[i], 255, np.uint8),
                "maps": _encoded(_scaled(maps, limits), 32767, "<i2"),
            }
        )
    return entries


def _scaled(maps: Tensor, limits: Tensor) -> Tensor:
    return maps / limits.where(limits > 0, torch.ones_like(limits)).view(-1, 1, 1)


def _encoded(values: Tensor, steps: int, kind: Any) -> str:
    return base64.b64encode((values * steps).round().numpy().astype(kind).tobytes()).decode()
