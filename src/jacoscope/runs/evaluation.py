"""Evaluate a finished training on its training, validation and test images."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pytorch_lightning import Callback, LightningDataModule, LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint, ProgressBar, WeightAveraging
from torch.utils.data import DataLoader

from jacoscope.checkpoints import read_checkpoint
from jacoscope.runs.build import build

TRAIN_BATCH_SIZE = 500  # of the evaluation on training images


def evaluate_best(
    config: dict[str, Any], trainer: Trainer, module: LightningModule, data: LightningDataModule
) -> dict[str, float]:
    """Return the training, validation and test metrics of the best checkpoint, or of the last weights without one.

    Training metrics are measured on the training images as they are, without augmentation, so that the difference to
    the test is the generalisation gap. Only the test metrics go to the loggers: validation is in the curves already,
    and training was measured there with augmentation. Further trainers are built from ``config.trainer``.
    """
    best = Path(getattr(trainer.checkpoint_callback, "best_model_path", ""))
    if best.is_file():
        module.load_state_dict(read_checkpoint(best)["state_dict"])
    # WeightAveraging would swap the weights, but in a checkpoint they are the averaged ones already.
    unneeded = (Checkpoint, ProgressBar, WeightAveraging)
    measuring = [callback for callback in trainer.callbacks if not isinstance(callback, unneeded)]  # type: ignore[attr-defined]
    metrics = _validate(config, module, data, measuring)
    on_training_images = _validate(config, module, _training_images(data), [])
    metrics |= {name.replace("val/", "train/", 1): value for name, value in on_training_images.items()}
    trainer.test(module, data, verbose=False)
    return metrics | _logged_metrics(trainer)


def _validate(
    config: dict[str, Any],
    module: LightningModule,
    data: LightningDataModule | DataLoader[Any],
    callbacks: Sequence[Callback],
) -> dict[str, float]:
    """Validate with a trainer that logs and shows nothing, on the devices of the training."""
    quiet: Trainer = build(
        config,
        "trainer",
        callbacks=callbacks,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        profiler=None,
    )
    quiet.validate(module, data, verbose=False)
    return _logged_metrics(quiet)


def _training_images(data: LightningDataModule) -> DataLoader[Any]:
    """Return the training images in order, without augmentation."""
    loader = data.train_dataloader()

    def collate(samples: Any) -> Any:
        return data.on_after_batch_transfer(
            loader.collate_fn(samples), 0
        )  # to pixels, and not augmented after training

    return DataLoader(loader.dataset, TRAIN_BATCH_SIZE, collate_fn=collate)


def _logged_metrics(trainer: Trainer) -> dict[str, float]:
    return {name: float(value) for name, value in trainer.callback_metrics.items()}
