"""Lightning's logger for TensorBoard, with the number of the epoch among the curves of the training."""

from collections.abc import Mapping
from typing import Any

from jacoscope.lightning import TensorBoardLogger as LightningTensorBoardLogger


class TensorBoardLogger(LightningTensorBoardLogger):
    """Log ``epoch``, which Lightning adds to all metrics, as ``train/epoch``.

    Otherwise it would be a group of its own in TensorBoard, the first of all. The arguments are Lightning's.
    """

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Log metrics at a step."""
        super().log_metrics({"train/epoch" if name == "epoch" else name: metrics[name] for name in metrics}, step)
