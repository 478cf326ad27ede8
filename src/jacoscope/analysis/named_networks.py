"""The networks that ``compare=`` names: runs, checkpoint files, and folders of runs, such as sweeps."""

from pathlib import Path
from typing import NamedTuple

from jacoscope.analysis.question import Question
from jacoscope.comparison.table import RunTable
from jacoscope.errors import UserError
from jacoscope.sweeps.directory import DONE


class NamedNetwork(NamedTuple):
    """A run or a checkpoint file, and what it is called."""

    name: str
    path: str


def networks_of(question: Question) -> list[NamedNetwork]:
    """Return the networks that are compared. If curves are asked for, a folder of runs stands for its finished runs.

    A run is called by its folder; a run of a folder of runs by the settings in which it differs from the others.

    Raises:
        UserError: if a folder has no finished run.
    """
    found: list[NamedNetwork] = []
    for each in question.compare or []:
        path = Path(each).expanduser()
        if question.robustness is None or not _holds_runs(path):
            found.append(NamedNetwork(_own_name(path), each))
            continue
        table = RunTable.read(path)
        done = [run for run in table.runs if run.status in DONE]
        if not done:
            raise UserError(f"compare={each}: no run in there is finished")
        found += [NamedNetwork(table.describe(run) or run.name, str(run.path)) for run in done]
    names = [name for name, _ in found]
    return [
        NamedNetwork(name if names.count(name) == 1 else f"{name} ({place})", path)
        for place, (name, path) in enumerate(found, start=1)
    ]


def folder_of_runs(question: Question) -> Path | None:
    """Return the folder of runs that a question about curves names, if it names nothing else."""
    named = [Path(each).expanduser() for each in question.compare or []]
    return named[0] if len(named) == 1 and _holds_runs(named[0]) else None


def _holds_runs(path: Path) -> bool:
    """Whether a folder holds runs and is none itself."""
    is_run = path.name == "checkpoints" or (path / "result.json").exists() or (path / "checkpoints").exists()
    return path.is_dir() and not is_run and any(path.glob("**/result.json"))


def _own_name(path: Path) -> str:
    """The folder of the run; with the name of the checkpoint if it is not the best one."""
    if path.is_dir():
        return path.resolve().name
    run = path.resolve().parent.parent.name if path.parent.name == "checkpoints" else ""
    return run if run and path.name == "best.ckpt" else f"{run} {path.stem}".strip()
