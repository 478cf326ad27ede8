"""What Ctrl-C (SIGINT), SIGTERM and SIGHUP (a closed terminal) do to a training, a run and a sweep.

A signal that is ignored, as after ``nohup``, stays ignored.
"""

import os
import signal
import stat
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

HANGUP = getattr(signal, "SIGHUP", signal.SIGTERM)  # Windows has no such signal
SIGNALS = tuple(dict.fromkeys((signal.SIGINT, signal.SIGTERM, HANGUP)))
TERMINATED = tuple(128 + number for number in (signal.SIGTERM, HANGUP))
"""Exit statuses after SIGTERM and SIGHUP, as shells report them."""
STOPPED = {status for number in SIGNALS for status in (-number, 128 + number)}
"""Exit statuses of processes that were asked to stop."""


_interrupts: list[int] = []


def interrupt(number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001
    """Note a signal and raise KeyboardInterrupt; a library that it stops may raise another exception in its place."""
    _interrupts.append(number)
    raise KeyboardInterrupt


def first_interrupt() -> int | None:
    """Return the first signal that :func:`interrupt` has noted in this process, or None."""
    return _interrupts[0] if _interrupts else None


class StopRequest:
    """A signal asks a training to stop: it is noted, and the training looks at it between two batches.

    After the first signal, Ctrl-C has its former handler again, and stops at once. A second SIGTERM or SIGHUP changes
    nothing: what ends processes often sends several.

    Attributes:
        number: of the signal that came, or None.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self._before: dict[int, Any] = {}

    def listen(self) -> None:
        """Handle the signals from now on."""
        self.number = None
        if threading.current_thread() is not threading.main_thread():
            return
        for number in SIGNALS:
            if (handler := signal.getsignal(number)) is not signal.SIG_IGN:
                self._before[number] = handler
                signal.signal(number, self._note)

    def end(self) -> None:
        """Handle the signals as before."""
        while self._before:
            signal.signal(*self._before.popitem())

    def _note(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        if number == HANGUP:
            forget_terminal()
        if self.number is not None:
            return
        self.number = number
        if signal.SIGINT in self._before:
            signal.signal(signal.SIGINT, self._before.pop(signal.SIGINT))
        # Not with print, which the signal may have interrupted.
        os.write(2, b"\nStopping as soon as a checkpoint is written. Ctrl-C again stops at once.\n")


@contextmanager
def exit_on_signal() -> Iterator[None]:
    """Raise SystemExit after SIGTERM or SIGHUP, which would end the process of a run without a record.

    Those that have a handler keep it: in the process of a sweep :func:`one_interrupt` handles them. During the training
    :class:`StopRequest` does.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handled = [number for number in (signal.SIGTERM, HANGUP) if signal.getsignal(number) == signal.SIG_DFL]

    def leave(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        if number == HANGUP:
            forget_terminal()
        if not isinstance(sys.exc_info()[1], KeyboardInterrupt | SystemExit):  # else the record is being written
            raise SystemExit(128 + number)

    for number in handled:
        signal.signal(number, leave)
    try:
        yield
    finally:
        for number in handled:
            signal.signal(number, signal.SIG_DFL)


@contextmanager
def one_interrupt() -> Iterator[None]:
    """Handle SIGTERM and SIGHUP like Ctrl-C, and ignore all of them after the first, which ends a sweep.

    Another one would stop the cleaning up, and leave processes that go on training.
    """
    before = {number: signal.getsignal(number) for number in SIGNALS}
    handled = [number for number, current in before.items() if callable(current) or current == signal.SIG_DFL]

    def handle_once(number: int, frame: FrameType | None) -> None:
        for each in handled:
            signal.signal(each, lambda *_: None)  # Python prints an error where one is ignored that has just come
        if number == HANGUP:
            forget_terminal()
        interrupt(number, frame)

    for number in handled:
        signal.signal(number, handle_once)
    yield
    for number in handled:  # not in a finally: after the first they stay ignored to the end
        signal.signal(number, before[number])


def forget_terminal() -> None:
    """Send everything that is printed from now on nowhere, if it went to a terminal: writing to a closed one fails."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):
        if stat.S_ISCHR(os.fstat(descriptor).st_mode):
            os.dup2(nowhere, descriptor)
    os.close(nowhere)
