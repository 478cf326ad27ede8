"""What Optuna makes of the trials of a search."""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jacoscope.errors import UserError
from jacoscope.sweeps.directory import SweepDirectory

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial


GOOD = 5
"""Trials that must count as good, for what they have in common to be more than chance: Optuna's advice."""


@dataclass(frozen=True)
class Importance:
    """How much each setting has to do with a trial being among the best.

    Attributes:
        shares: by setting; together they are 1.
        best: how many trials count as the best: a tenth, no fewer than :data:`GOOD`, and those that equal the last.
        trials: of how many that ran to their end.
    """

    shares: dict[str, float]
    best: int
    trials: int


def _low_is_good(number: int, direction: str) -> "Callable[[FrozenTrial], float]":
    """Give an objective so that the trials which PED-ANOVA looks at, those of low values, are the good ones."""
    sign = -1.0 if direction == "MAXIMIZE" else 1.0
    return lambda trial: sign * trial.values[number]


def importances(folder: Path) -> dict[str, Importance]:
    """Give for each objective of a search how much each setting matters; nothing where there is no search.

    Nothing either as long as the best would be more than half of all.

    By PED-ANOVA (Watanabe et al. 2023, arXiv:2304.10255), which Optuna offers without further packages. Only a study
    in the sweep's own folder is opened, wherever that folder has been moved to: ``sweep.json`` may come from somebody
    else, and a database that it names may be anywhere.
    """
    try:
        where = SweepDirectory.read(folder).study or {}
    except UserError:
        return {}
    file = _own_file(folder, where)
    if file is None:
        return {}
    try:
        import optuna
        from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
        from optuna.trial import TrialState
        from sqlalchemy import URL
    except ImportError:
        return {}
    found = {}
    warnings.filterwarnings("ignore", message="PedAnovaImportanceEvaluator computes")  # it is given what it wants
    try:
        url = URL.create("sqlite", database=str(file)).render_as_string()
        study = optuna.load_study(study_name=str(where["name"]), storage=url)
        objectives = list(zip(map(str, where["objectives"]), study.directions, strict=True))
    except Exception:  # whatever Optuna and SQLAlchemy raise at a file that is no study
        return {}
    trials = study.get_trials(deepcopy=False, states=[TrialState.COMPLETE])
    if len(trials) < 2 * GOOD:
        return {}
    share = max(0.1, GOOD / len(trials))
    for number, (metric, direction) in enumerate(objectives):
        evaluator = PedAnovaImportanceEvaluator(target_quantile=share)
        value = _low_is_good(number, direction.name)
        try:
            shares = get_param_importances(study, evaluator=evaluator, target=value)
        except (ValueError, RuntimeError):  # all trials the same, for one
            continue
        if shares:
            values = sorted(map(value, trials))
            worst = values[math.ceil(share * len(values)) - 1]  # of the best; those that equal it count too
            found[metric] = Importance(shares, sum(value <= worst for value in values), len(values))
    return found


def _own_file(folder: Path, where: dict[str, Any]) -> Path | None:
    """Give the file of a study where it lies in the sweep's folder itself."""
    scheme, _, place = str(where.get("storage")).partition(":///")
    file = folder.resolve() / (Path(place).name or "no file")
    return file if scheme == "sqlite" and file.is_file() and file.resolve() == file else None
