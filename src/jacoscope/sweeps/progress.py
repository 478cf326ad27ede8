"""The progress of a sweep: one live line in a terminal; elsewhere, a line for each run that ends."""

import os
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from statistics import fmean

from rich.console import Console
from rich.live import Live
from rich.text import Text

from jacoscope.runs.result import duration
from jacoscope.sweeps.directory import DONE, LOG, Job, SweepDirectory, result_of

INTERVAL = 1.0  # seconds between two readings of the run directories


@contextmanager
def show_progress(sweep: SweepDirectory, jobs: list[Job], total: int | None = None) -> Iterator[None]:
    """Show the progress of a sweep, as its run directories record it, while the body runs.

    It is written to the standard output that this process has now, even if the body redirects it to a file.

    Args:
        sweep: the directory of the sweep.
        jobs: the jobs of this start; the body may append to the list.
        total: how many jobs there will be in the end, for a search.
    """
    with os.fdopen(os.dup(1), "w") as output:
        console = Console(file=output, highlight=False, markup=False)
        stop, progress = threading.Event(), Progress(sweep, jobs, total)
        thread = threading.Thread(target=_follow, args=(console, progress, stop), daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join(timeout=5)


def _follow(console: Console, progress: "Progress", stop: threading.Event) -> None:
    line = Text(progress.line())
    live = Live(line, console=console, auto_refresh=False, transient=True) if console.is_terminal else None
    with live or nullcontext():
        stopped = False
        while not stopped:
            stopped = stop.wait(INTERVAL)
            for job, state in progress.update():
                if live is None:
                    console.print(f"{progress.ending(job, state)} · {progress.line()}", soft_wrap=True)
                elif state == "failed":  # of the others, the live line says enough
                    console.print(progress.ending(job, state), style="red", soft_wrap=True)
            if live is not None:
                live.update(Text(progress.line()), refresh=True)


class Progress:
    """What happened in a sweep since this start, as far as its run directories have been read.

    Args:
        sweep: the directory of the sweep.
        jobs: a list that may grow.
        total: how many jobs there will be in the end, if more.
    """

    def __init__(self, sweep: SweepDirectory, jobs: list[Job], total: int | None = None) -> None:
        self.sweep, self.jobs, self.total = sweep, jobs, total
        self.start = self.now = time.monotonic()
        self.states = {job.number: sweep.state(job) for job in jobs}
        self.began: dict[int, float] = {}  # when a running job was first seen to run
        self.durations: list[float] = []  # seconds, of the runs that are done
        self.side_by_side = 1

    def update(self) -> list[tuple[Job, str]]:
        """Read the run directories of jobs that are not done, and return those that have ended, with their states."""
        before, self.now = self.now, time.monotonic()
        ended = []
        for job in list(self.jobs):
            last = self.states.get(job.number)
            if last in DONE:
                continue
            state = self.states[job.number] = self.sweep.state(job)
            if state == "running":
                self.began.setdefault(job.number, self.now)
                continue
            began = self.began.pop(job.number, before)
            if state in (*DONE, "failed") and state != last:
                ended.append((job, state))
            if state in DONE:
                self.durations.append(self.now - began)
        self.side_by_side = max(self.side_by_side, len(self.began))
        return ended

    def line(self) -> str:
        """Return a line on the whole sweep: how many runs are done, running and failed, and how long it takes."""
        states = Counter(self.states.values())
        total = max(self.total or 0, len(self.jobs))
        done, running, failed = sum(states[name] for name in DONE), states["running"], states["failed"]
        left = total - done - failed
        words = [f"{done} of {total} runs done"]
        words += [f"{running} running"] if running else []
        words += [f"{failed} failed"] if failed else []
        words += ["starting"] if left and not running and not self.durations else []
        words += [duration(self.now - self.start) or "0 s"]
        if seconds := duration(self._seconds(left)):
            words += [f"about {seconds} left"]
        return " · ".join(words)

    def ending(self, job: Job, state: str) -> str:
        """Return a line on how a run ended."""
        path = self.sweep.run_path(job)
        result = result_of(path)
        if state == "failed":
            error = (result and result.error) or "for no recorded reason"
            return f"run {job.number} failed: {error.splitlines()[0]} (what it printed: {path / LOG})"
        return f"run {job.number} {state} after {duration(result.wall_seconds if result else 0) or '0 s'}"

    def _seconds(self, runs: int) -> float:
        """Estimate how long so many runs will take, from those that are done and how many go side by side."""
        if not self.durations or runs <= 0:
            return 0.0
        each = fmean(self.durations)
        spent = sum(min(each, self.now - began) for began in self.began.values())
        return (runs * each - spent) / min(self.side_by_side, runs)
