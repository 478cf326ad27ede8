"""Read everything that a run has written, to compare it with another run number by number."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.util.tensor_util import make_ndarray

from jacoscope.board.format import PLUGIN

OF_THE_CLOCK = ("jacobian-about/seconds", "jacobian-about/share_of_epoch")


def points(run: Path) -> dict[str, list[tuple[int, float]]]:
    """Return all scalars of the event files, by tag, with their steps, including points that are there twice.

    Of what is logged for the tab "Jacobians", the mean of each tensor.
    """
    found: dict[str, list[tuple[int, float]]] = {}
    for file in sorted((run / "tensorboard").glob("events.*")):
        for event in EventFileLoader(str(file)).Load():
            for value in event.summary.value:
                if value.metadata.plugin_data.plugin_name == "scalars" and value.tag not in OF_THE_CLOCK:
                    found.setdefault(value.tag, []).append((event.step, float(make_ndarray(value.tensor))))
                elif value.metadata.plugin_data.plugin_name == PLUGIN:
                    mean = float(np.nanmean(make_ndarray(value.tensor), dtype=np.float64))
                    found.setdefault(value.tag, []).append((event.step, mean))
    return {tag: sorted(values) for tag, values in found.items()}


def metrics(run: Path) -> dict[str, float]:
    """Return the metrics of the run's record."""
    return json.loads((run / "result.json").read_text())["metrics"]  # type: ignore[no-any-return]


def checkpoint(run: Path, name: str) -> dict[str, Any]:
    """Return the content of a checkpoint, without paths and sizes of files."""
    content: dict[str, Any] = torch.load(run / "checkpoints" / f"{name}.ckpt", weights_only=True)
    content.pop("go_on", None)
    content["callbacks"] = {k: v for k, v in content["callbacks"].items() if not k.startswith("ModelCheckpoint")}
    return content


def differences(one: Any, other: Any, path: str = "") -> list[str]:
    """Return where two nested structures differ, bit by bit."""
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        one, other = dict(enumerate(one)), dict(enumerate(other))
    if isinstance(one, dict) and isinstance(other, dict):
        missing = [f"{path}.{key} in one alone" for key in one.keys() ^ other.keys()]
        pairs = [(one[key], other[key], f"{path}.{key}") for key in one.keys() & other.keys()]
        return missing + [difference for pair in pairs for difference in differences(*pair)]
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return [] if torch.equal(one, other) else [path]
    both_nan = isinstance(one, float) and isinstance(other, float) and math.isnan(one) and math.isnan(other)
    return [] if one == other or both_nan else [f"{path}: {one} and {other}"]


def of_run(run: Path) -> dict[str, Any]:
    """Return all that decides whether two runs are the same."""
    return {
        "last": checkpoint(run, "last"),
        "best": checkpoint(run, "best"),
        "points": points(run),
        "metrics": metrics(run),
    }
