"""The directory of a sweep: numbered run directories, and ``sweep.json`` with the command and its jobs."""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn

from omegaconf import DictConfig, OmegaConf
from yaml import YAMLError

from jacoscope.errors import UserError
from jacoscope.files import write_whole
from jacoscope.runs.directory import RunDirectory
from jacoscope.runs.lock import is_held
from jacoscope.runs.records import NOT_A_RECORD, read_json, record
from jacoscope.runs.result import Result, differences, now

MANIFEST = "sweep.json"
LOG = "output.log"  # in a run directory: what the run printed
LAUNCHER_LOG = "launcher.log"  # in the directory of the sweep: what was printed outside of the runs
DONE = ("finished", "pruned")  # states of runs that are not run again


@dataclass(frozen=True)
class Job:
    """One run of a sweep.

    Attributes:
        number: the name of its run directory.
        overrides: as on a command line.
    """

    number: int
    overrides: Sequence[str]


@dataclass
class SweepDirectory:
    """The record of one sweep.

    Attributes:
        path: the directory; it need not exist yet.
        command: the words of the command line, without ``run_name``.
        jobs: in the order of their numbers.
        started: when the sweep was first started, ISO 8601 with time zone.
        study: for a search, the ``storage`` and ``name`` of its study, and its ``objectives``.
    """

    path: Path
    command: list[str] = field(default_factory=list)
    jobs: list[Job] = field(default_factory=list)
    started: str = field(default_factory=now)
    study: dict[str, Any] | None = None

    @classmethod
    def read(cls, path: Path) -> "SweepDirectory":
        """Read the record of the sweep in ``path``.

        Raises:
            UserError: if there is no record, or it cannot be read.
        """
        try:
            content = read_json(path / MANIFEST)
            jobs = [record(Job, job) for job in content.pop("jobs")]
            jobs = [replace(job, overrides=tuple(job.overrides)) for job in jobs]
            return record(cls, {**content, "path": path, "jobs": jobs})
        except NOT_A_RECORD as error:
            raise UserError(f"{path / MANIFEST} is not the record of a sweep ({error})") from error

    @classmethod
    def open(cls, path: Path, command: Sequence[str]) -> "SweepDirectory":
        """Return the sweep in ``path``, or a new one.

        Raises:
            UserError: if ``path`` holds a sweep of another command.
        """
        if not (path / MANIFEST).exists():
            return cls(path, list(command))
        sweep = cls.read(path)
        if sorted(sweep.command) != sorted(command):
            sweep.refuse(changed_words(sweep.command, command))
        return sweep

    def write(self) -> None:
        """Write the record."""
        content = {k: v for k, v in asdict(self).items() if k != "path"}
        write_whole(self.path / MANIFEST, (json.dumps(content, indent=1) + "\n").encode())

    def run_path(self, job: Job) -> Path:
        """Return the run directory of a job."""
        return self.path / str(job.number)

    def state(self, job: Job) -> str:
        """Return the state of a job, as :func:`state_of_run` does."""
        return state_of_run(self.run_path(job))

    def forget_failure(self, job: Job) -> None:
        """Reset a job that failed to interrupted or waiting, and remove the output of its earlier start."""
        run = self.run_path(job)
        (run / LOG).unlink(missing_ok=True)
        result = result_of(run)
        if result is None or result.status != "failed":
            return
        if (run / "checkpoints" / "last.ckpt").exists():
            result.status, result.error = "interrupted", None
            result.write(run / "result.json")
        else:
            (run / "result.json").unlink()

    def check_unchanged(self, job: Job, config: DictConfig) -> None:
        """Check that a job which was started before had the same composed config, apart from ``hydra``.

        Raises:
            UserError: if it had another one; the message names the differences.
        """
        run = RunDirectory(self.run_path(job))
        if not (run.result_file.exists() or run.has_checkpoints):
            return
        try:
            before = OmegaConf.to_container(OmegaConf.load(run.config_file), resolve=False)
        except (OSError, YAMLError):
            before = None
        if not before:
            if run.result_file.exists():  # the run itself compares its config with that
                return
            self.refuse([f"run {job.number}: its checkpoints are there, but neither result.json nor {run.config_file}"])
        if found := differences(before, OmegaConf.to_container(config, resolve=False)):
            self.refuse([f"run {job.number}: {line}" for line in found])

    def refuse(self, found: Sequence[str]) -> NoReturn:
        """Raise UserError: this sweep is not continued with another configuration, whose differences are ``found``."""
        raise UserError(
            f"{self.path} holds a sweep with another configuration:\n  "
            + "\n  ".join(found)
            + "\nType the same configuration to continue it, or run_name=A_NEW_NAME to start a new sweep"
        )


def changed_words(before: Sequence[str], now: Sequence[str]) -> list[str]:
    """Return a line for each word of two command lines that the other does not have.

    >>> changed_words(["lr=1", "seed=0"], ["lr=2", "seed=0"])
    ['lr=1: in the earlier command only', 'lr=2: in this command only']
    """
    return [f"{word}: in the earlier command only" for word in dict.fromkeys(before) if word not in now] + [
        f"{word}: in this command only" for word in dict.fromkeys(now) if word not in before
    ]


def name_of_sweep(words: Sequence[str], swept: Sequence[str]) -> str:
    """Return a name for the sweep of a command line, whose keys ``swept`` vary. The same words have the same name.

    >>> name_of_sweep(["model=a,b", "seed=0,1"], ["model", "seed"])
    'model+seed-db5725'
    """
    digest = hashlib.sha256("\0".join(words).encode()).hexdigest()[:6]
    readable = re.sub(r"[^\w.+-]+", "_", "+".join(swept))[:60] or "sweep"
    return f"{readable}-{digest}"


def state_of_run(path: Path) -> str:
    """Return the state of the run in ``path``.

    Its recorded status, ``pruned``, or ``waiting`` if it has no record. A run that is recorded as running is
    ``interrupted`` if no process works on it.
    """
    result = result_of(path)
    if result is None or result.status == "running":
        return "running" if is_held(path) else "waiting" if result is None else "interrupted"
    return "pruned" if result.pruned else result.status


def result_of(path: Path) -> Result | None:
    """Return the result of the run in ``path``, or None if there is none that can be read."""
    try:
        return Result.read(path / "result.json")
    except UserError:
        return None
