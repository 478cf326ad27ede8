"""Stop runs of a search that promise nothing."""

from pathlib import Path
from typing import Any

import optuna
from pytorch_lightning import Callback, LightningModule, Trainer


class Pruning(Callback):
    """Report a metric to the study after every validation, and end the training where its pruner says so.

    The run is then tested and recorded as any other, and marked as pruned.

    Args:
        monitor: the metric, which is the study's only objective.
        directory: the run directory; its name is the number of the trial.
        storage: of the study.
        study_name: its name there.
        pruner: an Optuna pruner.
    """

    def __init__(
        self, monitor: str, directory: str | Path, storage: str, study_name: str, pruner: optuna.pruners.BasePruner
    ) -> None:
        self.monitor, self.number = monitor, int(Path(directory).name)
        self.storage, self.study_name, self.pruner = storage, study_name, pruner
        self.pruned = False

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        if trainer.sanity_checking or trainer.state.fn != "fit" or self.monitor not in trainer.callback_metrics:
            return
        value = float(trainer.callback_metrics[self.monitor])
        stop = trainer.is_global_zero and self._hopeless(value, trainer.current_epoch)
        if trainer.strategy.broadcast(stop):
            self.pruned = trainer.should_stop = True

    def _hopeless(self, value: float, epoch: int) -> bool:
        trial = self._trial()
        trial.report(value, epoch)
        return bool(trial.should_prune())

    def _trial(self) -> Any:
        study = optuna.load_study(study_name=self.study_name, storage=self.storage, pruner=self.pruner)
        identity = study._storage.get_trial_id_from_study_id_trial_number(study._study_id, self.number)
        return optuna.trial.Trial(study, identity)
