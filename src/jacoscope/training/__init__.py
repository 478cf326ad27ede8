"""Train a classifier: the LightningModule, losses, optimizers, learning rate schedules and checkpoints."""

from jacoscope.training.checkpointing import CheckpointFiles, LastCheckpoint
from jacoscope.training.classifier import ClassifierModule
from jacoscope.training.losses import RubbishClassLoss
from jacoscope.training.muon import Muon
from jacoscope.training.schedules import constant, cosine, one_cycle, steps
from jacoscope.training.tensorboard_logger import TensorBoardLogger

__all__ = [
    "CheckpointFiles",
    "ClassifierModule",
    "LastCheckpoint",
    "Muon",
    "RubbishClassLoss",
    "TensorBoardLogger",
    "constant",
    "cosine",
    "one_cycle",
    "steps",
]
