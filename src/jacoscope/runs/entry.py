"""From the command line to a task and its config: Hydra composes, and mistakes end in one message.

Nothing of torch is imported here, so that ``--help`` and ``--cfg`` answer at once.
"""

import errno
import inspect
import os
import sys
import warnings
from functools import wraps
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from hydra.utils import UNSAFE_DISABLE_EXECUTION_CHECKS
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from jacoscope.errors import UserError
from jacoscope.files import remedy
from jacoscope.runs.command import Task, interrupted, leave
from jacoscope.runs.directory import folder_of
from jacoscope.runs.known_keys import check_keys
from jacoscope.runs.processes import OF_A_TRAINING, SWEEP_PROCESS, end_with_parent, in_words, last_words, tell
from jacoscope.sweeps.job import run_job
from jacoscope.sweeps.search import register

OF_THE_PLACE = {
    *(errno.EEXIST, errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.EROFS),
    *(errno.ENAMETOOLONG, errno.ENOSPC, errno.EDQUOT),
}
"""What can be wrong with the folder that a run is to lie in, and is the user's to mend."""


def enter(task: Task, config_name: str) -> None:
    """Carry out a task with the config that the command line asks for, or each of a sweep's.

    Args:
        task: a function of a config, in an entry script that has ``configs/`` beside it.
        config_name: the primary config, without ``.yaml``.
    """
    script = Path(inspect.getfile(task)).absolute()
    configs = script.parent / "configs"

    @wraps(task)
    def single_or_swept(cfg: DictConfig) -> Any:
        if HydraConfig.get().mode is RunMode.MULTIRUN:
            return run_job(task, cfg, script)
        try:
            _check_single()
            check_keys(cfg, HydraConfig.get())
            return task(cfg)
        except Exception as error:
            _leave_with_message(error, configs, config_name)
            raise

    # The config is the user's own: it may name any class. (Configs of others' runs are not trusted so.)
    compose = hydra.main(
        config_path="configs", config_name=config_name, execution_whitelist=UNSAFE_DISABLE_EXECUTION_CHECKS
    )
    warnings.filterwarnings("ignore", message=".*LeafSpec", module="pytorch_lightning")  # Lightning's to mend
    os.environ["HYDRA_FULL_ERROR"] = "1"  # let exceptions come here instead of Hydra's own report
    end_with_parent()
    register(show_sweep)
    OmegaConf.register_resolver("folder_of", folder_of, replace=True)
    try:
        with last_words(tell):
            compose(single_or_swept)()
    except Exception as error:
        _leave_with_message(error, configs, config_name)
        raise


def show_sweep(path: Path) -> None:
    """Print the table of a sweep and write its page."""
    from jacoscope.comparison.answer import answer
    from jacoscope.comparison.table import Table

    answer(Table.of(path), path / "sweep.html")


def _check_single() -> None:
    """See that a search was asked for as one; the processes of a run within a search are single runs by right."""
    choice = HydraConfig.get().runtime.choices.get("hparams_search")
    if choice and SWEEP_PROCESS not in os.environ and OF_A_TRAINING not in os.environ:
        raise UserError(f"hparams_search={choice} is a search, many runs: type -m before it")


def _leave_with_message(error: Exception, configs: Path, config_name: str) -> None:
    """Leave where ``error`` is a user's mistake; return where it is not, or the user wants to see the traceback.

    Raises:
        KeyboardInterrupt: where Ctrl-C came before, and the error is what it left behind.
    """
    if os.environ.get("JACOSCOPE_TRACEBACK"):
        return
    if interrupted() and not isinstance(error, UserError):
        raise KeyboardInterrupt from error
    message = _message(error, configs, config_name)
    if message is not None:
        leave(message)


def _message(error: Exception, configs: Path, config_name: str) -> str | None:
    """Tell a user's mistake in words; none for anything else."""
    if isinstance(mistake := _from_resolver(error), UserError):
        return str(mistake)
    if lost := in_words(error):
        return lost
    if isinstance(error, HydraException | OmegaConfBaseException):
        from jacoscope.runs.suggestions import explain

        return explain(error, sys.argv[1:], configs, config_name)
    if isinstance(error, ValueError) and str(error).startswith("Config group override"):
        return f"{error}. A group's config is chosen with GROUP=CHOICE; ~GROUP leaves it out"
    if isinstance(error, ValueError) and str(error).startswith("Only one of --run"):
        return str(error)
    if isinstance(error, YAMLError | UnicodeDecodeError):  # neither is turned into an error of theirs by Hydra
        return f"A config file cannot be read: {error}"
    if isinstance(error, OSError) and error.errno in OF_THE_PLACE:
        named = f"{error.filename}: " if error.filename else ""
        return f"{named}{error.strerror}. {remedy(error)}"
    if "pytorch_lightning" in sys.modules:
        from lightning_fabric.utilities.exceptions import MisconfigurationException

        if isinstance(error, MisconfigurationException) or str(error).startswith("Early stopping conditioned on"):
            return str(error)
    return None


def _from_resolver(error: BaseException) -> BaseException:
    """Give the error that OmegaConf met in an interpolation, and has wrapped; any other as it is."""
    while isinstance(error, OmegaConfBaseException) and error.__context__ is not None:
        error = error.__context__
    return error
