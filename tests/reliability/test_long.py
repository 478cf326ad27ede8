"""A training of many epochs costs no more at its end than at its beginning."""

import gc
import threading
from pathlib import Path

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.loggers import TensorBoardLogger

from jacoscope.callbacks import JacobianCallback
from jacoscope.data import ImageDataModule
from jacoscope.models import MLP
from jacoscope.training import CheckpointFiles, ClassifierModule, LastCheckpoint, constant

from .odd import Pictures
from .test_fuzz import resident

EPOCHS, WARM = 200, 50
GROWTH = 8 * 2**20  # bytes, of resident memory of the last 50 epochs over the 50 after the first


class Census(Callback):
    """Count what the process holds at the end of every validation."""

    def __init__(self) -> None:
        self.memory: list[int] = []
        self.threads: list[int] = []
        self.open_files: list[int] = []

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        gc.collect()  # figures hold on to themselves until the collector comes: what is measured is what stays
        self.memory.append(resident("VmRSS"))
        self.threads.append(threading.active_count())
        self.open_files.append(len(list(Path("/proc/self/fd").iterdir())))


def test_200_validations_with_the_callback_hold_no_more_than_50(tmp_path: Path) -> None:
    census = Census()
    watched = JacobianCallback(max_samples=4, train_samples=4, images_every_n_epochs=25)
    trainer = Trainer(
        max_epochs=EPOCHS,
        accelerator="cpu",
        logger=TensorBoardLogger(tmp_path, name="", version=""),
        callbacks=[watched, LastCheckpoint(tmp_path / "checkpoints"), census],
        plugins=[CheckpointFiles()],
        num_sanity_val_steps=0,
        log_every_n_steps=1,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    gc.freeze()  # what is there already is not looked through by each collection
    network = MLP((1, 4, 4), 2, hidden=(4,))
    module = ClassifierModule(network, torch.nn.CrossEntropyLoss(), torch.optim.SGD, constant, 2)
    trainer.fit(module, ImageDataModule(Pictures(), (1, 4, 4), 2, batch_size=8))
    gc.unfreeze()
    assert len(census.memory) == EPOCHS
    # It comes and goes by some MB after pictures are drawn, as the allocator gives back what is free when it sees fit:
    # the least of many validations tells what is held.
    assert min(census.memory[-WARM:]) - min(census.memory[WARM : 2 * WARM]) < GROWTH
    assert max(census.threads[WARM:]) == census.threads[WARM]
    assert max(census.open_files[WARM:]) == census.open_files[WARM]
