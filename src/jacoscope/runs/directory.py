"""The directory of a run: its name, what lies where in it, and the record of what happened."""

import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from jacoscope.commands import typed
from jacoscope.errors import UserError
from jacoscope.files import remove_unfinished, write_whole
from jacoscope.runs.extension import extended, is_longer
from jacoscope.runs.lock import LOCK_FILE
from jacoscope.runs.processes import is_first, lost_process, on_forced_end
from jacoscope.runs.result import Result, differences, now
from jacoscope.signals import TERMINATED, exit_on_signal

LONGEST_NAME = 255  # bytes of a folder's name, on nearly every file system
WRITTEN_BEFORE = (LOCK_FILE, ".hydra", "train.log")  # in the folder of a run that is about to begin


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
        config_file: the composed config, with its interpolations.
        best_checkpoint: the weights with the lowest validation loss.
        last_checkpoint: the state to resume from.
        previous_checkpoint: the one before it.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.result_file = self.path / "result.json"
        self.config_file = self.path / ".hydra" / "config.yaml"
        checkpoints = self.path / "checkpoints"
        self.best_checkpoint, self.last_checkpoint, self.previous_checkpoint = (
            checkpoints / f"{name}.ckpt" for name in ("best", "last", "previous")
        )

    @property
    def has_checkpoints(self) -> bool:
        """Whether there is any checkpoint, even if it cannot be read."""
        return any(self.last_checkpoint.parent.glob("*.ckpt"))

    def write_config(self, cfg: DictConfig) -> None:
        """Write ``.hydra``: the composed config, Hydra's own config, and the words of the command line.

        Hydra would write them too, but before the config can be compared with that of an earlier start.
        """
        if not is_first():
            return
        hydra = HydraConfig.instance().cfg
        assert hydra is not None
        words = HydraConfig.get().overrides.task
        contents = {"config.yaml": cfg, "hydra.yaml": hydra, "overrides.yaml": words}
        for name, content in contents.items():
            write_whole(self.config_file.with_name(name), OmegaConf.to_yaml(content).encode())

    def checkpoint_to_resume(self, epochs: int = 0) -> Path | None:
        """Return the latest undamaged checkpoint, or None if there is no checkpoint. Print where the run resumes.

        Args:
            epochs: of the whole training. More than the checkpoint was planned for extend it.

        Raises:
            UserError: if all checkpoints are damaged, or one contains more than data.
        """
        from jacoscope.checkpoints import DamagedCheckpointError, read_checkpoint  # imports torch, as readers need not

        damaged = []
        for path in (self.last_checkpoint, self.previous_checkpoint):
            if not os.path.lexists(path):
                continue
            try:
                content = read_checkpoint(path)
            except DamagedCheckpointError as error:
                damaged.append(str(error))
                continue
            if damaged:
                print(f"{damaged[0]}\nResuming from the one before it: {path}", file=sys.stderr)
            if is_first():
                print(_place(content, epochs), file=sys.stderr)
            return path
        if damaged:
            raise UserError(
                "\n".join(damaged)
                + f"\nTo start this run from scratch, remove the folder {self.last_checkpoint.parent}"
            )
        return None

    def recorded_result(self, config: dict[str, Any]) -> Result | None:
        """Return the record of an earlier start of this run, or None if there was none.

        A run that ended before its first checkpoint may be started again with another config. With ``extend=true``, a
        finished run may have more epochs: then its record says that it is interrupted.

        Raises:
            UserError: if it had another config, or it has checkpoints whose config is not known.
        """
        if not self.result_file.exists():
            if config.get("extend"):
                raise UserError(f"extend=true: there is no finished run {self.path}. Type the run_name= of one")
            if self.has_checkpoints:
                self._require_same(self._config_of_checkpoints(), config)
            return None
        result = Result.read(self.result_file)
        if result.status != "finished" and not self.has_checkpoints and differences(result.config, config):
            return None
        if config.get("extend") and result.status == "finished" and is_longer(result.config, config):
            return extended(result, config, self.last_checkpoint)
        self._require_same(result.config, config)
        return result

    def _require_same(self, before: dict[str, Any], config: dict[str, Any]) -> None:
        if changes := differences(before, config):
            extend = "; extend=true trains a finished run on" if is_longer(before, config) else ""
            raise UserError(
                f"{self.path} holds a run with another configuration:\n  "
                + "\n  ".join(changes)
                + f"\nType the same configuration to resume it, or leave run_name out to start a new run{extend}"
            )

    def _config_of_checkpoints(self) -> dict[str, Any]:
        """Return the config that a run without a record was started with."""
        try:
            config = OmegaConf.to_container(OmegaConf.load(self.config_file), resolve=True)
        except (OSError, ValueError, YAMLError, OmegaConfBaseException):
            config = None
        if not isinstance(config, dict) or not config:
            raise UserError(
                f"{self.path} has checkpoints, but does not say how they were trained: there is no result.json, and "
                f"{self.config_file} is missing or cannot be read. Restore one of them. To start from scratch, remove "
                f"the folder {self.last_checkpoint.parent}, or leave run_name out"
            )
        return config  # type: ignore[return-value]

    @contextmanager
    def recording(self, config: dict[str, Any], earlier: Result | None) -> Iterator[Result]:
        """Record a run while the body trains: first as running, at the end as finished, interrupted or failed.

        Args:
            config: the composed config, resolved.
            earlier: the record of the interrupted start that the body resumes.

        Yields:
            The record, to which the body adds metrics.

        A mistake of the user before the first checkpoint of a new run leaves no record: a refused command line leaves
        nothing behind. A job of a sweep has its output there already, and keeps its record.

        Raises:
            KeyboardInterrupt: if the run was interrupted; the message says how to resume it.
            SystemExit: if it was terminated by SIGTERM.
        """
        result = Result("running", config, config["seed"], started=earlier.started if earlier else now())
        result.extended = earlier.extended if earlier else []
        seconds_before = earlier.wall_seconds if earlier else 0.0
        start = time.monotonic()

        def write() -> None:
            result.wall_seconds = round(seconds_before + time.monotonic() - start, 3)
            self._write(result)

        def fail(reason: str, is_stopped: bool = False) -> None:
            if result.status == "running":
                result.status, result.error = ("interrupted", None) if is_stopped else ("failed", reason)
            write()

        is_new = is_first() and all(path.name in WRITTEN_BEFORE for path in self.path.glob("*"))
        if is_first():  # the other processes of the run would remove what this one writes
            for folder in (self.path, self.last_checkpoint.parent):
                remove_unfinished(folder)
        self._write(result)
        at_end = write
        with on_forced_end(fail), exit_on_signal():
            try:
                yield result
                result.status = "finished"
            except (KeyboardInterrupt, SystemExit) as stop:  # Lightning raises SystemExit after Ctrl-C
                if isinstance(stop, SystemExit) and _is_exit_of_the_user(stop):
                    fail(f"sys.exit({stop.code!r}) was called")
                    print(f"\nThe run has failed: {result.error}", file=sys.stderr)
                    raise SystemExit(stop.code or 1) from stop
                result.status = "interrupted"
                raise _with_advice(stop, config["run_name"]) from stop
            except BaseException as error:
                result.status, result.error = "failed", lost_process(error) or f"{type(error).__name__}: {error}"
                if is_new and isinstance(error, UserError) and not self.has_checkpoints:
                    at_end = self._remove_all
                raise
            finally:
                at_end()

    def _remove_all(self) -> None:
        """Remove what a refused start has written; its lock is still held."""
        for path in self.path.glob("*"):
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name != LOCK_FILE:
                path.unlink()

    def _write(self, result: Result) -> None:
        from pytorch_lightning.utilities import rank_zero_only  # takes seconds to import, and readers do not need it

        rank_zero_only(result.write)(self.result_file)


