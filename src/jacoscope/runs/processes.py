"""Processes that depend on each other: if one of them ends, the others do not wait for it."""

import logging
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from jacoscope.errors import UserError
from jacoscope.signals import STOPPED

SWEEP_PROCESS = "JACOSCOPE_SWEEP_PROCESS"  # set by a sweep, for its jobs: its process id, with which they end
FIRST_PROCESS = "JACOSCOPE_FIRST_PROCESS"  # set by the first process of a training, for the others
LOCAL_RANK = "LOCAL_RANK"  # set by Lightning and torchrun in the processes that they start
DISTRIBUTED = (LOCAL_RANK, "NODE_RANK", "RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "PL_GLOBAL_SEED")
"""Environment variables that tell a process which one of a training it is."""
TORCHRUN = "TORCHELASTIC_"  # the environment variables that only torchrun sets begin with this
WATCHER = "lightning_fabric.strategies.launchers.subprocess_script"  # in the first process, it watches the others


def end_with_parent() -> None:
    """End this process as soon as its parent ends: a sweep, the first process of a training, or torchrun.

    Without this, if the parent dies before all processes have connected, the others would wait for half an hour.
    """
    parent = str(os.getppid())
    if LOCAL_RANK in os.environ:
        parent = os.environ.get(FIRST_PROCESS, parent)  # the parent may be dead already
    else:
        os.environ[FIRST_PROCESS] = str(os.getpid())
        if os.environ.get(SWEEP_PROCESS) != parent:
            return
    if any(thread.name == SWEEP_PROCESS for thread in threading.enumerate()):
        return

    def watch() -> None:
        while str(os.getppid()) == parent:
            time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, name=SWEEP_PROCESS, daemon=True).start()


def is_first() -> bool:
    """Whether this process is the first, or the only one, of a training."""
    return os.environ.get(LOCAL_RANK, "0") == "0"


@contextmanager
def on_forced_end(then: Callable[[str, bool], None]) -> Iterator[None]:
    """Call ``then`` before Lightning kills this process because another one of its training ended.

    Its arguments are the reason, and whether the other process was stopped by Ctrl-C, SIGTERM or SIGHUP.
    Lightning polls the exit codes of the other processes and kills this one by SIGKILL, without an exception. Its log
    message is the only sign before that. To poll the exit codes here too would be a race with Lightning.
    """
    handler = _ForcedEndHandler(then)
    logging.getLogger(WATCHER).addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger(WATCHER).removeHandler(handler)


def print_unbuffered(message: str) -> None:
    """Print to stderr without Python's buffers, which are lost if the process is killed."""
    os.write(2, f"\n{message}\n".encode())


def lost_process(error: BaseException) -> str | None:
    """Return a message if ``error`` was caused by the end of another process, otherwise None."""
    if "torch" not in sys.modules:
        return None
    from torch.distributed import DistError

    # Gloo raises a plain RuntimeError if a connection is closed; only the path of its source file tells.
    if not isinstance(error, DistError) and not (isinstance(error, RuntimeError) and "/gloo/" in str(error)):
        return None
    return _message(re.sub(r"^\[\S+\] ", "", str(error)).partition(". ")[0])  # without file and line of torch


def leave_torchrun() -> None:
    """If torchrun started this process, continue as an ordinary process, or exit if it is not the first one.

    One process launches a sweep. Its runs train in as many processes as ``trainer.devices`` says, which Lightning
    starts.

    Raises:
        UserError: if torchrun works on several machines, which those runs would not reach.
    """
    if not any(name.startswith(TORCHRUN) for name in os.environ):
        return
    if os.environ["LOCAL_WORLD_SIZE"] != os.environ["WORLD_SIZE"]:
        raise UserError(
            "torchrun on several machines can only start single runs. For a sweep on several machines start one "
            "process, with hydra/launcher=slurm or hydra/launcher=ray"
        )
    if os.environ["RANK"] != "0":
        sys.exit()
    for name in list(os.environ):
        if name in DISTRIBUTED or name.startswith(TORCHRUN):
            del os.environ[name]


class _ForcedEndHandler(logging.Handler):
    def __init__(self, then: Callable[[str, bool], None]) -> None:
        super().__init__()
        self._then = then

    def emit(self, record: logging.LogRecord) -> None:
        if ended := re.search(r"terminated with code (-?\d+)", record.getMessage()):
            try:
                self._then(_message(f"it left with status {ended[1]}"), int(ended[1]) in STOPPED)
            except Exception:
                self.handleError(record)  # Lightning's thread must go on, to end this process


def _message(reason: str) -> str:
    return (
        f"Another process of this run has ended, or cannot be reached: {reason}\n"
        "The same command, with run_name=…, resumes from the last checkpoint"
    )
