"""Check a composed config, before anything is built. Torch is imported last: a slip is refused within a second."""

import os
import re
from collections.abc import Iterable
from itertools import combinations
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from jacoscope.errors import UserError, nearest
from jacoscope.files import require_writable
from jacoscope.runs.ranges import check_processes, check_ranges, require_integer
from jacoscope.runs.targets import check_targets

PARTS = ("data", "model", "loss", "penalty", "optimizer", "scheduler", "trainer")  # nodes with one thing to build
COLLECTIONS = ("callbacks", "logger")  # nodes with any number of things to build, by name
JACOBIAN_METRIC = re.compile(r"(?!(train|val|test)/)([\w.-]+/)?jacobian/")  # perhaps behind the name of the callback
JACOBIAN_CALLBACKS = ("jacoscope.JacobianCallback", "jacoscope.callbacks.JacobianCallback")
LAST_CHECKPOINT = "jacoscope.training.LastCheckpoint"
METRICS = [f"{stage}/{name}" for stage in ("train", "val", "test") for name in ("loss", "accuracy")]


def checked_config(cfg: DictConfig) -> dict[str, Any]:
    """Resolve a composed config and check it, before anything is built.

    Raises:
        UserError: if a value or a part is missing, a value has the wrong type or is out of its range, a target does not
            exist or does not take a key, or checkpoints would lie outside of the run.
    """
    require_values(cfg)
    try:
        config: Any = OmegaConf.to_container(cfg, resolve=True)
    except OmegaConfBaseException as error:
        raise UserError(f"The configuration cannot be resolved: {error}") from error
    require_integer("seed", config.get("seed", 0))
    if not isinstance(extend := config.get("extend", False), bool):
        raise UserError(f"extend={extend!r} is of the wrong type: it is true or false")
    _check_objective(config)
    _check_parts(config)
    check_ranges(config)
    _check_trainer(config)
    _check_checkpoints(config)
    check_targets(dict(sorted(config.items(), key=lambda part: part[0] not in _typed())))  # a slip is among these
    return config  # type: ignore[no-any-return]


def require_values(cfg: DictConfig, parts: Iterable[str] | None = None) -> None:
    """Check that a composed config leaves no value open (``???``).

    Args:
        cfg: the composed config.
        parts: check only the keys below these; None for all.

    Raises:
        UserError: naming all keys without a value.
    """
    asked = [key for key in sorted(OmegaConf.missing_keys(cfg)) if parts is None or key.partition(".")[0] in parts]
    if missing := [key for key in asked if not _is_interpolation(cfg, key)]:
        raise UserError(f"No value for {', '.join(missing)}: type {' '.join(f'{key}=VALUE' for key in missing)}")


def _is_interpolation(cfg: DictConfig, key: str) -> bool:
    parent, _, name = key.rpartition(".")
    return OmegaConf.is_interpolation(OmegaConf.select(cfg, parent) if parent else cfg, name)


def _typed() -> set[str]:
    """Return the parts of the config that were typed on the command line."""
    words = HydraConfig.get().overrides.task if HydraConfig.initialized() else ()
    return {re.split(r"[.=@]", word.lstrip("+~"))[0] for word in words}


def _check_objective(config: dict[str, Any]) -> None:
    if "objective" not in config:
        raise UserError("There is no objective: type objective=val/accuracy, or leave ~objective out")
    if config["objective"] == []:
        raise UserError("objective=[] names no metric: type objective=val/accuracy, or a list with one at least")
    for name in _names(config["objective"]):
        if name not in METRICS and not JACOBIAN_METRIC.match(str(name)):
            raise UserError(
                f"objective={name} is not a metric of a run.{nearest(str(name), METRICS)}\n"
                f"Metrics: {', '.join(METRICS)}, and those of the Jacobian: jacobian/logits/frobenius/mean, …"
            )


