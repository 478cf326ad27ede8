"""Checkpoints: which file is meant. Nothing is read here, so that this costs no import of torch."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from jacoscope.errors import UserError
from jacoscope.runs.directory import RunDirectory, latest_run


@dataclass(frozen=True)
class CheckpointFile:
    """A checkpoint and the run that it belongs to.

    Attributes:
        path: the file.
        run: the run's directory, or none for a file without one.
    """

    path: Path
    run: RunDirectory | None

    @property
    def home(self) -> Path:
        """The folder that holds what is found out about it."""
        return self.run.path if self.run else self.path.parent

    def digest(self) -> str:
        """Give the SHA-256 of the content, so that a changed file is told from the same one."""
        digest = hashlib.sha256()
        with self.path.open("rb") as file:
            while piece := file.read(1 << 20):
                digest.update(piece)
        return digest.hexdigest()

    def require(self, digest: str) -> None:
        """See that the content is still what it was.

        Raises:
            UserError: if it has changed.
        """
        if self.digest() != digest:
            raise UserError(
                f"{self.path} has just been replaced: its run is still training. Call again, or wait until it is done"
            )


def find_checkpoint(given: str | None, log_dir: str | Path) -> CheckpointFile:
    """Find the checkpoint that is meant: a file, a run's best one, or the best one of the latest finished run.

    Raises:
        UserError: if there is none.
    """
    if given is None:
        run = latest_run(log_dir)
        return CheckpointFile(_best_of(run), run)
    path = Path(given).expanduser()
    if path.is_dir():
        run = RunDirectory(path)
        if not run.result_file.exists() and path.name == "checkpoints" and (path.parent / "result.json").exists():
            run = RunDirectory(path.parent)
        return CheckpointFile(_best_of(run), run)
    if not path.is_file():
        raise UserError(f"checkpoint={given}: there is no such file or run directory.{_runs_there_are(log_dir)}")
    owner = RunDirectory(path.resolve().parent.parent)
    is_of_a_run = path.resolve().parent.name == "checkpoints" and owner.result_file.exists()
    return CheckpointFile(path, owner if is_of_a_run else None)


def _best_of(run: RunDirectory) -> Path:
    for path in (run.best_checkpoint, run.last_checkpoint):
        if path.is_file():
            return path
    raise UserError(f"{run.path} holds no checkpoint: there is neither checkpoints/best.ckpt nor checkpoints/last.ckpt")


def _runs_there_are(log_dir: str | Path) -> str:
    runs = sorted(file.parent for file in Path(log_dir).glob("train/**/result.json"))
    if not runs:
        return " Make one with python train.py"
    return f" Runs in {log_dir}: {', '.join(map(str, runs[-3:]))}"
