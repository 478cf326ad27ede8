"""TensorBoard's event files, cut back to what had been logged when a checkpoint was written.

What a run logged after its last checkpoint it logs again when it goes on from there. Cut off, those points are neither
there twice nor, if the run was killed before they reached the disk, missing.
"""

import os
from pathlib import Path

from pytorch_lightning import Trainer
from pytorch_lightning.loggers import TensorBoardLogger

_EVENTS = "events.out.tfevents.*"


def logged_so_far(trainer: Trainer) -> dict[str, int]:
    """Bring all that was logged to the disk, and give the size of each event file by its name."""
    sizes = {}
    for logger in _loggers(trainer):
        logger.experiment.flush()
        for file in Path(logger.log_dir).glob(_EVENTS):
            with file.open("rb") as events:
                os.fsync(events.fileno())
            sizes[file.name] = file.stat().st_size
    return sizes


def cut_back(trainer: Trainer, sizes: dict[str, int]) -> None:
    """Cut event files back to the sizes given by :func:`logged_so_far`, and remove those that came later.

    The file that ``trainer`` itself has just begun stays.
    """
    for logger in _loggers(trainer):
        own = Path(logger.experiment._get_file_writer().event_writer._file_name).name
        for file in Path(logger.log_dir).glob(_EVENTS):
            size = sizes.get(file.name)
            if size is not None and file.stat().st_size > size:
                os.truncate(file, size)
            elif size is None and file.name != own:
                file.unlink()


def _loggers(trainer: Trainer) -> list[TensorBoardLogger]:
    return [logger for logger in trainer.loggers if trainer.is_global_zero and isinstance(logger, TensorBoardLogger)]
