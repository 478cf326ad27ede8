"""The configs of the entry scripts, for what is measured as they run it."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.utils import UNSAFE_DISABLE_EXECUTION_CHECKS, execution_whitelist
from omegaconf import DictConfig

CONFIGS = Path(__file__).parent.parent / "configs"


@contextmanager
def composed(name: str, *overrides: str) -> Iterator[DictConfig]:
    """Compose a config; within the block, what it names may be built, and Lightning prints nothing.

    Args:
        name: ``train`` or ``analyze``.
        overrides: as on the command line.
    """
    lightning = logging.getLogger("pytorch_lightning")
    level = lightning.level
    lightning.setLevel(logging.ERROR)
    try:
        with (
            warnings.catch_warnings(),
            initialize_config_dir(str(CONFIGS)),
            execution_whitelist(UNSAFE_DISABLE_EXECUTION_CHECKS),
        ):
            warnings.simplefilter("ignore")
            yield compose(name, list(overrides))
    finally:
        lightning.setLevel(level)
