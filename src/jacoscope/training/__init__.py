"""Training a classifier: the LightningModule, its losses, its learning rate schedules and its checkpoints."""

from jacoscope.training.checkpoint_files import CheckpointFiles
from jacoscope.training.classifier import ClassifierModule
from jacoscope.training.last_checkpoint import LastCheckpoint
from jacoscope.training.losses import RubbishClassLoss
from jacoscope.training.muon import Muon
from jacoscope.training.schedules import constant, cosine, one_cycle

__all__ = [
    "CheckpointFiles",
    "ClassifierModule",
    "LastCheckpoint",
    "Muon",
    "RubbishClassLoss",
    "constant",
    "cosine",
    "one_cycle",
]
