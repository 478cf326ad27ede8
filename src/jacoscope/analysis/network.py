"""A trained network: its checkpoint, the config that it was trained with, its weights and its data."""

import hashlib
import os
import sys
from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from math import prod
from pathlib import Path
from typing import Any

import torch
from hydra.utils import execution_whitelist
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning import LightningDataModule
from torch import Tensor, nn
from torch.utils.data import Dataset

from jacoscope.checkpoints import read_checkpoint
from jacoscope.commands import typed
from jacoscope.data.datamodule import to_pixels
from jacoscope.errors import UserError
from jacoscope.jacobians import JacobianError, usable_strategy
from jacoscope.runs.build import build, build_network
from jacoscope.runs.config import require_values
from jacoscope.runs.directory import RunDirectory, latest_run
from jacoscope.runs.new_folders import print_new
from jacoscope.runs.ranges import check_ranges, require_integer
from jacoscope.runs.result import Result, moved
from jacoscope.runs.targets import check_namespaces, check_targets, targets_in, whitelist

PARTS = ("images", "data", "model")
"""Parts of a run's config that describe the network and its data."""
MAP_ENTRIES = 1 << 24
"""Entries of the mean maps of all classes, at most; larger ones are not kept. 64 MiB for each map in float32."""


@dataclass(frozen=True)
class CheckpointFile:
    """A checkpoint and the run that it belongs to.

    Attributes:
        path: the file.
        run: the run's directory; none for a file outside of a run.
    """

    path: Path
    run: RunDirectory | None

    @property
    def home(self) -> Path:
        """The folder whose folder ``analysis`` holds the answers about it."""
        return self.run.path if self.run else self.path.parent

    def sha256(self) -> str:
        """Return the SHA-256 of the content in hexadecimal digits."""
        with self.path.open("rb") as file:
            digest = hashlib.sha256()
            while piece := file.read(1 << 20):
                digest.update(piece)
        return digest.hexdigest()

    def require(self, sha256: str) -> None:
        """Check that the content is still the same.

        Raises:
            UserError: if it has changed.
        """
        if self.sha256() != sha256:
            raise UserError(
                f"{self.path} has just been replaced: its run is still training. Call again, or wait until it is done"
            )


