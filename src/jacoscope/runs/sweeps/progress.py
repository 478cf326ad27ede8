"""One live line for a whole sweep: done, running, failed, time left."""

import os
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.text import Text

from jacoscope.runs.overview.terminal import duration
from jacoscope.runs.sweeps.directory import DONE, Job, SweepDirectory

INTERVAL = 1.0  # seconds between looks at the directories


@contextmanager
def progress(sweep: SweepDirectory, jobs: list[Job], total: int | None = None) -> Iterator[None]:
    """Show how the jobs of a sweep stand, as their directories tell, while the body goes on.

    The line is live in a terminal, and left out where the output goes elsewhere. It is written past what redirects
    this process's output, so that jobs which run in this process can have theirs sent to a file.

    Args:
        sweep: where the jobs lie.
        jobs: those that this start has to carry out; more may be added while the body goes on.
        total: of a search, how many there will be.
    """
    with os.fdopen(os.dup(1), "w") as terminal:
        if not terminal.isatty():
            yield
            return
        stop, line = threading.Event(), _Line(sweep, jobs, total)

        def follow() -> None:
            with Live(line.text(), console=Console(file=terminal), refresh_per_second=4, transient=True) as live:
                while not stop.wait(INTERVAL):
                    live.update(line.text())

        thread = threading.Thread(target=follow, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join(timeout=5)


class _Line:
    """What the line says; runs that are over are not looked at again."""

    def __init__(self, sweep: SweepDirectory, jobs: list[Job], total: int | None) -> None:
        self.sweep, self.jobs, self.total = sweep, jobs, total
        self.over: dict[int, str] = {job.number: state for job in jobs if (state := sweep.state(job)) in DONE}
        self.before, self.began = len(self.over), time.monotonic()

    def text(self) -> Text:
        states = Counter(self._state(job) for job in list(self.jobs))
        total = max(self.total or 0, len(self.jobs))
        done, running, failed = sum(states[name] for name in DONE), states["running"], states["failed"]
        words = f"{done} of {total} runs done · {running} running"
        if failed:
            words += f" · {failed} failed"
        elapsed, ended = time.monotonic() - self.began, done + failed - self.before
        words += f" · {duration(elapsed) or '0 s'}"
        if ended > 0 and done + failed < total:
            words += f" · about {duration(elapsed / ended * (total - done - failed))} left"
        return Text(words)

    def _state(self, job: Job) -> str:
        if job.number in self.over:
            return self.over[job.number]
        state = self.sweep.state(job)
        if state in DONE:
            self.over[job.number] = state
        return state
