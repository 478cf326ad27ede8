"""The directory of a run: its name, what lies where in it, and the record of what happened."""

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
from jacoscope.runs.processes import lost_process, on_forced_end
from jacoscope.runs.result import Result, differences, now

LONGEST_NAME = 255  # bytes of a folder's name, on nearly every file system
TERMINATED = 128 + signal.SIGTERM  # exit status after SIGTERM, as shells report it


def folder_of(run_name: Any) -> str:
    """Return the name of a run, if it can be a folder inside the folder of runs. ``a/b`` is a folder in a folder.

    Hydra calls this for ``${folder_of:${run_name}}``, before it makes the folder.

    Raises:
        UserError: if it is not a string, or is not a path inside the folder of runs.

    >>> folder_of("wide/2")
    'wide/2'
    """
    if not isinstance(run_name, str):
        kind = type(run_name).__name__
        raise UserError(f"run_name={run_name} is of type {kind}, not a string: add a letter, run_name=run{run_name}")
    path = Path(run_name)
    if not path.parts or path.is_absolute() or ".." in path.parts:
        raise UserError(f"run_name={run_name} leads out of the folder of runs: it is a folder in there, as in a or a/b")
    if "$" in run_name:  # TensorBoard's logger would replace it by an environment variable, and log elsewhere
        raise UserError(f"run_name={run_name} cannot be the name of a folder: it holds a $. Leave that out")
    if not run_name.isprintable() or any(len(os.fsencode(part)) > LONGEST_NAME for part in path.parts):
        raise UserError(
            f"run_name={run_name!r} cannot be the name of a folder: "
            f"it has at most {LONGEST_NAME} bytes, and printable characters only"
        )
    return run_name


class RunDirectory:
    """The directory of one run, with its config, checkpoints, logs and ``result.json``.

    Args:
        path: the directory; it need not exist yet.

    Attributes:
        result_file: the record.
        best_checkpoint: the weights with the lowest validation loss.
        last_checkpoint: the state to resume from.
        previous_checkpoint: the one before it.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.result_file = self.path / "result.json"
        checkpoints = self.path / "checkpoints"
        self.best_checkpoint, self.last_checkpoint, self.previous_checkpoint = (
            checkpoints / f"{name}.ckpt" for name in ("best", "last", "previous")
        )

    def checkpoint_to_resume(self) -> Path | None:
        """Return the latest undamaged checkpoint, or None if there is no checkpoint.

        Raises:
            UserError: if all checkpoints are damaged, or one contains more than data.
        """
        from jacoscope.checkpoints import DamagedCheckpointError, read_checkpoint  # imports torch, as readers need not

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
                print(f"{damaged[0]}\nResuming from the one before it: {path}", file=sys.stderr)
            return path
        if damaged:
            raise UserError(
                "\n".join(damaged)
                + f"\nTo start this run from scratch, remove the folder {self.last_checkpoint.parent}"
            )
        return None

    def recorded_result(self, config: dict[str, Any]) -> Result | None:
        """Return the record of an earlier start of this run, or None if there was none.

        Raises:
            UserError: if it had another config.
        """
        if not self.result_file.exists():
            return None
        result = Result.read(self.result_file)
        if changes := differences(result.config, config):
            raise UserError(
                f"{self.path} holds a run with another configuration:\n  "
                + "\n  ".join(changes)
                + "\nType the same configuration to resume it, or leave run_name out to start a new run"
            )
        return result

    @contextmanager
    def recording(self, config: dict[str, Any], earlier: Result | None) -> Iterator[Result]:
        """Record a run while the body trains: first as running, at the end as finished, interrupted or failed.

        Args:
            config: the composed config, resolved.
            earlier: the record of the interrupted start that the body resumes.

        Yields:
            The record, to which the body adds metrics.

        Raises:
            KeyboardInterrupt: if the run was interrupted; the message says how to resume it.
            SystemExit: if it was terminated by SIGTERM.
        """
        result = Result("running", config, config["seed"], started=earlier.started if earlier else now())
        seconds_before = earlier.wall_seconds if earlier else 0.0
        start = time.monotonic()

        def write() -> None:
            result.wall_seconds = round(seconds_before + time.monotonic() - start, 3)
            self._write(result)

        def fail(reason: str) -> None:
            if result.status == "running":
                result.status, result.error = "failed", reason
            write()

        for folder in (self.path, self.last_checkpoint.parent):
            remove_unfinished(folder)
        self._write(result)
        with on_forced_end(fail):
            try:
                yield result
                result.status = "finished"
            except (KeyboardInterrupt, SystemExit) as stop:  # Lightning raises SystemExit after Ctrl-C
                result.status = "interrupted"
                raise _with_advice(stop, config["run_name"]) from stop
            except BaseException as error:
                result.status, result.error = "failed", lost_process(error) or f"{type(error).__name__}: {error}"
                raise
            finally:
                write()

    def _write(self, result: Result) -> None:
        from pytorch_lightning.utilities import rank_zero_only  # takes seconds to import, and readers do not need it

        rank_zero_only(result.write)(self.result_file)


def _with_advice(stop: BaseException, run_name: str) -> BaseException:
    """Return the exception that ends an interrupted run: it says how to resume it."""
    from pytorch_lightning.utilities.exceptions import SIGTERMException

    advice = f"Stopped. The same command with run_name={run_name} resumes from the last checkpoint"
    # During training LastCheckpoint exits with this status; during the test Lightning raises its own exception.
    if isinstance(stop, SIGTERMException) or (isinstance(stop, SystemExit) and stop.code == TERMINATED):
        print(f"\n{advice}", file=sys.stderr)
        return SystemExit(TERMINATED)
    return KeyboardInterrupt(advice)


def latest_run(log_dir: str | Path) -> RunDirectory:
    """Return the finished run that was started last, of all single runs and sweeps below ``log_dir``.

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
