"""Lightning, which has two names: ``pytorch_lightning`` and ``lightning.pytorch``.

Both packages have the same classes, but those of one are no subclasses of the other's. Everything in jacoscope that
works in a Lightning project imports its classes from here: those of the package that the process has imported already,
or otherwise of the one that is installed. ``train.py`` uses ``pytorch_lightning``. Neither is imported before one of
its classes is asked for: what works without Lightning does not load it.
"""

import os
import sys
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from lightning_utilities.core.rank_zero import rank_zero_info as rank_zero_info
from lightning_utilities.core.rank_zero import rank_zero_only
from lightning_utilities.core.rank_zero import rank_zero_warn as rank_zero_warn

if TYPE_CHECKING:
    from lightning_fabric.plugins import CheckpointIO as CheckpointIO
    from pytorch_lightning import Callback as Callback
    from pytorch_lightning import LightningDataModule as LightningDataModule
    from pytorch_lightning import LightningModule as LightningModule
    from pytorch_lightning import Trainer as Trainer
    from pytorch_lightning.callbacks import Checkpoint as Checkpoint
    from pytorch_lightning.callbacks import ModelCheckpoint as ModelCheckpoint
    from pytorch_lightning.loggers import Logger as Logger
    from pytorch_lightning.loggers import TensorBoardLogger as TensorBoardLogger
    from pytorch_lightning.utilities.combined_loader import CombinedLoader as CombinedLoader

if not hasattr(rank_zero_only, "rank"):  # Lightning sets it when it is imported
    _ranks = (os.environ.get(name) for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID"))
    rank_zero_only.rank = next((int(rank) for rank in _ranks if rank), 0)  # type: ignore[attr-defined]
PACKAGES = ("pytorch_lightning", "lightning.pytorch")
_HOMES = {
    "": ("Callback", "LightningDataModule", "LightningModule", "Trainer"),
    ".callbacks": ("Checkpoint", "ModelCheckpoint"),
    ".loggers": ("Logger", "TensorBoardLogger"),
    ".plugins": ("CheckpointIO",),
    ".utilities.combined_loader": ("CombinedLoader",),
}


def package() -> str:
    """Return the name of the package whose classes are used.

    Raises:
        ImportError: if neither is installed.
    """
    for name in PACKAGES:
        if sys.modules.get(name) is not None:
            return name
    for name in PACKAGES:
        if find_spec(name.partition(".")[0]) is not None:
            return name
    raise ImportError(
        "jacoscope's callbacks need Lightning: pip install pytorch-lightning, or pip install lightning. "
        "jacoscope.jacobian and jacoscope.measure work without it"
    )


def is_a(thing: object, name: str) -> bool:
    """Whether a class of this name, of whichever package, is among the classes of an object.

    >>> is_a(True, "int"), is_a("1", "int")
    (True, False)
    """
    return any(kind.__name__ == name for kind in type(thing).__mro__)


def __getattr__(name: str) -> Any:
    for place, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"{_chosen()}{place}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


_chosen = cache(package)  # once: all classes are of the same package
