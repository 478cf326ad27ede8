"""What a finished training is judged by."""

from pathlib import Path

from pytorch_lightning import LightningDataModule, LightningModule, Trainer


def evaluate_best(trainer: Trainer, module: LightningModule, data: LightningDataModule) -> dict[str, float]:
    """Give the validation and test metrics of the best checkpoint; of the weights as they are where none was kept.

    The test metrics go to the loggers too. The validation metrics do not: they are in the curves already.
    """
    kept = getattr(trainer.checkpoint_callback, "best_model_path", "")
    checkpoint = kept if kept and Path(kept).exists() else None
    loggers, trainer.loggers = trainer.loggers, []
    try:
        trainer.validate(module, data, ckpt_path=checkpoint, verbose=False, weights_only=True)
    finally:
        trainer.loggers = loggers
    metrics = logged_metrics(trainer)
    trainer.test(module, data, ckpt_path=checkpoint, verbose=False, weights_only=True)
    return metrics | logged_metrics(trainer)


def logged_metrics(trainer: Trainer) -> dict[str, float]:
    """Give all scalars of the stage that has just ended, by their names."""
    return {name: float(value) for name, value in trainer.callback_metrics.items()}
