"""What is analysed: a network with its trained weights, and the data that it was trained on."""

from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from typing import Any

import torch
from hydra.utils import execution_whitelist
from pytorch_lightning import LightningDataModule
from torch import nn
from torch.utils.data import Dataset

from jacoscope.analysis.origin import Origin
from jacoscope.analysis.weights import load_weights
from jacoscope.checkpoints import read_checkpoint
from jacoscope.errors import UserError
from jacoscope.runs.config import build, build_network
from jacoscope.runs.targets import check_namespaces, check_targets, whitelist


@dataclass(frozen=True)
class Subject:
    """A network with its weights, and its data.

    Attributes:
        origin: what it was made from.
        network: frozen, in evaluation mode; pixels in [0, 1] to logits.
        progress: ``epoch`` and ``global_step`` of the checkpoint, where it says so.
    """

    origin: Origin
    network: nn.Module
    progress: dict[str, int]

    @classmethod
    def of(cls, origin: Origin) -> "Subject":
        """Build the network, with its weights.

        Raises:
            UserError: if the config builds what is not trusted, the weights are of another architecture, or the
                network does not give logits of two classes or more.
        """
        if origin.config["images"]["classes"] < 2:
            raise UserError(
                f"{origin.checkpoint.path}: this network has one output, and an analysis needs two classes or more: "
                "margins and boundaries lie between two. Analyse a network with a logit for either class"
            )
        check_namespaces(origin.config, origin.trusted, origin.checkpoint.home)
        content = read_checkpoint(origin.checkpoint.path)  # before the network is built: it is refused more often
        check_targets(origin.config)
        with execution_whitelist(whitelist(origin.trusted)):
            network = build_network(origin.config)
        load_weights(network, content, origin.checkpoint.path, f"model {origin.config['model']['_target_']}")
        progress = {key: int(content[key]) for key in ("epoch", "global_step") if isinstance(content.get(key), int)}
        return cls(origin, network.eval().requires_grad_(False), progress)

    def on(self, device: torch.device) -> "Subject":
        """Give the same subject with a copy of the network on a device."""
        return self if device.type == "cpu" else replace(self, network=deepcopy(self.network).to(device))

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        weights = chain(self.network.parameters(), self.network.buffers())
        return next((tensor.device for tensor in weights), torch.device("cpu"))

    @property
    def shape(self) -> tuple[int, int, int]:
        """``(C, H, W)`` of an image."""
        channels, height, width = self.origin.config["images"]["shape"]
        return channels, height, width

    @property
    def class_names(self) -> list[str]:
        """One name for each class; its number where the data are not at hand."""
        names = getattr(self.data, "class_names", None)
        return list(names) if names else self.class_numbers

    @property
    def class_numbers(self) -> list[str]:
        """The classes by their numbers."""
        return [str(k) for k in range(self.origin.config["images"]["classes"])]

    @cached_property
    def data(self) -> LightningDataModule:
        """The data, prepared and set up."""
        with execution_whitelist(whitelist(self.origin.trusted)):
            data: LightningDataModule = build(self.origin.config["data"])
        data.prepare_data()
        for stage in ("fit", "test"):
            data.setup(stage)
        return data

    def split(self, name: str) -> Dataset[Any]:
        """Give the samples of ``train``, ``val`` or ``test``, in their fixed order.

        Raises:
            UserError: if there are none.
        """
        splits = getattr(self.data, "splits", None)
        dataset: Any = splits[name] if splits else getattr(self.data, f"{name}_dataloader")().dataset
        if len(dataset) == 0:
            raise UserError(f"split={name}: these data have no samples there")
        return dataset  # type: ignore[no-any-return]
