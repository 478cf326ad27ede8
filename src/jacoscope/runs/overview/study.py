"""What Optuna makes of the trials of a search."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from jacoscope.errors import UserError
from jacoscope.runs.sweeps.directory import SweepDirectory

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial


def _objective(number: int) -> "Callable[[FrozenTrial], float]":
    return lambda trial: trial.values[number]


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
    for number, metric in enumerate(where["objectives"]):
        try:
            found[metric] = get_param_importances(
                study, evaluator=PedAnovaImportanceEvaluator(), target=_objective(number)
            )
        except (ValueError, RuntimeError):  # too few trials to tell
            continue
    return {metric: {k: float(v) for k, v in values.items()} for metric, values in found.items() if values}
