"""What Optuna makes of the trials of a search."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from jacoscope.errors import UserError
from jacoscope.runs.sweeps.directory import SweepDirectory

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial


def _low_is_good(number: int, direction: str) -> "Callable[[FrozenTrial], float]":
    """Give an objective so that the trials which PED-ANOVA looks at, those of low values, are the good ones."""
    sign = -1.0 if direction == "MAXIMIZE" else 1.0
    return lambda trial: sign * trial.values[number]


def importances(folder: Path) -> dict[str, dict[str, float]]:
    """Give for each objective of a search how much each setting matters; nothing where there is no search.

    By PED-ANOVA (Watanabe et al. 2023, arXiv:2304.10255), which Optuna offers without further packages.
    """
    try:
        where = SweepDirectory.read(folder).study
    except UserError:
        return {}
    if where is None:
        return {}
    try:
        import optuna
        from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
    except ImportError:
        return {}
    found = {}
    study = optuna.load_study(study_name=where["name"], storage=where["storage"])
    warnings.filterwarnings("ignore", message="PedAnovaImportanceEvaluator computes")  # it is given what it wants
    for number, metric in enumerate(where["objectives"]):
        try:
            found[metric] = get_param_importances(
                study,
                evaluator=PedAnovaImportanceEvaluator(),
                target=_low_is_good(number, study.directions[number].name),
            )
        except (ValueError, RuntimeError):  # too few trials to tell
            continue
    return {metric: {k: float(v) for k, v in values.items()} for metric, values in found.items() if values}
