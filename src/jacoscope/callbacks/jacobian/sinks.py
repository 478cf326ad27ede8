"""Where numbers, pictures, histograms and texts go: one small class for each kind of logger.

Lightning's loggers have only scalars in common. A logger is recognised by the names of its classes, so that those of
``lightning.pytorch`` and of ``pytorch_lightning``, and classes derived from them, are served alike.
"""

from collections.abc import Mapping, Sequence
from importlib import import_module
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from tensorboard.compat.proto.summary_pb2 import Summary
from torch import Tensor

from jacoscope.lightning import is_a, rank_zero_info, rank_zero_warn
from jacoscope.visuals.colors import Pixels
from jacoscope.visuals.sheet import encode_png

if TYPE_CHECKING:
    from jacoscope.lightning import Logger


class Sink:
    """A logger that takes numbers alone.

    Args:
        logger: any logger of Lightning.
    """

    takes_pictures = False
    has_tab = False
    """Whether the logger's page has the tab "Jacobians"."""
    lacks = "pictures, histograms or texts"
    """What the logger cannot take."""

    def __init__(self, logger: "Logger | SimpleNamespace") -> None:
        self.logger: Any = logger

    @property
    def place(self) -> str:
        """A name for the place where the logger writes; a resumed run may write to another one."""
        return f"{self.logger.name}/{self.logger.version}"

    def log_scalars(self, scalars: Mapping[str, float], step: int) -> None:
        """Log numbers."""
        self.logger.log_metrics(dict(scalars), step=step)

    def log_picture(self, tag: str, picture: Pixels, step: int) -> None:
        """Log a picture, ``[height, width, 3]``."""

    def log_histogram(self, tag: str, values: Tensor, step: int) -> None:
        """Log the distribution of values."""

    def log_summary(self, summary: Summary, step: int) -> None:
        """Log a message of TensorBoard's own format."""

    def log_text(self, tag: str, markdown: str) -> None:
        """Log a page of text."""

    def log_layout(self, layout: Mapping[str, Mapping[str, Any]]) -> None:
        """Log the layout of TensorBoard's Custom Scalars tab."""


class TensorBoardSink(Sink):
    """TensorBoard takes everything."""

    takes_pictures = has_tab = True
    lacks = ""

    def log_picture(self, tag: str, picture: Pixels, step: int) -> None:
        height, width, channels = picture.shape
        image = Summary.Image(height=height, width=width, colorspace=channels, encoded_image_string=encode_png(picture))
        self.log_summary(Summary(value=[Summary.Value(tag=tag, image=image)]), step)

    def log_summary(self, summary: Summary, step: int) -> None:
        write_summary(self.logger, summary, step)

    def log_histogram(self, tag: str, values: Tensor, step: int) -> None:
        self.logger.experiment.add_histogram(tag, values, step)

    def log_text(self, tag: str, markdown: str) -> None:
        self.logger.experiment.add_text(tag, markdown, 0)

    def log_layout(self, layout: Mapping[str, Mapping[str, Any]]) -> None:
        self.logger.experiment.add_custom_scalars(layout)


class WriterSink(TensorBoardSink):
    """A ``SummaryWriter``, without a logger of Lightning around it.

    Args:
        writer: of ``torch.utils.tensorboard``.
    """

    def __init__(self, writer: Any) -> None:
        super().__init__(SimpleNamespace(experiment=writer))

    @property
    def place(self) -> str:
        return str(self.logger.experiment.log_dir)

    def log_scalars(self, scalars: Mapping[str, float], step: int) -> None:
        for tag, value in scalars.items():
            self.logger.experiment.add_scalar(tag, value, step)


class WandbSink(Sink):
    """Weights & Biases takes pictures and histograms."""

    takes_pictures = True
    lacks = "texts"

    def log_picture(self, tag: str, picture: Pixels, step: int) -> None:
        self._log(tag, import_module("wandb").Image(picture), step)

    def log_histogram(self, tag: str, values: Tensor, step: int) -> None:
        self._log(tag, import_module("wandb").Histogram(values.numpy()), step)

    def _log(self, tag: str, value: Any, step: int) -> None:
        # No step of its own: W&B drops what comes with a smaller step than the last.
        self.logger.experiment.log({tag: value, "trainer/global_step": step})


class MLflowSink(Sink):
    """MLflow takes pictures and texts."""

    takes_pictures = True
    lacks = "histograms"

    def log_picture(self, tag: str, picture: Pixels, step: int) -> None:
        self.logger.experiment.log_image(self.logger.run_id, picture, key=tag, step=step)

    def log_text(self, tag: str, markdown: str) -> None:
        self.logger.experiment.log_text(self.logger.run_id, markdown, f"{tag}.md")


class CometSink(Sink):
    """Comet takes pictures, histograms and texts."""

    takes_pictures = True
    lacks = ""

    def log_picture(self, tag: str, picture: Pixels, step: int) -> None:
        self.logger.experiment.log_image(picture, name=tag, step=step)

    def log_histogram(self, tag: str, values: Tensor, step: int) -> None:
        self.logger.experiment.log_histogram_3d(values.numpy(), name=tag, step=step)

    def log_text(self, tag: str, markdown: str) -> None:
        self.logger.experiment.log_text(markdown, metadata={"tag": tag})


_SINKS = {
    "TensorBoardLogger": TensorBoardSink,
    "WandbLogger": WandbSink,
    "MLFlowLogger": MLflowSink,
    "CometLogger": CometSink,
}


def sinks_of(loggers: Sequence["Logger"]) -> list[Sink]:
    """Return a sink for each logger."""
    return [next((sink for name, sink in _SINKS.items() if is_a(logger, name)), Sink)(logger) for logger in loggers]


def say_what_is_left_out(sinks: Sequence[Sink]) -> None:
    """Name the loggers that cannot take everything; as a warning if none of them takes pictures."""
    if not sinks:
        rank_zero_info("JacobianCallback: the trainer has no logger; the means are in trainer.callback_metrics alone")
    say = rank_zero_info if any(sink.takes_pictures for sink in sinks) else rank_zero_warn
    for sink in sinks:
        if sink.lacks:
            say(f"JacobianCallback: {type(sink.logger).__name__} takes no {sink.lacks}; it gets the rest")


def write_summary(logger: Any, summary: Summary, step: int | None = None) -> None:
    """Write a message of TensorBoard's own format into the event file of a TensorBoardLogger."""
    # No public method opens the file again where an earlier fit has closed it; Lightning does the same.
    logger.experiment._get_file_writer().add_summary(summary, step)
