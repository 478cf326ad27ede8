"""What a sweep shows while it runs."""

import os
import pty
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from jacoscope.runs.lock import alone_in
from jacoscope.runs.result import Result
from jacoscope.sweeps import progress
from jacoscope.sweeps.directory import Job, SweepDirectory


class Sweep:
    """Four runs that begin and end when the test says so, and a clock."""

    def __init__(self, folder: Path) -> None:
        self.directory = SweepDirectory(folder, jobs=[Job(number, (f"seed={number}",)) for number in range(4)])
        self.now = 0.0
        self.at_work: dict[int, ExitStack] = {}

    def monotonic(self) -> float:
        return self.now

    def begin(self, *numbers: int) -> None:
        for number in numbers:
            self._record(number, "running")
            self.at_work[number] = ExitStack()
            self.at_work[number].enter_context(alone_in(self.directory.path / str(number)))

    def end(self, number: int, status: str = "finished", error: str | None = None) -> None:
        self.at_work.pop(number).close()
        self._record(number, status, error)

    def _record(self, number: int, status: str, error: str | None = None) -> None:
        result = Result(status, {}, number, started="2026-01-01T00:00:00+00:00", error=error, wall_seconds=58.0)
        result.write(self.directory.path / str(number) / "result.json")


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sweep]:
    sweep = Sweep(tmp_path)
    yield sweep
    for number in list(sweep.at_work):
        sweep.end(number)


def test_the_line_counts_and_tells_the_time_left(sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress.time, "monotonic", sweep.monotonic)
    shown = progress.Progress(sweep.directory, sweep.directory.jobs)

    def at(seconds: float) -> tuple[list[str], str]:
        sweep.now = seconds
        return [shown.ending(job, state) for job, state in shown.update()], shown.line()

    assert at(5) == ([], "0 of 4 runs done · starting · 5 s")
    sweep.begin(0, 1)
    assert at(10) == ([], "0 of 4 runs done · 2 running · 10 s")
    sweep.end(0)
    told = ["run 0 finished after 58 s"]
    # Three runs are left, a minute each, two at a time; one of them is about to end.
    assert at(70) == (told, "1 of 4 runs done · 1 running · 1 min 10 s · about 1 min 00 s left")
    sweep.end(1)
    sweep.begin(2, 3)
    at(70)
    assert at(100) == ([], "2 of 4 runs done · 2 running · 1 min 40 s · about 30 s left")
    sweep.end(2, "failed", "RuntimeError: no luck\nand more")
    told = [f"run 2 failed: RuntimeError: no luck (what it printed: {sweep.directory.path}/2/output.log)"]
    assert at(105) == (told, "2 of 4 runs done · 1 running · 1 failed · 1 min 45 s · about 25 s left")
    sweep.end(3)
    assert at(130) == (["run 3 finished after 58 s"], "3 of 4 runs done · 1 failed · 2 min 10 s")


@contextmanager
def output_into(descriptor: int) -> Iterator[None]:
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(descriptor, 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def carried_out(sweep: Sweep) -> None:
    with progress.show_progress(sweep.directory, sweep.directory.jobs):
        sweep.begin(0, 1, 2, 3)
        for number in range(3):
            sweep.end(number)
        sweep.end(3, "failed", "RuntimeError: no luck")


def read(terminal: int) -> str:
    """Return what has been written so far; empty text when nobody writes any more."""
    try:
        return os.read(terminal, 100_000).decode()
    except OSError:  # Linux raises it when nobody has the other end open
        return ""


def test_in_a_terminal_one_line_is_left_for_each_failure_and_none_besides(sweep: Sweep) -> None:
    terminal, end = pty.openpty()
    with output_into(end):
        carried_out(sweep)
    os.close(end)
    written = "".join(iter(lambda: read(terminal), ""))
    os.close(terminal)
    assert "0 of 4 runs done" in written
    before, _, after = written.partition("run 3 failed: RuntimeError: no luck")
    assert "\n" not in before
    assert "finished" not in written
    assert after.endswith("\x1b[2K"), "the live line is wiped out in the end"


def test_where_output_goes_to_a_file_each_run_is_told_when_it_ends(sweep: Sweep, tmp_path: Path) -> None:
    with (tmp_path / "told").open("wb") as file, output_into(file.fileno()):
        carried_out(sweep)
    *finished, failed = (tmp_path / "told").read_text().splitlines()
    assert [line.partition(" · ")[0] for line in finished] == [f"run {n} finished after 58 s" for n in range(3)]
    assert "run 3 failed: RuntimeError: no luck" in failed
    assert "3 of 4 runs done · 1 failed" in failed
