"""Training a classifier: the LightningModule, its losses and its learning rate schedules."""

from jacoscope.training.classifier import ClassifierModule
from jacoscope.training.losses import RubbishClassLoss
from jacoscope.training.schedules import constant, cosine, one_cycle

__all__ = ["ClassifierModule", "RubbishClassLoss", "constant", "cosine", "one_cycle"]
