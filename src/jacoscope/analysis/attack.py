"""How far another decision really is: along the direction that the Jacobian predicts, and by an attack.

:func:`search` makes the rows of adversarial.parquet.
"""

import warnings
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor, nn

from jacoscope.analysis.network import TrainedNetwork
from jacoscope.analysis.summary import known, quantiles
from jacoscope.analysis.tables import Column, arrow_schema, evenly_spread, finite_rows
from jacoscope.errors import UserError
from jacoscope.intervals import RankCorrelation, rank_correlation
from jacoscope.jacobians import JacobianError, vjp
from jacoscope.measures import PIXELS

REACH = 8.0
"""How far along the predicted direction to look, in units of the first-order distance."""
ATTACK = "Decoupling Direction and Norm (Rony et al., 2019), 100 steps, by foolbox"
SCHEMA = arrow_schema(
    [
        Column("index", pa.int64(), "", "index of the sample in its split", nullable=False),
        Column("predicted_distance", pa.float32(), PIXELS, "first-order distance to the decision boundary"),
        Column("predicted_class", pa.int32(), "class", "class behind that boundary"),
        Column("along_distance", pa.float32(), PIXELS, "change along the predicted direction that turns the decision"),
        Column("along_class", pa.int32(), "class", "what the network then says"),
        Column("attack_distance", pa.float32(), PIXELS, f"smallest change that an attack found: {ATTACK}"),
        Column("attack_class", pa.int32(), "class", "what the network then says"),
    ]
)


class Crossing(NamedTuple):
    """Where the decision changes along a direction."""

    distance: Tensor
    """``[batch]``: L2 length of the smallest change found, pixels in [0, 1]; infinite where none was within reach."""
    changed: Tensor
    """``[batch, C, H, W]``: the changed images; unchanged where no such change was within reach."""
    prediction: Tensor
    """``[batch]``, int64: the network's decision on them."""


@torch.no_grad()
def crossing_along(
    module: nn.Module, x: Tensor, direction: Tensor, guess: Tensor, reach: float = REACH, steps: int = 64
) -> Crossing:
    r"""Find the smallest :math:`t` for which the network decides otherwise at :math:`x + t\,v`.

    A scan in equal steps up to ``reach`` times the guess finds the first change, bisection makes it exact to one part
    in 4,000 of a step. The images are not clipped, as in the first-order distance, which is tested here.
    If the decision changes and changes back within one step, that is not found.

    Args:
        module: from pixels ``[batch, C, H, W]`` to logits.
        x: the images.
        direction: :math:`v`, of unit L2 length, the shape of ``x``.
        guess: ``[batch]``, the first-order distance.
        reach: how far to look, in units of the guess.
        steps: of the scan.
    """

    def moved(which: Tensor, length: Tensor) -> Tensor:
        return x[which] + direction[which] * length[which].view(-1, *[1] * (x.ndim - 1))

    before = module(x).argmax(1)
    unit = torch.where(guess.isfinite(), guess, 0) * reach / steps
    low = torch.full_like(guess, torch.inf)
    for step in range(1, steps + 1):
        undecided = (low.isinf() & (unit > 0)).nonzero().flatten()
        if not len(undecided):
            break
        turned = module(moved(undecided, unit * step)).argmax(1) != before[undecided]
        low[undecided[turned]] = step - 1.0
    found = low.isfinite().nonzero().flatten()
    low = low.where(low.isfinite(), torch.zeros_like(low))
    high = low + 1
    for _ in range(12):
        middle = (low + high) / 2
        turned = module(moved(found, unit * middle)).argmax(1) != before[found]
        high[found[turned]] = middle[found[turned]]
        low[found[~turned]] = middle[found[~turned]]
    distance = torch.full_like(guess, torch.inf)
    distance[found] = (unit * high)[found]
    changed = x.clone()
    changed[found] = moved(found, distance)
    return Crossing(distance, changed, module(changed).argmax(1))


def search(network: TrainedNetwork, split: str, table_file: Path, count: int) -> pa.Table:
    """Search the nearest adversarial examples of ``count`` samples, evenly spread over those with a finite Jacobian.

    Three distances for each, all L2 in pixels: the first-order one of the table; how far one really has to go in that
    direction (pixels not clipped, as in the prediction); the smallest change that an established attack finds (pixels
    within [0, 1]). What was not found is null.

    Args:
        network: the network and its data, on the CPU.
        split: of the samples.
        table_file: samples.parquet.
        count: samples at most.

    Raises:
        UserError: if the network has no such derivatives, or the attack fails on it.
    """
    table = finite_rows(table_file, ["index", "prediction", "boundary_distance", "nearest_class"])
    chosen = table.take(evenly_spread(len(table), count))
    distance = torch.tensor(chosen["boundary_distance"].to_numpy())
    now, then = (torch.tensor(chosen[name].to_numpy()).long() for name in ("prediction", "nearest_class"))
    x, _ = network.read_samples(split, chosen["index"].to_pylist())
    # The margin falls fastest against its gradient: one backward pass, no Jacobian.
    margin = nn.functional.one_hot(now, network.spec.classes) - nn.functional.one_hot(then, network.spec.classes)
    try:
        slope = vjp(network.module, x, margin.to(x.dtype))
    except JacobianError as error:
        raise UserError(f"{network.spec.checkpoint.path}: {error}") from error
    length = torch.linalg.vector_norm(slope.flatten(1), dim=1).view(-1, 1, 1, 1)
    direction = -slope / length.where(length > 0, torch.ones_like(length))
    values = {
        "index": torch.tensor(chosen["index"].to_numpy()),
        "predicted_distance": distance,
        "predicted_class": then,
        **found_distances(network.module, x, now, direction, distance),
    }
    missing = {name: ~values[f"{name}_distance"].isfinite().numpy() for name in ("along", "attack")}
    arrays = [
        pa.array(values[field.name].numpy(), mask=missing.get(field.name.partition("_")[0])).cast(field.type)
        for field in SCHEMA
    ]
    return pa.table(arrays, schema=SCHEMA)


