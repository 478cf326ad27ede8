"""One process at a time in a run or sweep directory.

The operating system lets go of the lock when its process dies, even by kill -9.
"""

import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jacoscope.errors import UserError

try:
    import fcntl
except ImportError:  # Windows: nothing is locked there
    fcntl = None  # type: ignore[assignment]

LOCK_FILE = ".lock"


@contextmanager
def alone_in(directory: Path, wait: bool = False) -> Iterator[None]:
    """Be the only process in ``directory`` while the body goes on; of processes that train together, the first.

    Args:
        directory: made if it does not exist.
        wait: wait for the process that is in there, instead of refusing.

    Raises:
        UserError: if another process is in there, and ``wait`` is false.
    """
    if os.environ.get("LOCAL_RANK", "0") != "0":
        yield
        return
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / LOCK_FILE).open("a+") as file:
        taken = take_lock(file.fileno())
        if not taken:
            time.sleep(0.1)  # whoever only looks has let go of it by then
            taken = take_lock(file.fileno())
        if not taken:
            file.seek(0)
            holder = file.read().strip() or "another process"
            if not wait:
                raise UserError(
                    f"{directory} is being worked on by {holder}. Wait until it is done; looking at it is always "
                    f"possible: python -m jacoscope.runs {directory}"
                )
            print(f"Waiting for {holder}, which is in the midst of {directory}", file=sys.stderr, flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        yield


def is_held(directory: Path) -> bool:
    """Tell whether a process is in ``directory`` by :func:`alone_in`."""
    try:
        with (directory / LOCK_FILE).open("r") as file:
            return not take_lock(file.fileno(), shared=True)  # two who look do not take each other for a holder
    except OSError:
        return False


def take_lock(descriptor: int, shared: bool = False) -> bool:
    """Lock an open file if it is free, and tell whether it was; where there are no locks, believe that it was."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True