def find_checkpoint(given: str | None, log_dir: str | Path) -> CheckpointFile:
    """Find a checkpoint: a file, the best one of a run, or the best one of the latest finished run.

    Args:
        given: a file or a run directory; none for the latest finished run.
        log_dir: the folder of all runs.

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
        raise UserError(f"checkpoint={given}: there is no such file or run directory.{_existing_runs(log_dir)}")
    owner = RunDirectory(path.resolve().parent.parent)
    is_of_a_run = path.resolve().parent.name == "checkpoints" and owner.result_file.exists()
    return CheckpointFile(path, owner if is_of_a_run else None)


@dataclass(frozen=True)
class NetworkSpec:
    """All that a trained network is built from, as plain values that can be sent to another process.

    Attributes:
        checkpoint: the file and its run.
        config: the parts ``images``, ``data`` and ``model`` of the run's config, with the user's changes.
        trusted: packages and targets that the user trusts.
        is_unchanged: whether the user changed nothing.
    """

    checkpoint: CheckpointFile
    config: dict[str, Any]
    trusted: tuple[str, ...]
    is_unchanged: bool

    @property
    def classes(self) -> int:
        """The number of classes."""
        return int(self.config["images"]["classes"])

    @property
    def shape(self) -> tuple[int, int, int]:
        """``(C, H, W)`` of an image."""
        channels, height, width = self.config["images"]["shape"]
        return channels, height, width

    @property
    def keeps_maps(self) -> bool:
        """Whether the mean maps of the classes are small enough to be kept and drawn."""
        return self.classes * prod(self.shape) <= MAP_ENTRIES


def network_spec(
    checkpoint: CheckpointFile, cfg: DictConfig, overrides: Iterable[str], trust: Iterable[str]
) -> NetworkSpec:
    """Find out what a checkpoint's network and data are built from.

    The run's stored config says so. Keys of ``model``, ``data`` and ``images`` on the command line replace stored ones,
    and ``paths.data_dir`` replaces the folder of the data.

    Args:
        checkpoint: the file and its run.
        cfg: the composed config of the analysis.
        overrides: the words of the command line.
        trust: packages that the user trusts.

    Raises:
        UserError: if there is no stored config and the command line names no network.
    """
    words = [word.lstrip("+~").partition("=")[0] for word in overrides]
    typed = [word for word in words if word.partition(".")[0] in PARTS]
    stored = _stored_config(checkpoint, data_dir=cfg.paths.data_dir if "paths.data_dir" in words else None)
    composed = deepcopy(cfg)
    if stored and "data" not in typed:  # the keys of a new model refer to the run's own images
        composed.images = _replaced(stored, [key for key in typed if key.startswith("images.")], cfg)["images"]
    require_values(composed, PARTS)
    mine: dict[str, Any] = {part: OmegaConf.to_container(composed[part], resolve=True) for part in PARTS}
    require_integer("images.classes", mine["images"].get("classes"))
    if stored is None:
        if "model" not in typed:
            raise UserError(
                f"{checkpoint.path} is a file outside of a run directory, and does not say which network it is for: "
                "name it, model=lenet5, and its data where they are not MNIST, data=cifar10"
            )
        return NetworkSpec(checkpoint, mine, (*trust, *targets_in(mine)), is_unchanged=False)
    config = _replaced(stored, [*typed, *(["images"] if "data" in typed else [])], OmegaConf.create(mine))
    values = {key: OmegaConf.select(OmegaConf.create(config), key) for key in typed}
    plain = [{key.rpartition(".")[2]: _plain(value)} for key, value in values.items()]
    return NetworkSpec(checkpoint, config, (*trust, *targets_in(plain)), is_unchanged=not typed)


@dataclass(frozen=True)
class TrainedNetwork:
    """A network with its weights, and its data.

    Attributes:
        spec: what it was built from.
        module: frozen, in evaluation mode; from pixels, ``[batch, C, H, W]``, to logits, ``[batch, classes]``.
        progress: ``epoch`` and ``global_step`` of the checkpoint, if it holds them.
    """

    spec: NetworkSpec
    module: nn.Module
    progress: dict[str, int]

    @classmethod
    def load(cls, spec: NetworkSpec) -> "TrainedNetwork":
        """Build the network and load its weights.

        Raises:
            UserError: if the config builds what is not trusted, the weights are of another architecture, or the
                network does not return logits of two classes or more.
        """
        if spec.classes < 2:
            raise UserError(
                f"{spec.checkpoint.path}: this network has one output, and an analysis needs two classes or more: "
                "margins and boundaries lie between two. Analyse a network with a logit for either class"
            )
        check_namespaces(spec.config, spec.trusted, spec.checkpoint.home)
        content = read_checkpoint(spec.checkpoint.path)  # before the network is built: it is refused more often
        check_ranges(spec.config)
        check_targets(spec.config)
        with execution_whitelist(whitelist(spec.trusted)):
            module = build_network(spec.config)
        load_weights(module, content, spec.checkpoint.path, f"model {spec.config['model']['_target_']}")
        progress = {key: int(content[key]) for key in ("epoch", "global_step") if isinstance(content.get(key), int)}
        return cls(spec, module.eval().requires_grad_(False), progress)

    def on(self, device: torch.device) -> "TrainedNetwork":
        """Return the same network on a device, as a copy if it is not there already."""
        return self if device.type == "cpu" else replace(self, module=deepcopy(self.module).to(device))

    @property
    def device(self) -> torch.device:
        """The device of its weights."""
        weights = chain(self.module.parameters(), self.module.buffers())
        return next((tensor.device for tensor in weights), torch.device("cpu"))

    @property
    def class_names(self) -> list[str]:
        """One name for each output; its number where the data name no class, and ``output k`` beyond their classes."""
        names, outputs = list(getattr(self.data, "class_names", None) or ()), self.spec.classes
        if not names:
            return [str(k) for k in range(outputs)]
        return [*names[:outputs], *(f"output {k}" for k in range(len(names), outputs))]

    def usable_strategy(self, preferred: str) -> str:
        """Return the preferred strategy, or, if it cannot carry out the network, the one that ``"auto"`` uses.

        Raises:
            UserError: if the network has no Jacobians.
        """
        try:
            return usable_strategy(self.module, torch.full((2, *self.spec.shape), 0.5), "logits", preferred)
        except JacobianError as error:
            raise UserError(f"{self.spec.checkpoint.path}: {error}") from error

    @cached_property
    def data(self) -> LightningDataModule:
        """The data, prepared and set up."""
        with execution_whitelist(whitelist(self.spec.trusted)):
            data: LightningDataModule = build(self.spec.config, "data")
        root = Path(str((self.spec.config["data"].get("source") or {}).get("root", ".")))
        is_new = not root.exists()
        data.prepare_data()
        if is_new and root.exists():
            print_new(root, "data", "data_dir")
        for stage in ("fit", "test"):
            data.setup(stage)
        return data

    def split(self, name: str) -> Dataset[Any]:
        """Return the samples of ``train``, ``val`` or ``test``, in their fixed order.

        Raises:
            UserError: if there are none.
        """
        splits = getattr(self.data, "splits", None)
        dataset: Any = splits[name] if splits else getattr(self.data, f"{name}_dataloader")().dataset
        if len(dataset) == 0:
            raise UserError(f"split={name}: these data have no samples there")
        return dataset  # type: ignore[no-any-return]

    def read_samples(self, split: str, indices: list[int]) -> tuple[Tensor, Tensor]:
        """Read samples of a split.

        Returns:
            Pixels in [0, 1], ``[batch, C, H, W]``, and labels, ``[batch]``.

        Raises:
            UserError: if the network has no class of such a label.
        """
        dataset: Any = self.split(split)
        many = getattr(dataset, "__getitems__", None)
        images, labels = many(indices) if many else (None, None)
        if not isinstance(images, Tensor):
            pairs = [dataset[index] for index in indices]
            images = torch.stack([torch.as_tensor(image) for image, _ in pairs])
            labels = torch.tensor([int(label) for _, label in pairs])
        assert isinstance(labels, Tensor)
        for position in ((labels < 0) | (labels >= self.spec.classes)).nonzero().flatten().tolist():
            raise UserError(
                f"sample {indices[position]} has the label {int(labels[position])}, "
                f"but the network has classes 0 to {self.spec.classes - 1}"
            )
        return (images if images.is_floating_point() else to_pixels(images)), labels.long()


def load_weights(module: nn.Module, content: dict[str, Any], path: Path, described: str) -> None:
    """Load a checkpoint's weights into a network.

    The weights may be in ``state_dict`` (Lightning) or be the content itself, and their names may have one common
    prefix (``network.``, ``model.``, ``module.``).

    Args:
        module: the network.
        content: as :func:`jacoscope.checkpoints.read_checkpoint` returns it.
        path: of the checkpoint, for the messages.
        described: what the network was built from, for the messages.

    Raises:
        UserError: if the weights are of another architecture, or not finite.
    """
    weights = content.get("state_dict", content)
    tensors = {str(k): v for k, v in weights.items() if isinstance(v, Tensor)} if isinstance(weights, dict) else {}
    wanted = module.state_dict()
    if not tensors:
        raise UserError(f"{path} holds no weights")
    prefix = _common_prefix(list(tensors), list(wanted))
    found = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    different = [
        f"{name}: {list(found[name].shape)} in the checkpoint, {list(wanted[name].shape)} in the network"
        for name in wanted
        if name in found and found[name].shape != wanted[name].shape
    ]
    different += [f"{name}: not in the checkpoint" for name in wanted if name not in found]
    different += [f"{name}: not in the network" for name in found if name not in wanted]
    if different:
        more = f"\n  and {len(different) - 4} more" if len(different) > 4 else ""
        raise UserError(
            f"{path} holds the weights of another architecture than {described}:\n  "
            + "\n  ".join(different[:4])
            + more
            + "\nName the network that it was trained with: model=lenet5, model=mlp, …"
        )
    if broken := [name for name in wanted if not bool(found[name].isfinite().all())]:
        raise UserError(f"{path}: the weights {', '.join(broken[:3])} are NaN or infinite: that training had diverged")
    module.load_state_dict(found)


def _common_prefix(have: list[str], want: list[str]) -> str:
    """Return the prefix that the checkpoint has before the network's own names: the one that fits most names."""
    if not want:
        return ""
    candidates = {name.removesuffix(wanted) for name in have for wanted in want if name.endswith(wanted)}
    names = set(have)
    whole = {prefix for prefix in candidates if prefix.endswith(".")}
    return max(sorted({"", *whole}), key=lambda prefix: sum(f"{prefix}{wanted}" in names for wanted in want))


