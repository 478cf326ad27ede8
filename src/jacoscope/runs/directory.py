"""A run is a directory: how it may be called, where in it things lie, and how one is found."""

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from jacoscope.errors import UserError
from jacoscope.files import remove_unfinished
from jacoscope.runs.processes import in_words, last_words
from jacoscope.runs.result import Result

LONGEST_NAME = 255  # bytes, of a folder on nearly every file system
TERMINATED = 128 + signal.SIGTERM  # the exit status by which a shell tells it


def folder_of(run_name: Any) -> str:
    """Give the name of a run, as a folder below that of all runs, where it is one; ``a/b`` is a folder in a folder.

    Hydra asks for it (``${folder_of:${run_name}}``) before it makes the folder.

    Raises:
        UserError: if it is not a text, or would be another place than one below.

    >>> folder_of("wide/2")
    'wide/2'
    """
    if not isinstance(run_name, str):
        kind = type(run_name).__name__
        raise UserError(f"run_name={run_name} is of type {kind}, not a text: add a letter, run_name=run{run_name}")
    path = Path(run_name)
    if not path.parts or path.is_absolute() or ".." in path.parts:
        raise UserError(f"run_name={run_name} leads out of the folder of runs: it is a folder in there, as in a or a/b")
    if "$" in run_name:  # TensorBoard's logger would put a variable of the environment in its place, and log there
        raise UserError(f"run_name={run_name} cannot be the name of a folder: it holds a $. Leave that out")
    if not run_name.isprintable() or any(len(os.fsencode(part)) > LONGEST_NAME for part in path.parts):
        raise UserError(
            f"run_name={run_name!r} cannot be the name of a folder: "
            f"it is at most {LONGEST_NAME} bytes, all of them letters, digits and signs that can be seen"
        )
    return run_name


class RunDirectory:
    """All that is known about one run.

    Args:
        path: the directory; it need not exist yet.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    @property
    def result_file(self) -> Path:
        return self.path / "result.json"

    @property
    def best_checkpoint(self) -> Path:
        return self.path / "checkpoints" / "best.ckpt"

    @property
    def last_checkpoint(self) -> Path:
        return self.path / "checkpoints" / "last.ckpt"

    @property
    def previous_checkpoint(self) -> Path:
        return self.path / "checkpoints" / "previous.ckpt"

    def checkpoint_to_go_on_from(self) -> Path | None:
        """Give the latest whole checkpoint of an interrupted start, or none for a start from scratch.

        Raises:
            UserError: if there are checkpoints but none is whole, or one holds more than data.
        """
        # Not at the top: it takes torch, which those who only look at runs need not wait for.
        from jacoscope.checkpoints import DamagedCheckpointError, read_checkpoint

        damaged = []
        for path in (self.last_checkpoint, self.previous_checkpoint):
            if not path.exists():
                continue
            try:
                read_checkpoint(path)
            except DamagedCheckpointError as error:
                damaged.append(str(error))
                continue
            if damaged:
                print(f"{damaged[0]}\nGoing on from the one before it: {path}", file=sys.stderr)
            return path
        if damaged:
            raise UserError(
                "\n".join(damaged) + f"\nTo start this run anew, remove the folder {self.last_checkpoint.parent}"
            )
        return None

    def earlier_result(self, config: dict[str, Any]) -> Result | None:
        """Give the record of an earlier start of this run, if there was one.

        Raises:
            UserError: if that was with another config.
        """
        if not self.result_file.exists():
            return None
        result = Result.read(self.result_file)
        if differences := result.differences(config):
            raise UserError(
                f"{self.path} holds a run with another configuration:\n  "
                + "\n  ".join(differences)
                + "\nType the same configuration to go on with it, or leave run_name out to start a new run"
            )
        return result

    @contextmanager
    def recording(self, config: dict[str, Any], earlier: Result | None) -> Iterator[Result]:
        """Record a run while the body goes on: as running at first, then as what became of it.

        Args:
            config: the composed config, resolved.
            earlier: the record of an interrupted start that the body goes on with.

        Yields:
            The record, for the body to put metrics in.
        """
        now = datetime.now().astimezone().isoformat(timespec="seconds")
        result = Result("running", config, config["seed"], started=earlier.started if earlier else now)
        before = earlier.wall_seconds if earlier else 0.0
        start = time.monotonic()

        def write() -> None:
            result.wall_seconds = round(before + time.monotonic() - start, 3)
            self._write(result)

        def failed(reason: str) -> None:
            if result.status == "running":
                result.status, result.error = "failed", reason
            write()

        self._begin(result)
        with last_words(failed):
            try:
                yield result
                result.status = "finished"
            except (KeyboardInterrupt, SystemExit) as stop:  # Lightning turns Ctrl-C into SystemExit, after tidying up
                result.status = "interrupted"
                told = (
                    "Stopped. What was written stays; the same command with "
                    f"run_name={config['run_name']} goes on from the last checkpoint"
                )
                if _was_terminated(stop):
                    print(f"\n{told}", file=sys.stderr)
                    raise SystemExit(TERMINATED) from stop
                raise KeyboardInterrupt(told) from stop
            except BaseException as error:
                result.status, result.error = "failed", in_words(error) or f"{type(error).__name__}: {error}"
                raise
            finally:
                write()

    def _begin(self, result: Result) -> None:
        for folder in (self.path, self.last_checkpoint.parent):
            remove_unfinished(folder)
        self._write(result)

    def _write(self, result: Result) -> None:
        from pytorch_lightning.utilities import rank_zero_only  # seconds to import, and readers need it not

        rank_zero_only(result.write)(self.result_file)


def _was_terminated(stop: BaseException) -> bool:
    """Tell whether SIGTERM stopped a run: while it trained, or, by an exception of Lightning's, while it was tested."""
    from pytorch_lightning.utilities.exceptions import SIGTERMException

    return isinstance(stop, SIGTERMException) or (isinstance(stop, SystemExit) and stop.code == TERMINATED)


def latest_run(log_dir: str | Path) -> RunDirectory:
    """Give the finished run that was started last, of all single runs and sweeps below ``log_dir``.

    Raises:
        UserError: if there is none.
    """
    finished = []
    for file in Path(log_dir).glob("train/**/result.json"):
        result = Result.read(file)
        if result.status == "finished":
            finished.append((datetime.fromisoformat(result.started), file.parent))
    if not finished:
        raise UserError(f"There is no finished run in {log_dir}/train: make one with python train.py")
    return RunDirectory(max(finished)[1])
