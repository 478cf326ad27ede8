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
from jacoscope.intervals import wilson_interval
from jacoscope.visuals.numbers import number_text

CHANCE = 0.01
"""Probabilities from which on a difference is taken for chance."""
FLAT = 1e-12
"""A loss with a gradient of a smaller L2 norm is flat: foolbox divides by at least this, so an attack cannot move."""
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

    - ``above``: sizes at which more of them stand PGD than noise, or one step of FGSM, of the same size. ``p`` bounds
      the probability of such a difference by chance at any of the sizes: that of a sign test over the samples that
      stand one of the two, times the number of tests (Bonferroni).
    - ``flat``: for each kind of PGD, how many of them stand its largest size (``standing``), and at how many of these
      (``flat``) the gradient of the loss is shorter than :data:`FLAT`, so that the attack cannot move.

    Args:
        table: of robustness.parquet, finite rows.
        settings: that it was made with.

    Returns:
        The signs, and ``suspected``: whether some ``p`` is below :data:`CHANCE`, or the loss is flat at some sample.
    """
    correct = _column(table, "correct").astype(bool)
    is_flat = _column(table, "loss_gradient") < FLAT
    above: list[dict[str, Any]] = []
    tests = 0
    flat: dict[str, dict[str, Any]] = {}
    sizes = settings.sizes()
    for name in (name for name in sizes if name in ATTACKS and ATTACKS[name].has_steps):
        norm = ATTACKS[name].norm
        weaker = [other for other in sizes if other in ATTACKS and other != name and ATTACKS[other].norm == norm]
        standing = {size: correct & _column(table, column_of(name, size)).astype(bool) for size in sizes[name]}
        for other in weaker:
            for size, stands in standing.items():
                others = correct & _column(table, column_of(other, size)).astype(bool)
                tests += 1
                only, only_other = int((stands & ~others).sum()), int((others & ~stands).sum())
                if only > only_other:
                    p = float(binomtest(only, only + only_other, alternative="greater").pvalue)
                    above.append({"attack": name, "weaker": other, "size": size, "more": only - only_other, "p": p})
        last = standing[max(standing)]
        flat[name] = {"size": max(standing), "standing": int(last.sum()), "flat": int((last & is_flat).sum())}
    for sign in above:
        sign["p"] = min(1.0, tests * sign["p"])
    suspected = any(sign["p"] < CHANCE for sign in above) or any(each["flat"] for each in flat.values())
    return {"suspected": suspected, "above": above, "flat": flat}


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
    """Return a sentence about whether gradients seem to be masked, or an empty text where no PGD was asked for."""
    found = summary["masked"]
    if not found["flat"]:
        return ""
    counted = sorted(found["above"], key=lambda sign: sign["p"])
    reasons = [_above_in_words(sign) for sign in counted if sign["p"] < CHANCE][:3]
    reasons += [_flat_in_words(name, each) for name, each in found["flat"].items() if each["flat"]]
    if reasons:
        return (
            f"Gradients seem to be masked: {'; '.join(reasons)}. The network may be less robust than the attacks show"
        )
    if counted:
        return f"No clear sign of masked gradients: {_above_in_words(counted[0])}, which may be chance"
    return (
        "No sign of masked gradients: PGD is nowhere weaker than noise or FGSM of the same size, and the loss is not "
        "flat where it fails"
    )


def distances_in_words(summary: dict[str, Any]) -> str:
    """Describe how the first-order distances of robustness.json compare with those that DDN found."""
    if "distances" not in summary:
        return f"Median first-order distance to another decision: {_short(summary['median_predicted_distance'])}"
    found = summary["distances"]["attack"]
    text = (
        f"Another decision is {_short(summary['median_predicted_distance'])} away to first order, and "
        f"{_short(summary['median_attack_distance'])} by the attack DDN (medians, L2)"
    )
    if found["spearman"] is None:
        return text
    interval = ""
    if found["spearman_low"] is not None:
        low, high = (number_text(found[f"spearman_{end}"], ".2f") for end in ("low", "high"))
        interval = f" ({low} to {high}, 95 % interval)"
    rho = number_text(found["spearman"], ".2f")
    return f"{text}; rank correlation {rho}{interval} over {found['found']:,} samples"


def _above_in_words(sign: dict[str, Any]) -> str:
    samples = "1 more sample stands" if sign["more"] == 1 else f"{sign['more']} more samples stand"
    attack, weaker = (ATTACKS[sign[key]].label for key in ("attack", "weaker"))
    return f"{samples} {attack} than {weaker} of the same size, {sign['size']:g} (p = {number_text(sign['p'], '.2g')})"


def _flat_in_words(name: str, each: dict[str, Any]) -> str:
    return (
        f"at {each['flat']} of the {each['standing']} samples that stand {ATTACKS[name].label} of size "
        f"{each['size']:g}, the loss is flat (gradient below {FLAT:g}), so that the attack cannot move"
    )


def _short(value: float | None) -> str:
    return "infinitely far" if value is None else number_text(value)


def _point(size: float, right: Values) -> dict[str, Any]:
    """Return a point of a curve: the share of right decisions, and its 95 % interval."""
    count = int(right.sum())
    low, high = wilson_interval(count, len(right))
    return {"size": size, "accuracy": count / len(right), "low": low, "high": high, "right": count}


def _median(table: pa.Table, name: str) -> float | None:
    return known(quantiles(_column(table, name), [0.5])[0])


def _column(table: pa.Table, name: str) -> Values:
    values: Values = table[name].to_numpy()
    return np.asarray(values)