def _with_advice(stop: BaseException, run_name: str) -> BaseException:
    """Return the exception that ends an interrupted run: it says how to resume it."""
    from pytorch_lightning.utilities.exceptions import SIGTERMException

    advice = f"Stopped. The same command with run_name={run_name} resumes from the last checkpoint"
    # During training LastCheckpoint exits with this status; during the test Lightning raises its own exception.
    if isinstance(stop, SIGTERMException) or (isinstance(stop, SystemExit) and stop.code in TERMINATED):
        print(f"\n{advice}", file=sys.stderr)
        return SystemExit(TERMINATED[0] if isinstance(stop, SIGTERMException) else stop.code)
    return KeyboardInterrupt(advice)


def _is_exit_of_the_user(stop: SystemExit) -> bool:
    """Whether ``sys.exit`` was called by the user's code: not by Lightning after Ctrl-C, and not after a signal."""
    from pytorch_lightning.utilities.exceptions import SIGTERMException

    cause: BaseException | None = stop
    while cause is not None and not isinstance(cause, KeyboardInterrupt | SIGTERMException):
        if isinstance(cause, SystemExit) and cause.code in (128 + signal.SIGINT, *TERMINATED):
            return False
        cause = cause.__context__
    return cause is None


def _place(checkpoint: dict[str, Any], epochs: int) -> str:
    """Describe where a run of so many epochs resumes."""
    at = f"epoch {checkpoint.get('epoch')}, step {checkpoint.get('global_step')}"
    end = checkpoint.get("go_on", {})
    is_finished = end.get("finished") and end.get("max_epochs", epochs) >= epochs  # else it is to be extended
    return f"The training is complete ({at}); continuing with the evaluation" if is_finished else f"Resuming from {at}"


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
        raise UserError(f"There is no finished run in {log_dir}/train: make one with {typed('train')}")
    return RunDirectory(max(finished)[1])
