"""Several processes that work together: where one of them ends, the others do not wait for it."""

import logging
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SWEEP_PROCESS = "JACOSCOPE_SWEEP_PROCESS"  # the id of the process that a job of a sweep must not outlive
FIRST_PROCESS = "JACOSCOPE_FIRST_PROCESS"  # and of the one that the others of its training must not outlive
OF_A_TRAINING = "LOCAL_RANK"  # what Lightning and torchrun tell the processes that they start
WATCH = "lightning_fabric.strategies.launchers.subprocess_script"  # where the first process watches the others


def end_with_parent() -> None:
    """End this process with the one that it works for: a sweep, the first process of a training, or torchrun.

    Otherwise, where that one dies before all have found each other, the others would wait for it for half an hour.
    """
    parent = str(os.getppid())
    if OF_A_TRAINING in os.environ:
        parent = os.environ.get(FIRST_PROCESS, parent)  # it may have died before this one could look
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


@contextmanager
def last_words(then: Callable[[str], None]) -> Iterator[None]:
    """Call ``then`` with the reason when Lightning's watch ends this process, which it does at once and by force."""
    handler = _LastWords(then)
    logging.getLogger(WATCH).addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger(WATCH).removeHandler(handler)


def tell(reason: str) -> None:
    """Write past all that Python buffers, which is lost where a process is ended by force."""
    os.write(2, f"\n{reason}\n".encode())


def in_words(error: BaseException) -> str | None:
    """Say of an error that it comes from another process having ended; of any other error, nothing."""
    if "torch" not in sys.modules:
        return None
    from torch.distributed import DistError

    if not isinstance(error, DistError) and not (isinstance(error, RuntimeError) and "/gloo/" in str(error)):
        return None
    return _lost(re.sub(r"^\[\S+\] ", "", str(error)).partition(". ")[0])  # without torch's own file and line


class _LastWords(logging.Handler):
    def __init__(self, then: Callable[[str], None]) -> None:
        super().__init__()
        self._then = then

    def emit(self, record: logging.LogRecord) -> None:
        _, of_its_end, rest = record.getMessage().partition("terminated with code")
        if of_its_end:
            try:
                self._then(_lost(f"it left with status{rest.partition('.')[0]}"))
            except Exception:
                self.handleError(record)  # the watch must go on to end this process


def _lost(reason: str) -> str:
    return (
        f"Another process of this run has ended, or cannot be reached: {reason}\n"
        "The same command, with run_name=…, goes on from the last checkpoint"
    )
