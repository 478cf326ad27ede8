"""The frame around an entry script.

Next to nothing is imported here: Ctrl-C while the rest is loading ends in a message too.
"""

import signal
import sys
from collections.abc import Callable
from functools import wraps
from types import FrameType
from typing import Any, NoReturn

Task = Callable[[Any], Any]
"""A function of a config."""


def command(config_name: str) -> Callable[[Task], Callable[[], None]]:
    """Make a function of a config an entry script, composed by Hydra from ``configs/`` beside it.

    What goes wrong by a user's mistake (:class:`UserError`, a config that cannot be composed) is told in one message
    on stderr, with exit status 1. Ctrl-C leaves with status 130, as a shell expects. A traceback means a defect of
    jacoscope, not of the command line; ``JACOSCOPE_TRACEBACK=1`` in the environment shows it for mistakes too.

    Args:
        config_name: the primary config, without ``.yaml``.
    """

    def decorate(task: Task) -> Callable[[], None]:
        @wraps(task)
        def run() -> None:
            if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # in the background it is ignored
                signal.signal(signal.SIGINT, _interrupt)
            try:
                from jacoscope.runs.entry import enter

                enter(task, config_name)
            except KeyboardInterrupt as stop:
                leave(str(stop) or "Stopped.", status=130)
            except Exception:
                if not interrupted():
                    raise
                leave("Stopped.", status=130)

        return run

    return decorate


_interrupts: list[int] = []


def _interrupt(number: int, frame: FrameType | None) -> None:
    _interrupts.append(number)
    signal.default_int_handler(number, frame)


def interrupted() -> bool:
    """Tell whether Ctrl-C came: a library that it stops half-way may fail with an error of its own."""
    return bool(_interrupts)


def leave(message: str, status: int = 1) -> NoReturn:
    """End the process with a message on stderr."""
    print(f"\n{message}", file=sys.stderr)
    sys.exit(status)
