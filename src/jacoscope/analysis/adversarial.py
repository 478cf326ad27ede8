"""Does the first-order distance mean anything? Predicted against found adversarial examples, on a few samples."""

import warnings
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor, nn

from jacoscope.analysis.decision import crossing_along
from jacoscope.analysis.derivatives import jacobians_one_by_one
from jacoscope.analysis.schema import PIXELS, Column, arrow_schema
from jacoscope.analysis.statistics import ranks
from jacoscope.analysis.stream import read_samples
from jacoscope.analysis.subject import Subject
from jacoscope.errors import UserError
from jacoscope.jacobians import BoundaryDistance, boundary_distance

ATTACK = "Decoupling Direction and Norm (Rony et al., 2019), 100 steps, by foolbox"
SCHEMA = arrow_schema(
    [
        Column("index", pa.int64(), "", "index of the sample in its split"),
        Column("predicted_distance", pa.float32(), PIXELS, "first-order distance to the decision boundary"),
        Column("predicted_class", pa.int32(), "class", "class behind that boundary"),
        Column("along_distance", pa.float32(), PIXELS, "change along the predicted direction that turns the decision"),
        Column("along_class", pa.int32(), "class", "what the network then says"),
        Column("attack_distance", pa.float32(), PIXELS, f"smallest change that an attack found: {ATTACK}"),
        Column("attack_class", pa.int32(), "class", "what the network then says"),
    ],
    {},
)


def search(subject: Subject, split: str, among: Sequence[int], count: int) -> pa.Table:
    """Search the nearest adversarial example of ``count`` samples, spread evenly over those named in ``among``.

    Three distances for each, all L2 in pixels: what the Jacobian predicts; how far one really has to go in the
    predicted direction (pixels not clipped, as in the prediction); the smallest change that an established attack
    finds (pixels within [0, 1]). What was not found is null.
    """
    spread = np.linspace(0, len(among) - 1, min(count, len(among))).round().astype(int)
    indices = [among[i] for i in spread]
    x, _ = read_samples(subject.split(split), indices)
    near = [(boundary_distance(J, logits), logits.argmax(1)) for J, logits in jacobians_one_by_one(subject, x)]
    predicted = BoundaryDistance(*map(torch.cat, zip(*(boundary for boundary, _ in near), strict=True)))
    said = torch.cat([classes for _, classes in near])
    along = crossing_along(subject.network, x, predicted.direction, predicted.distance)
    distance, into = _attack(subject.network, x, said)
    found, turned = along.distance.isfinite(), distance.isfinite()
    columns = [
        pa.array(indices),
        pa.array(predicted.distance.numpy()),
        pa.array(predicted.nearest.numpy()),
        pa.array(along.distance.numpy(), mask=~found.numpy()),
        pa.array(along.prediction.numpy(), mask=~found.numpy()),
        pa.array(distance.numpy(), mask=~turned.numpy()),
        pa.array(into.numpy(), mask=~turned.numpy()),
    ]
    return pa.table([column.cast(field.type) for column, field in zip(columns, SCHEMA, strict=True)], schema=SCHEMA)


def compare_distances(table: pa.Table) -> dict[str, Any]:
    """Say how well the prediction does: ratio of found to predicted distance, and whether the order agrees."""
    columns = {name: np.asarray(table.column(name).to_numpy(), np.float64) for name in table.column_names}
    summary: dict[str, Any] = {"samples": len(table), "attack_name": ATTACK}
    for name in ("along", "attack"):
        both = np.isfinite(columns["predicted_distance"]) & np.isfinite(columns[f"{name}_distance"])
        predicted, found = columns["predicted_distance"][both], columns[f"{name}_distance"][both]
        known = len(found) > 1 and bool((predicted > 0).all())
        ratio = np.quantile(found / predicted, [0.05, 0.5, 0.95]).tolist() if known else [None] * 3
        order = float(np.corrcoef(ranks(predicted), ranks(found))[0, 1]) if known else float("nan")
        same = columns[f"{name}_class"][both] == columns["predicted_class"][both]
        summary[name] = {
            "found": int(both.sum()),
            "ratio_percentile_5": ratio[0],
            "ratio_median": ratio[1],
            "ratio_percentile_95": ratio[2],
            "spearman": order if np.isfinite(order) else None,
            "same_class": float(same.mean()) if len(same) else None,
        }
    return summary


def _attack(network: nn.Module, x: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # foolbox imports names of scipy that are deprecated
        foolbox: Any = import_module("foolbox")
    model = foolbox.PyTorchModel(network, bounds=(0, 1), device=x.device)
    try:
        _, changed, success = foolbox.attacks.DDNAttack(steps=100)(model, x.clamp(0, 1), classes, epsilons=None)
    except Exception as error:  # whatever a foreign attack raises on a network of the user's own
        raise UserError(f"The attack failed on this network: {error}\nType attack=0 to leave it out") from error
    distance = torch.linalg.vector_norm((changed - x).flatten(1), dim=1)
    with torch.no_grad():
        into = network(changed).argmax(1)
    return distance.where(success & (into != classes), torch.inf).detach(), into