def _best_of(run: RunDirectory) -> Path:
    for path in (run.best_checkpoint, run.last_checkpoint):
        if os.path.lexists(path) and not path.is_file():
            raise UserError(
                f"{path} is not a checkpoint: it is a folder, or a link that leads to no file. Remove it, or name "
                f"another checkpoint of the run: checkpoint={run.last_checkpoint}"
            )
        if path.is_file():
            if path != run.best_checkpoint:
                print(f"There is no {run.best_checkpoint}: this is about the last weights instead", file=sys.stderr)
            return path
    raise UserError(f"{run.path} holds no checkpoint: there is neither checkpoints/best.ckpt nor checkpoints/last.ckpt")


def _existing_runs(log_dir: str | Path) -> str:
    runs = sorted(file.parent for file in Path(log_dir).glob("train/**/result.json"))
    if not runs:
        return f" Make one with {typed('train')}"
    return f" Runs in {log_dir}: {', '.join(map(str, runs[-3:]))}"


def _stored_config(checkpoint: CheckpointFile, data_dir: str | None) -> dict[str, Any] | None:
    if checkpoint.run is None:
        return None
    if not checkpoint.run.result_file.exists():
        raise UserError(
            f"{checkpoint.run.path} has no result.json, which says which network it is. Name the file and the network: "
            f"checkpoint={checkpoint.path} model=lenet5"
        )
    config = Result.read(checkpoint.run.result_file).config
    if missing := [part for part in PARTS if not isinstance(config.get(part), dict)]:
        raise UserError(
            f"{checkpoint.run.result_file} has no config of {', '.join(missing)}: it is not a run of train.py"
        )
    stored = {part: config[part] for part in PARTS}
    before = (config.get("paths") or {}).get("data_dir")
    return moved(stored, before, data_dir) if before and data_dir else stored


def _replaced(config: dict[str, Any], keys: Iterable[str], values: DictConfig) -> dict[str, Any]:
    """Return a config whose values at some keys are replaced by those of another config."""
    result = OmegaConf.create(config)
    for key in keys:
        OmegaConf.update(result, key, _plain(OmegaConf.select(values, key)), merge=False, force_add=True)
    return OmegaConf.to_container(result)  # type: ignore[return-value]


def _plain(value: Any) -> Any:
    return OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