def _check_parts(config: dict[str, Any]) -> None:
    for part in (*PARTS, *COLLECTIONS):
        is_there = _can_be_built(config.get(part)) if part in PARTS else isinstance(config.get(part), dict)
        if not is_there:
            raise UserError(f"There is no {part} to build: choose one, {part}=CHOICE. --help names the choices")
    for collection in COLLECTIONS:
        for name, node in config[collection].items():
            if not _can_be_built(node):
                others = [other for other, near in config[collection].items() if _can_be_built(near)]
                raise UserError(
                    f"{collection}.{name} names no _target_ to build.{nearest(name, others, f'{collection}.')}\n"
                    f"To do without one of {collection}, type ~{collection}.NAME"
                )
    watching = [(key, node) for key, node in config["callbacks"].items() if node["_target_"] in JACOBIAN_CALLBACKS]
    for (first, one), (second, other) in combinations(watching, 2):
        if one.get("name") == other.get("name"):
            raise UserError(
                f"callbacks.{first} and callbacks.{second} are JacobianCallbacks of the same name: type "
                f"+callbacks.{second}._target_={other['_target_']} +callbacks.{second}.name=NAME. "
                "All tags of the second begin with its name"
            )


def _check_trainer(config: dict[str, Any]) -> None:
    """Refuse values that Lightning accepts, but which make it fail later, during the training or at its end."""
    trainer = config["trainer"]
    check_processes(trainer)
    if trainer.get("precision") == "16-true":
        raise UserError(
            "trainer.precision=16-true is not allowed: in float16 alone, the eps of an optimizer, 1e-8, is rounded to "
            "0, and its first step divides by that. Type trainer.precision=16-mixed, or bf16-true"
        )
    validated = [name for name in _names(config["objective"]) if not name.startswith(("train/", "test/"))]
    if validated and trainer.get("limit_val_batches") == 0:
        raise UserError(
            f"objective={validated[0]} is measured in validation, and trainer.limit_val_batches=0 leaves that out: "
            "leave it as it is, or type objective=test/accuracy"
        )


def _check_checkpoints(config: dict[str, Any]) -> None:
    """Refuse callbacks that would write checkpoints outside of the run, or over those that a run resumes from."""
    run = Path(os.path.normpath(Path.cwd() / config["paths"]["output_dir"]))  # links are the user's own business
    resumable = [name for name, node in config["callbacks"].items() if node["_target_"] == LAST_CHECKPOINT]
    for name, node in config["callbacks"].items():
        folder = Path(
            os.path.normpath(Path.cwd() / (str(node.get("dirpath") or "") or run / "version" / "checkpoints"))
        )
        file = Path(os.path.normpath(folder / str(node.get("filename"))))
        for key, place in (("dirpath", folder), ("filename", file)):
            if node.get(key) is not None and not place.is_relative_to(run):
                raise UserError(
                    f"callbacks.{name}.{key}={node[key]} leads out of the run: checkpoints lie in its folder, {run}. "
                    "paths.log_dir=FOLDER puts whole runs elsewhere"
                )
        if name in resumable and folder != run / "checkpoints":
            raise UserError(
                f"callbacks.{name}.dirpath={node['dirpath']} is not allowed; a run resumes from {run / 'checkpoints'}"
            )
        for key, is_used in (("filename", file.name in ("last", "previous")), ("save_last", node.get("save_last"))):
            if resumable and is_used and folder == run / "checkpoints":
                raise UserError(
                    f"callbacks.{name}.{key}={node[key]} would write over a checkpoint of callbacks.{resumable[0]}"
                )


def require_writable_logs(config: dict[str, Any]) -> None:
    """Check that the loggers can write. TensorBoard's would only notice it in a thread of its own.

    Raises:
        UserError: naming the first key whose folder cannot be written.
    """
    for name, node in config["logger"].items():
        folder = node.get("save_dir")
        if isinstance(folder, str) and "://" not in folder:
            require_writable(Path(folder), f"logger.{name}.save_dir")


def _names(objective: str | list[str]) -> list[str]:
    return objective if isinstance(objective, list) else [objective]


def _can_be_built(node: Any) -> bool:
    return isinstance(node, dict) and "_target_" in node
