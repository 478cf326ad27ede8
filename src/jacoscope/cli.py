"""The frame around train.py and analyze.py: Hydra composes the config, and mistakes end in one message.

What takes time to import is imported inside functions, so that Ctrl-C during that ends in a message too. Torch is not
imported at all: ``--help`` and ``--cfg`` are fast.
"""

import errno
import inspect
import os
import re
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import wraps
from pathlib import Path
from typing import Any, NoReturn

from jacoscope.errors import UserError, nearest
from jacoscope.files import remedy
from jacoscope.signals import first_interrupt, interrupt

Task = Callable[[Any], Any]
"""A function of a config."""

_PLACE_ERRORS = {
    *(errno.EEXIST, errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.EROFS),
    *(errno.ENAMETOOLONG, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.ELOOP, errno.EISDIR),
}
"""Errors of the folder that a run is written to, which the user can correct."""


def command(config_name: str, check: Task | None = None) -> Callable[[Task], Callable[[], None]]:
    """Decorate the main function of an entry script, as ``hydra.main`` does. ``configs/`` lies beside the script.

    A user's mistake (:class:`~jacoscope.errors.UserError`, a config that cannot be composed) ends in one message on
    stderr and exit status 1, Ctrl-C in exit status 130. A traceback means a defect of jacoscope; with
    ``JACOSCOPE_TRACEBACK=1`` in the environment, mistakes end in a traceback too.

    With ``-m``, the main function is run for each job of a sweep.

    Args:
        config_name: the primary config, without ``.yaml``.
        check: raises UserError for a config with a mistake. A sweep calls it for each of its jobs before the first.
    """

    def decorate(task: Task) -> Callable[[], None]:
        @wraps(task)
        def main() -> None:
            if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # in the background it is ignored
                signal.signal(signal.SIGINT, interrupt)
            try:
                _run_hydra(task, config_name, check or bool)
            except KeyboardInterrupt as stop:
                _leave(str(stop) or "Stopped.", status=128 + (first_interrupt() or signal.SIGINT))
            except Exception:
                if (number := first_interrupt()) is None:
                    raise
                _leave("Stopped.", status=128 + number)
            finally:
                if signal.getsignal(signal.SIGINT) is interrupt:  # at exit, Python would print its exception
                    signal.signal(signal.SIGINT, signal.SIG_DFL)

        return main

    return decorate


def _run_hydra(task: Task, config_name: str, check: Task) -> None:
    """Run a task with the config that Hydra composes from the command line, or with each config of a sweep."""
    import hydra
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode
    from hydra.utils import UNSAFE_DISABLE_EXECUTION_CHECKS
    from omegaconf import OmegaConf

    from jacoscope.commands import typed
    from jacoscope.runs import own_configs
    from jacoscope.runs.directory import folder_of
    from jacoscope.runs.keys import check_keys
    from jacoscope.runs.processes import LOCAL_RANK, SWEEP_PROCESS, end_with_parent, on_forced_end, print_unbuffered
    from jacoscope.sweeps.job import run_job
    from jacoscope.sweeps.search import register

    script = Path(inspect.getfile(task)).absolute()

    # The config is the user's own: it may build any class. (Analyses check the configs of other people's runs.)
    @hydra.main(config_path="configs", config_name=config_name, execution_whitelist=UNSAFE_DISABLE_EXECUTION_CHECKS)
    @wraps(task)
    def run_or_job(cfg: Any) -> Any:
        if HydraConfig.get().mode is RunMode.MULTIRUN:
            return run_job(task, cfg, script)
        with _mistakes_as_messages(script, config_name):  # here already, since Hydra would print the error
            search = HydraConfig.get().runtime.choices.get("hparams_search")
            if search and SWEEP_PROCESS not in os.environ and LOCAL_RANK not in os.environ:  # else a run of a search
                raise UserError(f"hparams_search={search} is a search, many runs: type -m before it")
            check_keys(cfg, HydraConfig.get())
            if SWEEP_PROCESS not in os.environ and LOCAL_RANK not in os.environ:
                _say_that_it_is_a_sweep(HydraConfig.get())
            return task(cfg)

    warnings.filterwarnings("ignore", message=".*LeafSpec", module="pytorch_lightning")  # to be corrected there
    threading.excepthook = _leave_to_main_thread
    os.environ["HYDRA_FULL_ERROR"] = "1"  # makes Hydra raise exceptions instead of printing them
    end_with_parent()
    register(show=_show_sweep, check_config=check)
    own_configs.register()
    OmegaConf.register_resolver("folder_of", folder_of, replace=True)
    OmegaConf.register_resolver("typed", typed, replace=True)
    with _mistakes_as_messages(script, config_name), on_forced_end(lambda reason, _: print_unbuffered(reason)):
        run_or_job()


def _say_that_it_is_a_sweep(hydra: Any) -> None:
    """Print a note if the experiment is a sweep and the command trains one run of it, since ``-m`` is missing."""
    experiment, params = hydra.runtime.choices.get("experiment"), hydra.sweeper.get("params")
    if experiment and params:
        what = f"experiment={experiment} is a sweep over {', '.join(params)}"
        print(f"{what}. This trains one run only; for the sweep, type -m before it", file=sys.stderr)


def _show_sweep(folder: Path) -> None:
    """Show the runs of a sweep: the table in the terminal, and the page ``sweep.html``."""
    from jacoscope.comparison import show_sweep

    show_sweep(folder)


def _leave(message: str, status: int = 1) -> NoReturn:
    with suppress(OSError):  # the terminal may be closed
        print(f"\n{message}", file=sys.stderr)
    sys.exit(status)


