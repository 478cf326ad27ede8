"""Lock the directory of a run or sweep, so that one process at a time works in it.

The operating system releases the lock when its process ends, even by kill -9.
"""

import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from jacoscope.commands import typed
from jacoscope.errors import UserError

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
    if os.environ.get("LOCAL_RANK", "0") != "0":
        yield
        return
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / LOCK_FILE).open("a+") as file:
        taken = take_lock(file.fileno())
        if not taken:
            time.sleep(0.1)  # it may have been `is_held`, which holds the lock for a moment
            taken = take_lock(file.fileno())
        if not taken:
            file.seek(0)
            holder = file.read().strip() or "another process"
            if not wait:
                raise UserError(
                    f"{directory} is being worked on by {holder}. Wait until it is done; to see its state: "
                    f"{typed('runs')} {directory}"
                )
            print(f"Waiting for {holder}, which works on {directory}", file=sys.stderr, flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()} (since {datetime.now():%Y-%m-%d %H:%M:%S})\n")
        file.flush()
        yield


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
