"""Lock the directory of a run or sweep, so that one process at a time works in it.

The operating system releases the lock when its process ends, even by kill -9.
"""

import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from shlex import quote
from typing import IO

from jacoscope.commands import typed
from jacoscope.errors import UserError
from jacoscope.runs.processes import is_first

try:
    import fcntl
except ImportError:  # on Windows nothing is locked
    fcntl = None  # type: ignore[assignment]

LOCK_FILE = ".lock"


@contextmanager
def alone_in(directory: Path, wait: bool = False) -> Iterator[None]:
    """Lock ``directory`` while the body runs. Of processes that train together, the first takes the lock.

    Args:
        directory: made if it does not exist.
        wait: wait until another process releases the lock, instead of refusing.

    Raises:
        UserError: if another process holds the lock, and ``wait`` is false.
    """
    if not is_first():
        yield
        return
    with _locked(directory, wait) as file:
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()} (since {datetime.now():%Y-%m-%d %H:%M:%S})\n")
        file.flush()
        try:
            yield
        finally:
            with suppress(OSError):
                if [path.name for path in directory.iterdir()] == [LOCK_FILE]:  # nothing was done there
                    (directory / LOCK_FILE).unlink()


def _locked(directory: Path, wait: bool) -> IO[str]:
    """Open the lock file of a directory, and lock it."""
    directory.mkdir(parents=True, exist_ok=True)
    file = (directory / LOCK_FILE).open("a+")
    try:
        if not take_lock(file.fileno()):
            time.sleep(0.1)  # it may have been `is_held`, which holds the lock for a moment
            if not take_lock(file.fileno()):
                _wait_for(file, directory, wait)
        is_there = os.path.samestat(os.fstat(file.fileno()), (directory / LOCK_FILE).stat())
    except FileNotFoundError:  # the process before did nothing, and has removed it
        is_there = False
    except BaseException:
        file.close()
        raise
    if is_there:
        return file
    file.close()
    return _locked(directory, wait)


def _wait_for(file: IO[str], directory: Path, wait: bool) -> None:
    file.seek(0)
    holder = file.read().strip() or "another process"
    if not wait:
        raise UserError(
            f"{directory} is being worked on by {holder}. Wait until it is done; to see its state: "
            f"{typed('runs')} {quote(str(directory))}"
        )
    print(f"Waiting for {holder}, which works on {directory}", file=sys.stderr, flush=True)
    fcntl.flock(file, fcntl.LOCK_EX)


def is_held(directory: Path) -> bool:
    """Whether a process has locked ``directory`` by :func:`alone_in`."""
    try:
        with (directory / LOCK_FILE).open("r") as file:
            return not take_lock(file.fileno(), shared=True)  # two processes that look do not see each other
    except OSError:
        return False


def take_lock(descriptor: int, shared: bool = False) -> bool:
    """Lock an open file if it is free, and return whether it was. Without locks on this system, it always is."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # the file system has no locks
        return True
    return True