# Messages.


@contextmanager
def _mistakes_as_messages(script: Path, config_name: str) -> Iterator[None]:
    """End the process with a message if the body raises because of a mistake of the user.

    Raises:
        KeyboardInterrupt: if the exception came after Ctrl-C.
        Exception: if it is a defect of jacoscope, or the user wants to see the traceback.
    """
    try:
        yield
    except Exception as error:
        if os.environ.get("JACOSCOPE_TRACEBACK"):
            raise
        if first_interrupt() and not isinstance(error, UserError):
            raise KeyboardInterrupt from error
        message = _message(error, script.parent / "configs", config_name)
        if message is None:
            raise
        _leave(message)


def _message(error: Exception, configs: Path, config_name: str) -> str | None:
    """Return the message about a mistake of the user, or None for any other error."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    from jacoscope.runs.keys import misspelt_key
    from jacoscope.runs.own_configs import note_of_own_configs
    from jacoscope.runs.processes import lost_process

    cause: BaseException = error
    while isinstance(cause, OmegaConfBaseException) and cause.__context__ is not None:
        cause = cause.__context__  # OmegaConf wraps what a resolver raises
    if isinstance(cause, UserError):
        return str(cause)
    if isinstance(error, HydraException | OmegaConfBaseException):
        return _explain_composition(error, configs, config_name) + note_of_own_configs()
    if isinstance(error, YAMLError | UnicodeDecodeError):  # Hydra does not wrap these
        return f"A config file cannot be read: {error}"
    if isinstance(error, (ValueError, TypeError, LookupError, AttributeError)) and _raised_in(
        error, "hydra", "omegaconf"
    ):
        advice = f"A group's config is chosen with GROUP=CHOICE; ~GROUP leaves it out. {_words_typed()}"
        reason = str(error) if isinstance(error, ValueError) else "A word cannot be composed"
        is_about_groups = "group" in reason or not isinstance(error, ValueError)
        explained = _group_as_switch(sys.argv[1:], configs) or misspelt_key(sys.argv[1:], configs, config_name)
        return explained or (f"{reason}. {advice}" if is_about_groups else reason)
    if isinstance(error, OSError) and error.errno in _PLACE_ERRORS:
        named = f"{error.filename}: " if error.filename else ""
        if not named and _raised_in(error, "tensorboard"):
            named = "The curves and pictures for TensorBoard cannot be written: "
        return f"{named}{error.strerror}. {remedy(error)}"
    if "pytorch_lightning" in sys.modules:
        from lightning_fabric.utilities.exceptions import MisconfigurationException

        if isinstance(error, MisconfigurationException):
            return str(error)
        if isinstance(error, RuntimeError) and _raised_in(error, "pytorch_lightning.callbacks.early_stopping"):
            return str(error)  # the metric that it monitors is not logged
    return lost_process(error)


def _group_as_switch(words: Iterable[str], configs: Path) -> str | None:
    """Return a message about the first group that was set to ``true`` or ``false``, or None if none was."""
    for word in words:
        group, _, value = word.partition("=")
        if value.lower() in ("true", "false") and (configs / group).is_dir():
            choices = ", ".join(f"{group}={file.stem}" for file in sorted((configs / group).glob("*.yaml")))
            return f"{word}: {group} is a group, of which one config is chosen: {choices}"
    return None


def _explain_composition(error: Exception, configs: Path, config_name: str) -> str:
    """Return what was wrong with a command line or config file, and what to type instead."""
    from hydra.errors import ConfigCompositionException, MissingConfigException, OverrideParseException

    from jacoscope.runs.keys import misspelt_key

    if isinstance(error, MissingConfigException) and error.options:
        group, _, choice = str(error.missing_cfg_file).rpartition("/")
        if group == "hydra/sweeper/sampler" and len(error.options) == 1:  # the others come with the plugin
            return "A search needs Optuna and Hydra's plugin for it: pip install 'jacoscope[sweep]'"
        return (
            f"There is no {group}={choice}.{nearest(choice, error.options, f'{group}=')}\n"
            f"Choices of {group}: {', '.join(sorted(error.options))}"
        )
    if isinstance(error, OverrideParseException):
        return (
            f"{error.override} cannot be read. A key is set with KEY=VALUE, a group's config chosen with GROUP=CHOICE"
        )
    if isinstance(error, ConfigCompositionException):
        if file := re.match(r"In '(.+?)': ConfigTypeError", str(error)):  # Hydra does not chain it
            return f"{file[1]} holds a list; a config file holds keys: KEY: VALUE"
        if misspelt := misspelt_key(sys.argv[1:], configs, config_name):
            return misspelt
    reason = f"\n{error.__cause__}" if error.__cause__ and str(error.__cause__) not in str(error) else ""
    return f"The configuration cannot be composed: {error}{reason}\n{_words_typed()}"


def _words_typed() -> str:
    """Return the words of the command line, whose mistake the error of a library does not name."""
    return f"Typed: {' '.join(sys.argv[1:])}"


def _leave_to_main_thread(raised: threading.ExceptHookArgs) -> None:
    """Print the exception of a thread, unless TensorBoard's could not write: it raises that in the main thread too."""
    if not (isinstance(raised.exc_value, OSError) and _raised_in(raised.exc_value, "tensorboard")):
        threading.__excepthook__(raised)


def _raised_in(error: Exception, *packages: str) -> bool:
    """Whether an exception was raised by the code of one of these packages itself."""
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    module = frame.f_globals["__name__"]
    return any(module == package or module.startswith(f"{package}.") for package in packages)
