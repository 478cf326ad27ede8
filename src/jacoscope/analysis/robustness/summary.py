"""robustness.json: the curves, the distances, and whether gradients seem to be masked; all from robustness.parquet."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from scipy.stats import binomtest

from jacoscope.analysis.attack import compare_distances
from jacoscope.analysis.robustness.perturbations import ATTACKS, DDN, column_of
from jacoscope.analysis.robustness.settings import Robustness
from jacoscope.analysis.summary import Values, known, quantiles
from jacoscope.analysis.tables import finite_rows, left_out

CONFIDENCE = 0.95
"""Of the intervals of accuracies."""
FLAT = 1e-12
"""A gradient of the loss with a smaller L2 norm is flat: foolbox divides by at least this, so the attack cannot move."""
FIRST_ORDER = "first_order"
"""The curve that the first-order distances predict."""


def summarise_robustness(file: Path, settings: Robustness) -> dict[str, Any]:
    """Summarise robustness.parquet as plain values for JSON.

    Args:
        file: the table.
        settings: that it was made with.

    Raises:
        UserError: if no sample has a finite Jacobian.
    """
    table = finite_rows(file)
    correct = _column(table, "correct").astype(bool)
    curves = {
        name: [_point(size, _column(table, column_of(name, size))) for size in sizes]
        for name, sizes in settings.sizes().items()
    }
    of_distances = {FIRST_ORDER: "predicted_distance"} | ({DDN: "attack_distance"} if settings.finds_distances else {})
    for name, column in of_distances.items():
        distance = _column(table, column)
        curves[name] = [_point(size, correct & (distance > size)) for size in settings.l2_epsilons]
    summary: dict[str, Any] = {
        "samples": len(table),
        "left_out": left_out(file),
        "accuracy": _point(0.0, correct),
        "curves": curves,
        "median_predicted_distance": _median(table, "predicted_distance"),
        "masked": masked(table, settings),
    }
    if settings.finds_distances:
        summary["median_attack_distance"] = _median(table, "attack_distance")
        summary["distances"] = compare_distances(table)
    return summary


def masked(table: pa.Table, settings: Robustness) -> dict[str, Any]:
    """Look for signs of masked gradients: that PGD fails where another decision is known to be near.

    Only samples that are decided rightly as they are count. The signs (Athalye et al., 2018; Carlini et al., 2019):

    - ``above``: sizes at which more of them stand PGD than noise, or one step of FGSM, of the same size.
    - ``flat``: for each kind of PGD, how many of them stand its largest size (``standing``), and at how many of these
      (``flat``) the gradient of the loss is shorter than :data:`FLAT`, so that the attack cannot move.

    Args:
        table: of robustness.parquet, finite rows.
        settings: that it was made with.

    Returns:
        ``suspected``, whether there is any sign, and the signs.
    """
    correct = _column(table, "correct").astype(bool)
    is_flat = _column(table, "loss_gradient") < FLAT
    above, flat = [], {}
    sizes = settings.sizes()
    for name in (name for name in sizes if name in ATTACKS and ATTACKS[name].has_steps):
        norm = ATTACKS[name].norm
        weaker = [other for other in sizes if other in ATTACKS and other != name and ATTACKS[other].norm == norm]
        stands = {size: correct & _column(table, column_of(name, size)).astype(bool) for size in sizes[name]}
        for other in weaker:
            for size, standing in stands.items():
                others = correct & _column(table, column_of(other, size)).astype(bool)
                if standing.sum() > others.sum():
                    counts = {"standing": int(standing.sum()), "standing_weaker": int(others.sum())}
                    above.append({"attack": name, "weaker": other, "size": size, **counts})
        last = stands[max(stands)]
        flat[name] = {"size": max(stands), "standing": int(last.sum()), "flat": int((last & is_flat).sum())}
    return {
        "suspected": bool(above) or any(each["flat"] for each in flat.values()),
        "above": above,
        "flat": flat,
    }


def metrics(summary: dict[str, Any]) -> dict[str, float]:
    """Return the numbers that runs are compared by, by name: ``robustness/pgd_linf/eps=0.1``, …

    >>> point = {"size": 0.1, "accuracy": 0.5}
    >>> metrics({"curves": {"fgsm": [point]}, "median_predicted_distance": 1.0})
    {'robustness/fgsm/eps=0.1': 0.5, 'robustness/first_order/median_distance': 1.0}
    """
    values = {
        f"robustness/{column_of(name, point['size'])}": point["accuracy"]
        for name, points in summary["curves"].items()
        for point in points
    }
    for name, key in ((FIRST_ORDER, "median_predicted_distance"), (DDN, "median_attack_distance")):
        if summary.get(key) is not None:
            values[f"robustness/{name}/median_distance"] = summary[key]
    return values


def verdict(summary: dict[str, Any]) -> str:
    """Say in words whether gradients seem to be masked; an empty text where no PGD was asked for."""
    found = summary["masked"]
    if not found["flat"]:
        return ""
    reasons = []
    for sign in found["above"][:3]:
        more = sign["standing"] - sign["standing_weaker"]
        reasons.append(
            f"{more} more {_samples(more)} stand {_name(sign['attack'])} than {_name(sign['weaker'])} of the same size, "
            f"{sign['size']:g}"
        )
    if len(found["above"]) > len(reasons):
        reasons.append(f"so it is at {len(found['above']) - len(reasons)} further sizes")
    for name, each in found["flat"].items():
        if each["flat"]:
            reasons.append(
                f"{each['flat']} of the {each['standing']} samples that stand {_name(name)} of size {each['size']:g} have "
                f"a flat loss (gradient below {FLAT:g}), so that the attack could not move"
            )
    if reasons:
        text = "; ".join(reasons)
        return f"Gradients seem to be masked: {text}. The network may be less robust than the attacks show"
    return (
        "No sign of masked gradients: PGD is nowhere weaker than noise or FGSM of the same size, and the loss is flat at "
        "no sample that stands it"
    )


def _samples(count: int) -> str:
    return "sample" if count == 1 else "samples"


def _name(name: str) -> str:
    return ATTACKS[name].label


def _point(size: float, right: Values) -> dict[str, Any]:
    """Return a point of a curve: the share of right decisions, and its interval by Wilson (1927)."""
    count = int(right.sum())
    interval = binomtest(count, len(right)).proportion_ci(CONFIDENCE, method="wilson")
    low, high = float(interval.low), float(interval.high)
    return {"size": size, "accuracy": count / len(right), "low": low, "high": high, "right": count}


def _median(table: pa.Table, name: str) -> float | None:
    return known(quantiles(_column(table, name), [0.5])[0])


def _column(table: pa.Table, name: str) -> Values:
    values: Values = table[name].to_numpy()
    return np.asarray(values)
