"""What a finished training is judged by."""

from pathlib import Path

from pytorch_lightning import LightningDataModule, LightningModule, Trainer
from torch.utils.data import DataLoader

EVALUATED_AT_ONCE = 500  # training images


def evaluate_best(trainer: Trainer, module: LightningModule, data: LightningDataModule) -> dict[str, float]:
    """Give the training, validation and test metrics of the best checkpoint; of the weights as they are without one.

    Training metrics are those on the training images as they are, without augmentation, by which the generalisation
    gap is measured. The test metrics go to the loggers too. The others do not: validation is in the curves already,
    and training was measured in another way there.
    """
    kept = getattr(trainer.checkpoint_callback, "best_model_path", "")
    checkpoint = kept if kept and Path(kept).exists() else None
    loggers, trainer.loggers = trainer.loggers, []
    try:
        trainer.validate(module, data, ckpt_path=checkpoint, verbose=False, weights_only=True)
    finally:
        trainer.loggers = loggers
    metrics = logged_metrics(trainer) | _on_training_images(trainer, module, data)
    trainer.test(module, data, ckpt_path=checkpoint, verbose=False, weights_only=True)
    return metrics | logged_metrics(trainer)


def _on_training_images(trainer: Trainer, module: LightningModule, data: LightningDataModule) -> dict[str, float]:
    """Validate on the training images, with the weights that the module has."""
    loader = data.train_dataloader()
    in_order = DataLoader(loader.dataset, EVALUATED_AT_ONCE, collate_fn=loader.collate_fn)
    kept = trainer.loggers, trainer.callbacks  # type: ignore[attr-defined]
    trainer.loggers, trainer.callbacks = [], []  # type: ignore[attr-defined]
    data.val_dataloader = lambda: in_order  # type: ignore[method-assign]
    try:
        trainer.validate(module, data, verbose=False)
    finally:
        del data.val_dataloader
        trainer.loggers, trainer.callbacks = kept  # type: ignore[attr-defined]
    return {name.replace("val/", "train/", 1): value for name, value in logged_metrics(trainer).items()}


def logged_metrics(trainer: Trainer) -> dict[str, float]:
    """Give all scalars of the stage that has just ended, by their names."""
    return {name: float(value) for name, value in trainer.callback_metrics.items()}
