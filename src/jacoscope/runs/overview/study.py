"""What Optuna makes of the trials of a search."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    for number, (metric, direction) in enumerate(objectives):
        try:
            found[metric] = get_param_importances(
                study, evaluator=PedAnovaImportanceEvaluator(), target=_low_is_good(number, direction.name)
            )
        except (ValueError, RuntimeError):  # too few trials to tell
            continue
    return {metric: {k: float(v) for k, v in values.items()} for metric, values in found.items() if values}


def _own_file(folder: Path, where: dict[str, Any]) -> Path | None:
    """Give the file of a study where it lies in the sweep's folder itself."""
    scheme, _, place = str(where.get("storage")).partition(":///")
    file = folder.resolve() / (Path(place).name or "no file")
    return file if scheme == "sqlite" and file.is_file() and file.resolve() == file else None
