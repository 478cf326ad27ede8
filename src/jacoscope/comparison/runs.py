"""The runs below a folder: how each stands, and in what settings they differ."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from jacoscope.errors import UserError
from jacoscope.files import require_file
from jacoscope.runs.result import Result, flatten
from jacoscope.sweeps.directory import MANIFEST, SweepDirectory, result_of, state_of_run

Setting = str | float | bool
NO_SETTINGS = ("run_name", "hparams_search", "paths")


@dataclass(frozen=True)
class Run:
    """One run, as the table shows it.

    Attributes:
        name: its directory, relative to the folder that is looked at.
        path: its directory.
        status: ``finished``, ``pruned``, ``running``, ``interrupted``, ``failed`` or ``waiting``.
        overrides: what was typed for it, key to value.
        result: its record; none while it waits.
    """

    name: str
    path: Path
    status: str
    overrides: dict[str, str]
    result: Result | None

    @property
    def metrics(self) -> dict[str, float]:
        """What it measured; besides, the generalisation gap where both of its sides are known."""
        metrics = dict(self.result.metrics) if self.result else {}
        if {"train/accuracy", "test/accuracy"} <= metrics.keys():
            metrics["gap"] = metrics["train/accuracy"] - metrics["test/accuracy"]
        return metrics

    @property
    def failure(self) -> str | None:
        """Why it failed, in a line; none where it did not."""
        if self.status != "failed":
            return None
        error = self.result.error if self.result else None
        return error.splitlines()[0] if error else "for no recorded reason"


def runs_below(folder: Path) -> list[Run]:
    """Give the runs of a sweep, waiting ones too, or all runs below any other folder.

    Raises:
        UserError: if there is none.
    """
    if (folder / MANIFEST).exists():
        sweep = SweepDirectory.read(folder)
        jobs = sorted(sweep.jobs, key=lambda job: job.number)
        if not jobs:
            raise UserError(f"No run of the sweep in {folder} has begun yet")
        return [_run(folder, sweep.run_path(job), _typed(job.overrides)) for job in jobs]
    paths = sorted(file.parent for file in folder.glob("**/result.json"))
    if not paths:
        raise UserError(
            f"There is no run in {folder}. Give a sweep's directory, or any folder that holds runs, as logs"
        )
    return [_run(folder, path, _typed(_words(path))) for path in paths]


def differing_settings(runs: Sequence[Run]) -> list[dict[str, Setting]]:
    """Give for each run the settings that were typed for one of them at least, and are not the same in all."""
    keys = dict.fromkeys(key for run in runs for key in run.overrides if key.split(".")[0] not in NO_SETTINGS)
    columns = {key: [_setting(run, key) for run in runs] for key in keys}
    varied = {key: values for key, values in columns.items() if len(set(map(str, values))) > 1}
    return [{key: values[row] for key, values in varied.items()} for row in range(len(runs))]


def _run(folder: Path, path: Path, overrides: dict[str, str]) -> Run:
    name = str(path.relative_to(folder)) if path != folder else path.resolve().name
    return Run(name, path, state_of_run(path), overrides, result_of(path))


def _typed(words: Iterable[str]) -> dict[str, str]:
    pairs = (word.lstrip("+").partition("=") for word in words if "=" in word)
    return {key: value for key, _, value in pairs if not key.startswith(("hydra.", "hydra/"))}


def _words(path: Path) -> list[str]:
    words = _yaml(path / ".hydra" / "overrides.yaml")
    return [str(word) for word in words] if isinstance(words, list) else []


def _setting(run: Run, key: str) -> Setting:
    """Give what was typed; else the config's value; else the choice of a group."""
    if key in run.overrides:
        return _number(run.overrides[key])
    if run.result is None:
        return ""
    values = flatten(run.result.config)
    if key in values:
        return _number(str(values[key]))
    node = _yaml(run.path / ".hydra" / "hydra.yaml")
    for name in ("hydra", "runtime", "choices", key):
        node = node.get(name, "") if isinstance(node, dict) else ""
    return "" if node is None else str(node)


def _number(text: str) -> Setting:
    try:
        return float(text)
    except ValueError:
        return text


def _yaml(path: Path) -> Any:
    try:
        require_file(path)
        return yaml.load(path.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        return None