def found_distances(
    module: nn.Module, x: Tensor, classes: Tensor, direction: Tensor, distance: Tensor
) -> dict[str, Tensor]:
    """Find how far another decision is: in the predicted direction, and by an attack.

    Args:
        module: from pixels ``[batch, C, H, W]`` to logits.
        x: images.
        classes: what the network decides on them, ``[batch]``.
        direction: in which the prediction goes, of unit L2 length, the shape of ``x``.
        distance: the first-order distance, ``[batch]``.

    Returns:
        ``along_distance`` and ``attack_distance``, infinite where nothing was found; ``along_class`` and
        ``attack_class``, what the network then decides.

    Raises:
        UserError: if the attack fails on the network.
    """
    along = crossing_along(module, x, direction, distance)
    attack_distance, into = nearest_adversarial(module, x, classes)
    return {
        "along_distance": along.distance,
        "along_class": along.prediction,
        "attack_distance": attack_distance,
        "attack_class": into,
    }


def compare_distances(table: pa.Table) -> dict[str, Any]:
    """Compare found with predicted distances: their ratio, and whether the order agrees."""
    columns = {name: np.asarray(table[name].to_numpy(), np.float64) for name in table.column_names}
    summary: dict[str, Any] = {"samples": len(table), "attack_name": ATTACK}
    for name in ("along", "attack"):
        both = np.isfinite(columns["predicted_distance"]) & np.isfinite(columns[f"{name}_distance"])
        predicted, found = columns["predicted_distance"][both], columns[f"{name}_distance"][both]
        is_known = len(found) > 1 and bool((predicted > 0).all())
        ratio = [known(value) for value in quantiles(found / predicted, [0.05, 0.5, 0.95])] if is_known else [None] * 3
        same = columns[f"{name}_class"][both] == columns["predicted_class"][both]
        summary[name] = {
            "found": int(both.sum()),
            "ratio_percentile_5": ratio[0],
            "ratio_median": ratio[1],
            "ratio_percentile_95": ratio[2],
            **(rank_correlation(predicted, found) if is_known else RankCorrelation())._asdict(),
            "same_class": float(same.mean()) if len(same) else None,
        }
    return summary


def load_foolbox() -> Any:
    """Import foolbox, without the warnings of its own imports."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # foolbox imports names of scipy that are deprecated
        return import_module("foolbox")


def changed_by(attack: Any, module: nn.Module, x: Tensor, classes: Tensor, size: float | None) -> Tensor:
    """Return images that one of foolbox's attacks has changed, so that the network decides otherwise where it can.

    Args:
        attack: of ``foolbox.attacks``.
        module: from pixels ``[batch, C, H, W]`` to logits.
        x: images; pixels outside of [0, 1] are clipped.
        classes: the decisions to turn, ``[batch]``.
        size: of the change, at most, in the attack's norm; ``None`` for the smallest change that it finds.

    Raises:
        UserError: if the attack fails on the network.
    """
    model = load_foolbox().PyTorchModel(module, bounds=(0, 1), device=x.device)
    try:
        with torch.enable_grad():
            _, changed, _ = attack(model, x.clamp(0, 1), classes, epsilons=size)
    except Exception as error:  # whatever a foreign attack raises on a network of the user's own
        raise UserError(
            f"{type(attack).__name__} failed on this network: {error}\n"
            "Leave it out: attack=0, or robustness.attacks without it"
        ) from error
    return changed.detach().clamp(0, 1)  # type: ignore[no-any-return]


def nearest_adversarial(module: nn.Module, x: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
    """Search the smallest change of each image, L2 with pixels in [0, 1], that turns the decision, by :data:`ATTACK`.

    Args:
        module: from pixels ``[batch, C, H, W]`` to logits.
        x: images.
        classes: the decisions to turn, ``[batch]``.

    Returns:
        Its length, ``[batch]``, infinite where none was found; and what the network then decides, ``[batch]``.

    Raises:
        UserError: if the attack fails on the network.
    """
    changed = changed_by(load_foolbox().attacks.DDNAttack(steps=100), module, x, classes, None)
    distance = torch.linalg.vector_norm((changed - x).flatten(1), dim=1)
    with torch.no_grad():
        into = module(changed).argmax(1)
    return distance.where(into != classes, torch.inf), into
