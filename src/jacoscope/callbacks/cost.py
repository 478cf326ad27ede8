"""What watching costs: the seconds spent in a callback, and their share of the time that passed."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Cost:
    """A stopwatch that runs while something is counted.

    >>> cost = Cost()
    >>> with cost.counted():
    ...     time.sleep(0.01)
    >>> seconds, share = cost.lap()
    >>> seconds >= 0.01, 0 < share <= 1, cost.lap()[0]
    (True, True, 0.0)
    """

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Begin anew: nothing is spent, no time has passed."""
        self._spent, self._since = 0.0, time.perf_counter()

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Count the time that passes inside."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self._spent += time.perf_counter() - start

    def lap(self) -> tuple[float, float]:
        """Give the seconds spent since the last lap and their share of all that passed, and begin anew."""
        passed = time.perf_counter() - self._since
        spent = self._spent
        self.restart()
        return spent, spent / passed
