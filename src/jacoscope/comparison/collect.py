"""Read what is recorded about the runs below a folder: status, settings, metrics and curves."""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from jacoscope.comparison.robustness import robustness_below
from jacoscope.errors import UserError
from jacoscope.files import require_file
from jacoscope.runs.result import Result, flatten
from jacoscope.sweeps.directory import MANIFEST, SweepDirectory, result_of, state_of_run

Setting = str | float
Curve = tuple[list[int], list[float]]

NO_SETTINGS = ("run_name", "hparams_search", "paths")  # they do not change what a run computes
CURVE_POINTS = 200  # more than a screen shows
SHEET = "/probe_sheet"  # how the tag of the picture of a run ends


@dataclass(frozen=True)
class Run:
    """One run, as its directory records it.

    Attributes:
        name: its directory, relative to the folder that is looked at.
        path: its directory.
        status: ``finished``, ``pruned``, ``running``, ``interrupted``, ``failed`` or ``waiting``.
        settings: those that differ between the runs that are compared; empty text where one is unknown.
        metrics: what it measured; ``gap``, training minus test accuracy, where both are known; and its robustness,
            where ``analyze.py`` has measured it.
        seconds: how long it took; ``None`` if it has not started.
        error: why it failed.
        objectives: the metrics that it was to optimise.
        started: when it was first started, ISO 8601 with time zone; empty if it has not started.
    """

    name: str
    path: Path
    status: str
    settings: dict[str, Setting]
    metrics: dict[str, float]
    seconds: float | None = None
    error: str | None = None
    objectives: tuple[str, ...] = ()
    started: str = ""

    @property
    def failure(self) -> str | None:
        """The first line of the error; ``None`` if the run did not fail."""
        if self.status != "failed":
            return None
        return self.error.splitlines()[0] if self.error else "no reason is recorded"


def runs_below(folder: Path) -> list[Run]:
    """Return the runs of a sweep, waiting ones too, or all runs below any other folder, the newest first.

    Raises:
        UserError: if there is none.
    """
    if (folder / MANIFEST).exists():
        sweep = SweepDirectory.read(folder)
        jobs = sorted(sweep.jobs, key=lambda job: job.number)
        if not jobs:
            raise UserError(f"No run of the sweep in {folder} has begun yet")
        typed = {sweep.run_path(job): _overrides(job.overrides) for job in jobs}
    else:
        paths = sorted(file.parent for file in folder.glob("**/result.json"))
        if not paths:
            raise UserError(
                f"There is no run in {folder}. Type the directory of a sweep, or any folder that holds runs, as logs"
            )
        typed = {path: _overrides(_typed_words(path)) for path in paths}
    results = {path: result_of(path) for path in typed}
    settings = _differing_settings(typed, results)
    robustness = robustness_below(folder)
    runs = [_run(folder, path, results[path], settings[path], robustness) for path in typed]
    if (folder / MANIFEST).exists():
        return runs
    return sorted(
        runs, key=lambda run: datetime.fromisoformat(run.started).timestamp() if run.started else 0.0, reverse=True
    )


@dataclass(frozen=True)
class Training:
    """What TensorBoard's files hold of a run.

    Attributes:
        curves: by tag, steps and values. Where a step was logged twice, the later value counts.
        picture: the last sheet of derivatives, as the bytes of a PNG.
    """

    curves: dict[str, Curve]
    picture: bytes | None = None


def read_training(run: Path, tags: Iterable[str]) -> Training:
    """Read scalars and the last sheet of derivatives from the TensorBoard files of a run.

    The run may be training: a file that it removes meanwhile, since another one holds the same values, is left out.

    Args:
        run: its directory.
        tags: names of the scalars.
    """
    files = sorted(file for file in (run / "tensorboard").glob("events.out.tfevents.*") if file.is_file())
    if not files:
        return Training({})
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
    from tensorboard.compat import tf
    from tensorboard.util.tensor_util import make_ndarray

    wanted = set(tags)
    points: dict[str, dict[int, float]] = {}
    pictures: dict[str, bytes] = {}
    for file in files:
        with suppress(tf.errors.NotFoundError, FileNotFoundError):  # when it is opened; while it is read
            for event in EventFileLoader(str(file)).Load():
                for value in event.summary.value:
                    if value.tag in wanted:
                        points.setdefault(value.tag, {})[event.step] = float(make_ndarray(value.tensor))
                    elif value.tag.endswith(SHEET) and len(value.tensor.string_val) > 2:
                        pictures[value.tag] = value.tensor.string_val[2]  # after its width and its height
    curves = {tag: _thinned(values) for tag, values in points.items()}
    return Training(curves, pictures[min(pictures)] if pictures else None)  # that of the logits, if there are several


def _thinned(values: dict[int, float]) -> Curve:
    steps = sorted(values)
    kept = steps[:: max(1, len(steps) // CURVE_POINTS)]
    if kept[-1] != steps[-1]:
        kept.append(steps[-1])
    return kept, [values[step] for step in kept]


def _run(
    folder: Path,
    path: Path,
    result: Result | None,
    settings: dict[str, Setting],
    robustness: dict[str, dict[str, float]],
) -> Run:
    name = str(path.relative_to(folder)) if path != folder else path.resolve().name
    if result is None:
        return Run(name, path, state_of_run(path), settings, {})
    metrics = {**result.metrics, **robustness.get(name, {})}
    if {"train/accuracy", "test/accuracy"} <= metrics.keys():
        metrics["gap"] = metrics["train/accuracy"] - metrics["test/accuracy"]
    objective = result.config.get("objective")
    objectives = tuple(map(str, objective if isinstance(objective, list) else [objective] if objective else []))
    state, seconds = state_of_run(path), result.wall_seconds
    return Run(name, path, state, settings, metrics, seconds, result.error, objectives, result.started)


def _differing_settings(
    typed: dict[Path, dict[str, str]], results: dict[Path, Result | None]
) -> dict[Path, dict[str, Setting]]:
    """Return for each run the settings that were typed for at least one of them, and are not the same in all."""
    keys = dict.fromkeys(key for words in typed.values() for key in words if key.split(".")[0] not in NO_SETTINGS)
    columns = {key: {path: _setting(key, path, typed[path], results[path]) for path in typed} for key in keys}
    varied = {key: column for key, column in columns.items() if len(set(map(str, column.values()))) > 1}
    return {path: {key: column[path] for key, column in varied.items()} for path in typed}


def _setting(key: str, path: Path, typed: dict[str, str], result: Result | None) -> Setting:
    """Return what was typed, else the value in the config, else the choice of a config group."""
    if key in typed:
        return _number(typed[key])
    if result is None:
        return ""
    values = flatten(result.config)
    if key in values:
        return _number(str(values[key]))
    node = _yaml(path / ".hydra" / "hydra.yaml")
    for name in ("hydra", "runtime", "choices", key):
        node = node.get(name, "") if isinstance(node, dict) else ""
    return "" if node is None else str(node)


def _overrides(words: Iterable[str]) -> dict[str, str]:
    pairs = (word.lstrip("+").partition("=") for word in words if "=" in word)
    return {key: value for key, _, value in pairs if not key.startswith(("hydra.", "hydra/"))}


def _typed_words(path: Path) -> list[str]:
    words = _yaml(path / ".hydra" / "overrides.yaml")
    return [str(word) for word in words] if isinstance(words, list) else []


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
