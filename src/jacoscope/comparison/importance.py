"""How much each setting of a search matters, as Optuna estimates it from the stored trials."""

import math
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jacoscope.errors import UserError
from jacoscope.sweeps.directory import SweepDirectory

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial

MIN_BEST = 5
"""Trials that count as the best, at least; Optuna advises this number for a stable estimate."""


@dataclass(frozen=True)
class Importance:
    """How much each setting matters for a trial to be among the best.

    Attributes:
        shares: by setting; their sum is 1.
        best: how many trials count as the best: a tenth, at least :data:`MIN_BEST`, and those that equal the last.
        trials: how many ran to their end.
    """

    shares: dict[str, float]
    best: int
    trials: int


def importances(folder: Path) -> dict[str, Importance]:
    """Return the importances for each objective of a search; empty where there is no search, or too few trials.

    At least twice :data:`MIN_BEST` trials are needed. They are computed by PED-ANOVA (Watanabe et al. 2023,
    arXiv:2304.10255). Only a study in the sweep's own folder is opened, wherever that folder has been moved to:
    ``sweep.json`` may come from somebody else, and name a database anywhere.
    """
    try:
        recorded = SweepDirectory.read(folder).study or {}
    except UserError:
        return {}
    file = _study_file(folder, recorded)
    if file is None:
        return {}
    try:
        import optuna
        from sqlalchemy import URL
    except ImportError:  # searches are an extra of the package
        return {}
    url = URL.create("sqlite", database=str(file)).render_as_string()
    try:
        study = optuna.load_study(study_name=str(recorded["name"]), storage=url)
        objectives = list(zip(map(str, recorded["objectives"]), study.directions, strict=True))
    except Exception:  # whatever Optuna and SQLAlchemy raise for a file that is not a study
        return {}
    found = {
        metric: _importance(study, number, maximize=direction.name == "MAXIMIZE")
        for number, (metric, direction) in enumerate(objectives)
    }
    return {metric: importance for metric, importance in found.items() if importance}


def _importance(study: "Study", number: int, maximize: bool) -> Importance | None:
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
    from optuna.trial import TrialState

    def loss(trial: "FrozenTrial") -> float:  # PED-ANOVA takes low values for the good ones
        value: float = trial.values[number]
        return -value if maximize else value

    trials = study.get_trials(deepcopy=False, states=[TrialState.COMPLETE])
    if len(trials) < 2 * MIN_BEST:
        return None
    share = max(0.1, MIN_BEST / len(trials))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # some versions of Optuna remind us to pass low values
            evaluator = PedAnovaImportanceEvaluator(target_quantile=share)
            shares = get_param_importances(study, evaluator=evaluator, target=loss)
    except (ValueError, RuntimeError):  # for example if all trials are the same
        return None
    values = sorted(map(loss, trials))
    last = values[math.ceil(share * len(values)) - 1]
    return Importance(shares, sum(value <= last for value in values), len(values)) if shares else None


def _study_file(folder: Path, recorded: dict[str, Any]) -> Path | None:
    """Return the SQLite file of a study where it lies in the sweep's folder itself, and is not a link."""
    scheme, _, place = str(recorded.get("storage")).partition(":///")
    file = folder.resolve() / (Path(place).name or "no file")
    return file if scheme == "sqlite" and file.is_file() and file.resolve() == file else None
