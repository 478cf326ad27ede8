"""How a sweep goes on: one live line in a terminal; elsewhere, a line for each run that ends."""

import os
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import fmean

from rich.console import Console
from rich.live import Live
from rich.text import Text

from jacoscope.runs.result import duration
from jacoscope.sweeps.directory import DONE, LOG, Job, SweepDirectory, result_of

INTERVAL = 1.0  # seconds between looks at the directories
ENDED = (*DONE, "failed")


@contextmanager
def progress(sweep: SweepDirectory, jobs: list[Job], total: int | None = None) -> Iterator[None]:
    """Show how the jobs of a sweep stand, as their directories tell, while the body goes on.

    It is written past what redirects this process's output, so that launchers, and jobs which run in this process,
    can have theirs sent to a file.

    Args:
        sweep: where the jobs lie.
        jobs: those that this start has to carry out; more may be added while the body goes on.
        total: of a search, how many there will be.
    """
    with os.fdopen(os.dup(1), "w") as terminal:
        console = Console(file=terminal, highlight=False, markup=False)
        stop, course = threading.Event(), Course(sweep, jobs, total)
        follow = _follow_live if terminal.isatty() else _follow
        thread = threading.Thread(target=follow, args=(console, course, stop), daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join(timeout=5)


def _follow_live(console: Console, course: "Course", stop: threading.Event) -> None:
    """Keep one line up to date; only failures are worth one of their own."""
    with Live(Text(course.line()), console=console, auto_refresh=False, transient=True) as live:
        stopped = False
        while not stopped:
            stopped = stop.wait(INTERVAL)
            for job, state in course.look():
                if state == "failed":
                    console.print(course.ending(job, state), style="red", soft_wrap=True)
            live.update(Text(course.line()), refresh=True)


def _follow(console: Console, course: "Course", stop: threading.Event) -> None:
    stopped = False
    while not stopped:
        stopped = stop.wait(INTERVAL)
        for job, state in course.look():
            console.print(f"{course.ending(job, state)} · {course.line()}", soft_wrap=True)


class Course:
    """The course of a sweep since this start, from one look at its directories to the next.

    Args:
        sweep: where the jobs lie.
        jobs: a list that may grow.
        total: how many there will be, if more.
    """

    def __init__(self, sweep: SweepDirectory, jobs: list[Job], total: int | None = None) -> None:
        self.sweep, self.jobs, self.total = sweep, jobs, total
        self.start = self.seen = time.monotonic()
        self.states = {job.number: sweep.state(job) for job in jobs}
        self.began: dict[int, float] = {}  # when a running job was seen first
        self.took: list[float] = []  # seconds, of those that finished
        self.side_by_side = 1

    def look(self) -> list[tuple[Job, str]]:
        """Give the runs that ended since the last look, each with how; those that are done are not looked at again."""
        before, self.seen = self.seen, time.monotonic()
        ended = []
        for job in list(self.jobs):
            then = self.states.get(job.number)
            if then in DONE:
                continue
            now = self.states[job.number] = self.sweep.state(job)
            if now == "running":
                self.began.setdefault(job.number, self.seen)
                continue
            began = self.began.pop(job.number, before)
            if now in ENDED and now != then:
                ended.append((job, now))
            if now in DONE:
                self.took.append(self.seen - began)
        self.side_by_side = max(self.side_by_side, len(self.began))
        return ended

    def line(self) -> str:
        """Say how the sweep stands."""
        states = Counter(self.states.values())
        total = max(self.total or 0, len(self.jobs))
        done, running, failed = sum(states[name] for name in DONE), states["running"], states["failed"]
        left = total - done - failed
        words = [f"{done} of {total} runs done"]
        words += [f"{running} running"] if running else []
        words += [f"{failed} failed"] if failed else []
        words += ["starting"] if left and not running and not self.took else []
        words += [duration(self.seen - self.start) or "0 s"]
        if seconds := duration(self._seconds(left)):
            words += [f"about {seconds} left"]
        return " · ".join(words)

    def ending(self, job: Job, state: str) -> str:
        """Say how a run ended."""
        path = self.sweep.run_path(job)
        result = result_of(path)
        if state == "failed":
            error = (result and result.error) or "for no recorded reason"
            return f"run {job.number} failed: {error.splitlines()[0]} (what it printed: {path / LOG})"
        return f"run {job.number} {state} after {duration(result.wall_seconds if result else 0) or '0 s'}"

    def _seconds(self, runs: int) -> float:
        """Estimate how long so many runs will take, from how long others took and how many go side by side."""
        if not self.took or runs <= 0:
            return 0.0
        each = fmean(self.took)
        spent = sum(min(each, self.seen - began) for began in self.began.values())
        return (runs * each - spent) / min(self.side_by_side, runs)
