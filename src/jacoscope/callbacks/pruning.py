"""Stop runs of a search early that are worse than others."""

from pathlib import Path

import optuna
from optuna.trial import Trial

from jacoscope.lightning import Callback, LightningModule, Trainer


class Pruning(Callback):
    """Report a metric to an Optuna study after every validation, and stop the training if the pruner says so.

    The weights are then tested and the run is recorded like any other, and marked as pruned.

    Args:
        monitor: name of the metric, the only objective of the study.
        directory: the run directory; its name is the number of the trial.
        storage: URL of the study's database.
        study_name: name of the study there.
        pruner: an Optuna pruner.

    Attributes:
        pruned: whether the training was stopped.
    """

    def __init__(
        self, monitor: str, directory: str | Path, storage: str, study_name: str, pruner: optuna.pruners.BasePruner
    ) -> None:
        self.monitor, self.number = monitor, int(Path(directory).name)
        self.storage, self.study_name, self.pruner = storage, study_name, pruner
        self.pruned = False
        self._trial: Trial | None = None

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        if trainer.sanity_checking or trainer.state.fn != "fit" or self.monitor not in trainer.callback_metrics:
            return
        value = float(trainer.callback_metrics[self.monitor])
        stop = trainer.is_global_zero and self._is_to_be_pruned(value, trainer.current_epoch)
        if trainer.strategy.broadcast(stop):
            self.pruned = trainer.should_stop = True

    def _is_to_be_pruned(self, value: float, epoch: int) -> bool:
        if self._trial is None:
            self._trial = running_trial(self.storage, self.study_name, self.number, self.pruner)
        self._trial.report(value, epoch)
        return self._trial.should_prune()


def running_trial(storage: str, study_name: str, number: int, pruner: optuna.pruners.BasePruner) -> Trial:
    """Return a trial of a study that another process has begun.

    Args:
        storage: URL of the study's database.
        study_name: name of the study there.
        number: number of the trial in the study.
        pruner: decides whether the trial should be pruned.
    """
    opened = optuna.storages.get_storage(storage)
    study = optuna.load_study(study_name=study_name, storage=opened, pruner=pruner)
    identity = opened.get_trial_id_from_study_id_trial_number(opened.get_study_id_from_name(study_name), number)
    return Trial(study, identity)
