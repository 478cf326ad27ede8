"""What Lightning's checkpoints go through, in either direction."""

from pathlib import Path
from typing import Any

from lightning_fabric.plugins import CheckpointIO

from jacoscope.checkpoints import read_checkpoint, write_checkpoint


class CheckpointFiles(CheckpointIO):
    """Checkpoints of a :class:`~pytorch_lightning.Trainer` that are written whole and read as data.

    Whatever asks for it, a callback or ``fit(ckpt_path=…)``: nothing is half-written when the disk is full or the
    process dies, and nothing in a file that is read is run. ``storage_options`` names a file in which the checkpoint
    that is replaced is kept.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        write_checkpoint(Path(path), checkpoint, previous=storage_options)

    def load_checkpoint(self, path: str | Path, *_: Any, **__: Any) -> dict[str, Any]:
        return read_checkpoint(Path(path))

    def remove_checkpoint(self, path: str | Path) -> None:
        Path(path).unlink(missing_ok=True)
