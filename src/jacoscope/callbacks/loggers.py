"""Pictures, histograms and texts for whichever logger there is; scalars all loggers take by themselves.

Lightning's loggers agree on scalars alone. What a logger has no place for is left out without a word: a CSV file
is chosen for its numbers.
"""

from collections.abc import Mapping
from importlib import import_module
from io import BytesIO
from typing import Any

from PIL import Image
from pytorch_lightning.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger
from tensorboard.compat.proto.summary_pb2 import Summary
from torch import Tensor

from jacoscope.visuals import Pixels


def place_of(logger: Logger) -> str:
    """Where a logger writes, as far as a run that is resumed or moved would write elsewhere of its own accord."""
    return f"{logger.name}/{logger.version}"


def log_scalars(loggers: list[Logger], scalars: Mapping[str, float], step: int) -> None:
    """Log numbers."""
    for logger in loggers:
        logger.log_metrics(dict(scalars), step=step)


def shows_pictures(logger: Logger) -> bool:
    """Tell whether pictures and histograms have a place in a logger."""
    return isinstance(logger, (TensorBoardLogger, WandbLogger, MLFlowLogger))


def log_image(loggers: list[Logger], tag: str, picture: Pixels, step: int) -> None:
    """Log a picture, ``[height, width, 3]``."""
    for logger in loggers:
        experiment = _experiment(logger)
        if isinstance(logger, TensorBoardLogger):
            experiment._get_file_writer().add_summary(_image_summary(tag, picture), step)
        elif isinstance(logger, WandbLogger):
            # No step of its own: W&B drops what comes with a smaller step than the last.
            experiment.log({tag: _wandb().Image(picture), "trainer/global_step": step})
        elif isinstance(logger, MLFlowLogger):
            experiment.log_image(logger.run_id, picture, key=tag, step=step)


def log_histogram(loggers: list[Logger], tag: str, values: Tensor, step: int) -> None:
    """Log the distribution of values."""
    for logger in loggers:
        experiment = _experiment(logger)
        if isinstance(logger, TensorBoardLogger):
            experiment.add_histogram(tag, values, step)
        elif isinstance(logger, WandbLogger):
            experiment.log({tag: _wandb().Histogram(values.numpy()), "trainer/global_step": step})


def log_text(loggers: list[Logger], tag: str, markdown: str) -> None:
    """Log a page of text."""
    for logger in loggers:
        experiment = _experiment(logger)
        if isinstance(logger, TensorBoardLogger):
            experiment.add_text(tag, markdown, 0)
        elif isinstance(logger, MLFlowLogger):
            experiment.log_text(logger.run_id, markdown, f"{tag}.md")


def log_layout(loggers: list[Logger], layout: Mapping[str, Mapping[str, Any]]) -> None:
    """Log what TensorBoard's Custom Scalars tab is to show."""
    for logger in loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.experiment.add_custom_scalars(layout)


def _image_summary(tag: str, picture: Pixels) -> Summary:
    """What ``SummaryWriter.add_image`` would write, in half the time: it packs as tightly as PNG can."""
    packed = BytesIO()
    Image.fromarray(picture).save(packed, "png", compress_level=1)
    height, width, channels = picture.shape
    image = Summary.Image(height=height, width=width, colorspace=channels, encoded_image_string=packed.getvalue())
    return Summary(value=[Summary.Value(tag=tag, image=image)])


def _experiment(logger: Any) -> Any:
    return getattr(logger, "experiment", None)


def _wandb() -> Any:
    return import_module("wandb")
