"""``result.json``: what a run was, what became of it, and what it measured."""

import json
import math
import platform
import subprocess
from dataclasses import asdict, dataclass, field
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from jacoscope.errors import UserError, nearest
from jacoscope.files import write_whole
from jacoscope.runs.records import UNREADABLE, read_json, record

Status = Literal["running", "finished", "interrupted", "failed"]

NOT_COMPARED = ("run_name", "paths")  # where a run lies does not change what it is


@dataclass
class Result:
    """One run, as recorded in its directory.

    Attributes:
        status: ``running`` until it ends; a run that was killed stays so.
        config: the composed config, resolved.
        seed: the seed of the run.
        started: when it started, ISO 8601 with time zone.
        metrics: of the best checkpoint, by their names, ``test/accuracy`` for one.
        wall_seconds: how long it took, in seconds; of an interrupted run, all its parts together.
        versions: of Python and of the packages that decide the numbers.
        git_revision: of the code, with ``-dirty`` where files had changed; none outside a checkout.
        error: what stopped a failed run.
        pruned: whether a search stopped it, since it promised nothing.
    """

    status: Status
    config: dict[str, Any]
    seed: int
    started: str
    metrics: dict[str, float] = field(default_factory=dict)
    wall_seconds: float = 0.0
    versions: dict[str, str] = field(default_factory=lambda: installed_versions())
    git_revision: str | None = field(default_factory=lambda: git_revision())
    error: str | None = None
    pruned: bool = False

    def write(self, path: Path) -> None:
        """Write it as JSON, whole or not at all; a metric that is NaN or infinite becomes null."""
        content = asdict(self)
        content["metrics"] = {k: v if math.isfinite(v) else None for k, v in self.metrics.items()}
        write_whole(path, (json.dumps(content, indent=2, allow_nan=False) + "\n").encode())

    @classmethod
    def read(cls, path: Path) -> "Result":
        """Read what :meth:`write` wrote.

        Raises:
            UserError: if the file is not there or is not the record of a run.
        """
        try:
            content = read_json(path)
            content["metrics"] = {k: math.nan if v is None else float(v) for k, v in content["metrics"].items()}
            if datetime.fromisoformat(content["started"]).tzinfo is None:
                raise ValueError("started has no time zone")
            return record(cls, content)
        except UNREADABLE as error:
            raise UserError(f"{path} is not the record of a run ({error})") from error

    @property
    def objective(self) -> float | list[float]:
        """The metric that a sweep optimises; where ``objective`` names several, a list of them.

        Raises:
            UserError: if the run did not measure it.
        """
        objective = self.config["objective"]
        for name in [objective] if isinstance(objective, str) else objective:
            if name not in self.metrics:
                raise UserError(
                    f"The run did not measure objective={name}.{nearest(name, self.metrics)}\n"
                    f"It measured: {', '.join(self.metrics)}"
                )
        return self.metrics[objective] if isinstance(objective, str) else [self.metrics[name] for name in objective]

    def differences(self, config: dict[str, Any]) -> list[str]:
        """Say, key by key, how ``config`` differs from the run's own."""
        return differences(self.config, config)


def differences(then: Any, now: Any) -> list[str]:
    """Say, key by key, how two configs differ in what decides a run."""
    before, after = _leaves(then), _leaves(now)
    return [
        f"{key}: {before.get(key, 'absent')} then, {after.get(key, 'absent')} now"
        for key in sorted(before | after)
        if key.split(".")[0] not in NOT_COMPARED and before.get(key, ...) != after.get(key, ...)
    ]


def installed_versions() -> dict[str, str]:
    """Give the versions that decide the numbers of a run."""
    packages = ("jacoscope", "torch", "torchvision", "pytorch-lightning", "hydra-core")
    return {"python": platform.python_version(), **{package: version(package) for package in packages}}


def git_revision() -> str | None:
    """Give the revision of the code that runs, or none outside a git checkout."""
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return described.stdout.strip()


def moved(node: Any, old: str, new: str) -> Any:
    """Give a config with another place for all that lies in, or is, the place ``old``.

    >>> moved({"source": {"root": "data/mnist"}, "stage": "data-free"}, "data", "elsewhere")
    {'source': {'root': 'elsewhere/mnist'}, 'stage': 'data-free'}
    """
    if isinstance(node, dict):
        return {key: moved(value, old, new) for key, value in node.items()}
    if isinstance(node, list):
        return [moved(value, old, new) for value in node]
    lies_there = isinstance(node, str) and (node == old or node.startswith(f"{old}/"))
    return new + node.removeprefix(old) if lies_there else node


def _leaves(config: Any) -> dict[str, Any]:
    """Give the leaves of a config, with the places of ``paths`` by their names: a run may be moved."""
    places = config.get("paths") or {}
    for name in ("output_dir", "data_dir"):
        if name in places:
            config = moved(config, places[name], f"${{paths.{name}}}")
    return flatten(config)


def duration(seconds: float) -> str:
    """Return a duration for people; empty text for none.

    >>> duration(0), duration(59.4), duration(3725)
    ('', '59 s', '1 h 02 min')
    """
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s" if rest else ""


def flatten(node: Any, prefix: str = "") -> dict[str, Any]:
    """Give the leaves of a config by their dotted keys.

    >>> flatten({"optimizer": {"lr": 0.1}, "seed": 0})
    {'optimizer.lr': 0.1, 'seed': 0}
    """
    if not isinstance(node, dict) or not node:
        return {prefix.removesuffix("."): node}
    return {k: v for key, value in node.items() for k, v in flatten(value, f"{prefix}{key}.").items()}
