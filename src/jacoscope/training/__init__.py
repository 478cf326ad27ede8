"""Training a classifier: the LightningModule, its losses and its learning rate schedules."""

from jacoscope.training.classifier import ClassifierModule
from jacoscope.training.losses import RubbishClassLoss
from jacoscope.training.muon import Muon
from jacoscope.training.schedules import constant, cosine, one_cycle

__all__ = ["ClassifierModule", "Muon", "RubbishClassLoss", "constant", "cosine", "one_cycle"]
