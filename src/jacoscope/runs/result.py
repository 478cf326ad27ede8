"""``result.json``: the config of a run, its status and its metrics."""

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
from jacoscope.runs.records import NOT_A_RECORD, read_json, record

Status = Literal["running", "finished", "interrupted", "failed"]

NOT_COMPARED = ("run_name", "paths", "extend", "callbacks.hparams", "callbacks.progress")
"""Keys that do not decide what a run computes, with all below them."""


@dataclass
class Result:
    """The record of one run, in its directory.

    Attributes:
        status: ``running`` until the run ends. It stays so if the run is killed.
        config: the composed config, resolved.
        seed: the seed of the run.
        started: when the run started, ISO 8601 with time zone.
        metrics: metrics of the best checkpoint, by name, such as ``test/accuracy``.
        wall_seconds: duration in seconds. If the run was interrupted, the sum of its parts.
        versions: versions of Python and of the packages that decide the numbers.
        git_revision: revision of the code, with ``-dirty`` if files had changed; None outside of a checkout.
        error: why the run failed.
        pruned: whether a search stopped the run because it was not promising.
        extended: what the run was before each extension: ``max_epochs``, ``metrics`` and ``wall_seconds``.
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
    extended: list[dict[str, Any]] = field(default_factory=list)

    def write(self, path: Path) -> None:
        """Write the record as JSON, completely or not at all. Metrics that are not finite become null."""
        content = asdict(self)
        content["metrics"] = {k: v if math.isfinite(v) else None for k, v in self.metrics.items()}
        write_whole(path, (json.dumps(content, indent=2, allow_nan=False) + "\n").encode())

    @classmethod
    def read(cls, path: Path) -> "Result":
        """Read a record that :meth:`write` has written.

        Raises:
            UserError: if the file does not exist or is not the record of a run.
        """
        try:
            content = read_json(path)
            content["metrics"] = {k: math.nan if v is None else float(v) for k, v in content["metrics"].items()}
            if datetime.fromisoformat(content["started"]).tzinfo is None:
                raise ValueError("started has no time zone")
            return record(cls, content)
        except NOT_A_RECORD as error:
            raise UserError(f"{path} is not the record of a run ({error})") from error

    @property
    def objective(self) -> float | list[float]:
        """The metric that a search optimises, or a list if ``objective`` names several.

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


def now() -> str:
    """Return the current time, as it is recorded."""
    return datetime.now().astimezone().isoformat(timespec="seconds")


def duration(seconds: float) -> str:
    """Return a duration as people write it.

    >>> duration(0), duration(59.4), duration(3725)
    ('', '59 s', '1 h 02 min')
    """
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s" if rest else ""


def installed_versions() -> dict[str, str]:
    """Return the versions that decide the numbers of a run."""
    packages = ("jacoscope", "torch", "torchvision", "pytorch-lightning", "hydra-core")
    return {"python": platform.python_version(), **{package: version(package) for package in packages}}


def git_revision() -> str | None:
    """Return the revision of this code, or None outside of a git checkout."""
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


# Comparing configs.


def differences(then: Any, now: Any) -> list[str]:
    """Return the differences between two configs that decide the result of a run, one line for each key.

    >>> differences({"seed": 0, "run_name": "a"}, {"seed": 1, "run_name": "b"})
    ['seed: 0 then, 1 now']
    """
    before, after = _comparable(then), _comparable(now)
    return [
        f"{key}: {before.get(key, 'absent')} then, {after.get(key, 'absent')} now"
        for key in sorted(before | after)
        if not f"{key}.".startswith(tuple(f"{name}." for name in NOT_COMPARED))
        and before.get(key, ...) != after.get(key, ...)
    ]


def moved(node: Any, old: str, new: str) -> Any:
    """Return a config in which the folder ``old`` is ``new``, also as the first part of a path.

    >>> moved({"source": {"root": "data/mnist"}, "stage": "data-free"}, "data", "elsewhere")
    {'source': {'root': 'elsewhere/mnist'}, 'stage': 'data-free'}
    """
    if isinstance(node, dict):
        return {key: moved(value, old, new) for key, value in node.items()}
    if isinstance(node, list):
        return [moved(value, old, new) for value in node]
    is_inside = isinstance(node, str) and (node == old or node.startswith(f"{old}/"))
    return new + node.removeprefix(old) if is_inside else node


def flatten(node: Any, prefix: str = "") -> dict[str, Any]:
    """Return the leaves of a config by their dotted keys.

    >>> flatten({"optimizer": {"lr": 0.1}, "seed": 0})
    {'optimizer.lr': 0.1, 'seed': 0}
    """
    if not isinstance(node, dict) or not node:
        return {prefix.removesuffix("."): node}
    return {k: v for key, value in node.items() for k, v in flatten(value, f"{prefix}{key}.").items()}


def _comparable(config: Any) -> dict[str, Any]:
    """Return the leaves of a config, with the folders of ``paths`` replaced by their names: a run may be moved."""
    folders = config.get("paths") or {}
    for name in ("output_dir", "data_dir"):
        if name in folders:
            config = moved(config, folders[name], f"${{paths.{name}}}")
    return flatten(config)
