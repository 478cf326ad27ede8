"""The explorer: its samples with their derivative maps, in as few bytes as the eye needs."""

import base64
from typing import Any

import numpy as np
import pyarrow as pa
from torch import Tensor

from jacoscope.analysis.network import TrainedNetwork
from jacoscope.analysis.shown_samples import ShownSamples, explored


def explorer_data(
    network: TrainedNetwork, summary: dict[str, Any], table: pa.Table, shown: ShownSamples
) -> list[dict[str, Any]]:
    """Return what the explorer shows: digits, probabilities and derivative maps.

    A map is kept as 16-bit integers on a scale of its own, exact to 1/32767 of its largest entry.
    """
    samples = summary["samples"] + summary["left_out"]["samples"]
    chosen = explored(network.spec, samples, summary, table)
    x, labels = network.read_samples(summary["split"], list(chosen))
    place = np.searchsorted(table["index"].to_numpy(), list(chosen))
    prediction, frobenius, distance = (
        table[name].to_numpy()[place] for name in ("prediction", "frobenius", "boundary_distance")
    )
    entries = []
    for i, (index, reason) in enumerate(chosen.items()):
        row = shown.row(index)
        entries.append(
            {
                "index": index,
                "why": reason,
                "label": int(labels[i]),
                "prediction": int(prediction[i]),
                "classes": shown.classes[row].tolist(),
                "probabilities": [float(f"{p:.6g}") for p in shown.probabilities[row].tolist()],
                "frobenius": float(f"{frobenius[i]:.6g}"),
                "distance": float(f"{distance[i]:.6g}") if np.isfinite(distance[i]) else None,
                "limits": [float(f"{limit:.8g}") for limit in shown.limits[row].tolist()],
                "image": _encoded(x[i] if len(x[i]) == 3 else x[i].mean(0), 255, np.uint8),
                "maps": _encoded(shown.maps[row], 1, "<i2"),
            }
        )
    return entries


def _encoded(values: Tensor, steps: int, kind: Any) -> str:
    return base64.b64encode((values * steps).round().numpy().astype(kind).tobytes()).decode()
