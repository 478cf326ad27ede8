"""What a network and its data are made from, as plain values; nothing is built here, and torch not imported."""

from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass
from math import prod
from typing import Any

from omegaconf import DictConfig, OmegaConf

from jacoscope.analysis.checkpoint import CheckpointFile
from jacoscope.errors import UserError
from jacoscope.runs.result import Result, moved
from jacoscope.runs.targets import targets_in

PARTS = ("images", "data", "model")
MAP_ENTRIES = 1 << 24  # mean maps of the classes are kept up to this size, 64 MiB each in float32


@dataclass(frozen=True)
class Origin:
    """All that a subject is made from, as plain values: small enough to send to another process.

    Attributes:
        checkpoint: the file and its run.
        config: the parts ``images``, ``data`` and ``model`` of the run's config, with the user's own on top.
        trusted: packages and targets that the user vouches for.
        is_the_runs_own: whether the user put nothing on top.
    """

    checkpoint: CheckpointFile
    config: dict[str, Any]
    trusted: tuple[str, ...]
    is_the_runs_own: bool

    @property
    def keeps_maps(self) -> bool:
        """Whether mean maps of each class are kept and drawn: where classes and images are not too large for it."""
        images = self.config["images"]
        return bool(prod((images["classes"], *images["shape"])) <= MAP_ENTRIES)


def origin(checkpoint: CheckpointFile, cfg: DictConfig, overrides: Iterable[str], trust: Iterable[str]) -> Origin:
    """Find out what a checkpoint's network and data are made from.

    The run's stored config says so; what the user typed for ``model``, ``data`` or ``images`` goes on top, and with
    ``paths.data_dir`` the data are looked for there.

    Args:
        checkpoint: the file and its run.
        cfg: the composed config of the analysis.
        overrides: the words of the command line.
        trust: packages that the user vouches for.

    Raises:
        UserError: if there is no stored config and the user names no network.
    """
    words = [word.lstrip("+~").partition("=")[0] for word in overrides]
    typed = [key for key in words if key.partition(".")[0] in PARTS]
    stored = _stored_config(checkpoint, data_dir=cfg.paths.data_dir if "paths.data_dir" in words else None)
    composed = deepcopy(cfg)
    if stored and "data" not in typed:
        composed.images = OmegaConf.merge(stored["images"], _only(cfg, typed, "images"))
    mine = {part: OmegaConf.to_container(composed[part], resolve=True) for part in PARTS}
    if stored is None:
        if not any(key == "model" for key in typed):
            raise UserError(
                f"{checkpoint.path} is a file outside of a run directory, and does not say which network it is for: "
                "name it, model=lenet5, and its data where they are not MNIST, data=cifar10"
            )
        return Origin(checkpoint, mine, (*trust, *targets_in(mine)), is_the_runs_own=False)
    config = deepcopy(stored)
    for key in typed:
        if key in ("model", "data"):
            config[key] = mine[key]
        _put(config, key, OmegaConf.select(OmegaConf.create(mine), key))
    if "data" in typed:
        config["images"] = mine["images"]
    typed_targets = [target for key in typed for target in targets_in(_nested(key, _get(config, key)))]
    return Origin(checkpoint, config, (*trust, *typed_targets), is_the_runs_own=not typed)


def _stored_config(checkpoint: CheckpointFile, data_dir: str | None) -> dict[str, Any] | None:
    if checkpoint.run is None:
        return None
    config = Result.read(checkpoint.run.result_file).config
    if missing := [part for part in PARTS if not isinstance(config.get(part), dict)]:
        raise UserError(
            f"{checkpoint.run.result_file} has no config of {', '.join(missing)}: it is not a run of train.py"
        )
    stored = {part: config[part] for part in PARTS}
    before = (config.get("paths") or {}).get("data_dir")
    return moved(stored, before, data_dir) if before and data_dir else stored


def _only(cfg: DictConfig, typed: Iterable[str], part: str) -> dict[str, Any]:
    """Give the keys below ``part`` that the user typed."""
    values: dict[str, Any] = {part: {}}
    for key in typed:
        if key.partition(".")[0] == part:
            _put(values, key, OmegaConf.select(cfg, key))
    return values[part]  # type: ignore[no-any-return]


def _put(config: dict[str, Any], key: str, value: Any) -> None:
    *parents, last = key.split(".")
    node = config
    for name in parents:
        node = node.setdefault(name, {})
    node[last] = OmegaConf.to_container(value) if OmegaConf.is_config(value) else value


def _get(config: dict[str, Any], key: str) -> Any:
    node: Any = config
    for name in key.split("."):
        node = node[name]
    return node


def _nested(key: str, value: Any) -> dict[str, Any]:
    return {key.rpartition(".")[2]: value}
