"""A sweep is a directory of run directories, numbered, with ``sweep.json``: the command and its jobs."""

import hashlib
import json
import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from yaml import YAMLError

from jacoscope.errors import UserError
from jacoscope.files import write_whole
from jacoscope.runs.lock import is_held
from jacoscope.runs.records import UNREADABLE, read_json, record
from jacoscope.runs.result import Result, differences

MANIFEST = "sweep.json"
LOG = "output.log"  # what a run printed
LAUNCHER_LOG = "launcher.log"  # what was printed around the runs
DONE = ("finished", "pruned")  # states of runs that are not run again


@dataclass(frozen=True)
class Job:
    """One run of a sweep.

    Attributes:
        number: its directory within the sweep's.
        overrides: what distinguishes it, as typed on a command line, and what all jobs have in common.
    """

    number: int
    overrides: Sequence[str]

    @classmethod
    def of(cls, number: int, words: Sequence[str]) -> "Job":
        """Make the job of a command line; what the sweep is called is no part of it, so that it can be renamed."""
        return cls(number, tuple(word for word in words if not names_the_sweep(word)))


@dataclass
class SweepDirectory:
    """All that is known about one sweep.

    Attributes:
        path: the directory; it need not exist yet.
        command: the words of the command line that make the sweep what it is.
        jobs: in the order of their numbers.
        started: when it was started first, ISO 8601 with time zone.
        study: of a search: the ``storage`` and ``name`` of its study, and its ``objectives``.
    """

    path: Path
    command: list[str] = field(default_factory=list)
    jobs: list[Job] = field(default_factory=list)
    started: str = field(default_factory=lambda: datetime.now().astimezone().isoformat(timespec="seconds"))

    study: dict[str, Any] | None = None

    @classmethod
    def read(cls, path: Path) -> "SweepDirectory":
        """Read the manifest of the sweep in ``path``.

        Raises:
            UserError: if there is none, or it cannot be read.
        """
        try:
            content = read_json(path / MANIFEST)
            jobs = [record(Job, job) for job in content.pop("jobs")]
            jobs = [replace(job, overrides=tuple(job.overrides)) for job in jobs]
            return record(cls, {**content, "path": path, "jobs": jobs})
        except UNREADABLE as error:
            raise UserError(f"{path / MANIFEST} is not the record of a sweep ({error})") from error

    @classmethod
    def opened(cls, path: Path, command: Sequence[str]) -> "SweepDirectory":
        """Open the sweep in ``path`` to go on with it, or begin it there.

        Raises:
            UserError: if it holds a sweep by another command.
        """
        if not (path / MANIFEST).exists():
            return cls(path, list(command))
        sweep = cls.read(path)
        then, now = set(sweep.command), set(command)
        if then != now or len(sweep.command) != len(command):
            sweep.refuse(
                [f"{word}: then, not now" for word in sweep.command if word not in now]
                + [f"{word}: now, not then" for word in command if word not in then]
            )
        return sweep

    def write(self) -> None:
        """Write the manifest."""
        content = {k: v for k, v in asdict(self).items() if k != "path"}
        write_whole(self.path / MANIFEST, (json.dumps(content, indent=1) + "\n").encode())

    def run_path(self, job: Job) -> Path:
        """Give the run directory of a job."""
        return self.path / str(job.number)

    def state(self, job: Job) -> str:
        """Say how a job stands: ``waiting``, or as :func:`state_of_run` says."""
        return state_of_run(self.run_path(job))

    def check_unchanged(self, job: Job, config: DictConfig) -> None:
        """See that a job which was started before had the same config.

        Args:
            job: the job.
            config: its composed config, without ``hydra``.

        Raises:
            UserError: if it had another; the message says what differs.
        """
        file = self.run_path(job) / ".hydra" / "config.yaml"
        if not file.exists() or not (self.run_path(job) / "result.json").exists():
            return
        try:
            then = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
        except (OSError, YAMLError):
            then = None
        if not then:  # a kill came while Hydra wrote it again, and it says nothing
            return
        if found := differences(then, OmegaConf.to_container(config, resolve=False)):
            self.refuse([f"run {job.number}: {line}" for line in found])

    def refuse(self, found: Sequence[str]) -> None:
        """Say that the sweep was begun with another configuration.

        Raises:
            UserError: always.
        """
        raise UserError(
            f"{self.path} holds a sweep with another configuration:\n  "
            + "\n  ".join(found)
            + "\nType the same configuration to go on with it, or run_name=A_NEW_NAME to start a new sweep"
        )


def names_the_sweep(word: str) -> bool:
    """Tell whether a word of a command line says what the sweep is called."""
    return word.lstrip("+").startswith("run_name=")


def state_of_run(path: Path) -> str:
    """Say how a run stands: its recorded status, ``pruned``, or ``waiting`` if it has none.

    A run that is recorded as running, though no process is at it, was interrupted.
    """
    result = result_of(path)
    if result is None:
        return "running" if is_held(path) else "waiting"
    if result.status == "running":
        return "running" if is_held(path) else "interrupted"
    return "pruned" if result.pruned else result.status


def result_of(path: Path) -> Result | None:
    """Read the result in a run directory; none where there is none, or none that can be read."""
    try:
        return Result.read(path / "result.json")
    except UserError:
        return None


def name_of_sweep(words: Sequence[str], swept: Sequence[str]) -> str:
    """Name a sweep after what it varies, so that the same command finds it again.

    Args:
        words: the words of the command line that make it what it is.
        swept: the keys that it varies.

    >>> name_of_sweep(["model=a,b", "seed=0,1"], ["model", "seed"])
    'model+seed-db5725'
    """
    digest = hashlib.sha256("\0".join(words).encode()).hexdigest()[:6]
    readable = re.sub(r"[^\w.+-]+", "_", "+".join(swept))[:60] or "sweep"
    return f"{readable}-{digest}"


def metrics_of(path: Path, names: Sequence[str]) -> list[float] | None:
    """Give some metrics of a finished run; none if it has not measured them all."""
    result = result_of(path)
    if result is None or any(name not in result.metrics for name in names):
        return None
    return [result.metrics[name] for name in names]


def record_failure(path: Path, config: Any, error: BaseException) -> None:
    """Record a run that failed before its own record was begun, or was ended by force before that could say so."""
    result = result_of(path)
    if result is None:
        now = datetime.now().astimezone().isoformat(timespec="seconds")
        seed = config.get("seed")
        result = Result("failed", _storable(config), seed if isinstance(seed, int) else 0, started=now)
    result.status, result.error = "failed", f"{type(error).__name__}: {error}"
    result.write(path / "result.json")


def _storable(node: Any) -> Any:
    """Write NaN and infinity, which may be why a run failed, as words: JSON has no numbers for them."""
    if isinstance(node, dict):
        return {key: _storable(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_storable(value) for value in node]
    return str(node) if isinstance(node, float) and not math.isfinite(node) else node
