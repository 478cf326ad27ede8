"""The keys that something reads: a config file that sets another one has mistaken its name.

On the command line Hydra itself refuses unknown keys. Config files are merged as they are, so that a misspelt
``optimiser:`` in an experiment would go unnoticed, and the experiment be another one than was meant. What is built
(``model:``, ``optimizer:``, …) is held to what its target takes, by :mod:`jacoscope.runs.targets`; here are the keys at
the top, and those below the two that are not built.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from jacoscope.errors import UserError, nearest

RECIPES = ("experiment", "hparams_search", "debug")  # groups whose files set keys of all the others
NOT_BUILT = {"images": ("shape", "classes", "mean", "std"), "paths": ("data_dir", "log_dir", "output_dir")}
"""Of the keys that are not built, what jacoscope reads."""


def check_keys(cfg: DictConfig, hydra: Any) -> None:
    """Check that a composed config has only keys that something reads.

    At the top those are the keys of the primary config and its groups; below ``images`` and ``paths``, what jacoscope
    reads and what an interpolation names; and everywhere what was added on the command line with ``+key=value``.

    Args:
        cfg: the composed config.
        hydra: its node ``hydra``.

    Raises:
        UserError: naming the first other key, and the nearest that is read.
    """
    choices = hydra.runtime.choices
    known = {*_primary_keys(hydra), *_groups(hydra), *NOT_BUILT} - set(RECIPES) | {"hydra"}
    typed = [word.lstrip("+").partition("=")[0] for word in hydra.overrides.task if word[0] == "+"]
    for key in map(str, cfg):
        if key in known or key in {word.partition(".")[0] for word in typed}:
            continue
        if key in RECIPES:
            raise UserError(
                f"{key}={choices[key]} sets nothing: its file does not begin with the line\n# @package _global_\n"
                f"Without it, what is in there is put below {key}"
            )
        raise UserError(
            f"{_who(choices, RECIPES)} sets the key {key}, which nothing reads.{nearest(key, known)}\n"
            f"Keys at the top: {', '.join(sorted(known - {'hydra'}))}\n"
            f"A key of your own goes into the primary config, or on the command line: +{key}=VALUE"
        )
    for parent, read in NOT_BUILT.items():
        for key in map(str, cfg.get(parent) or ()):
            name = f"{parent}.{key}"
            if key in read or name in typed or name in _interpolations(cfg):
                continue
            raise UserError(
                f"{_who(choices, (*RECIPES, 'data', 'paths'))} sets the key {name}, which nothing reads."
                f"{nearest(key, read, f'{parent}.')}\nKeys of {parent}: {', '.join(read)}"
            )


def _who(choices: Mapping[str, Any], groups: Iterable[str]) -> str:
    return " or ".join(f"{group}={choices[group]}" for group in groups if choices.get(group)) or "A config file"


def _interpolations(cfg: DictConfig) -> set[str]:
    """Give the keys that values of a config refer to."""
    values: Any = OmegaConf.to_container(cfg, resolve=False)
    return set(re.findall(r"\$\{([\w.]+)\}", str({key: value for key, value in values.items() if key != "hydra"})))


def _groups(hydra: Any) -> set[str]:
    """Give all groups. What was chosen of them, Hydra tells only where it is one file, not a list of several."""
    folders = [Path(source.path) for source in hydra.runtime.config_sources if source.schema == "file"]
    return {group.name for folder in folders for group in folder.iterdir() if group.is_dir()}


def _primary_keys(hydra: Any) -> set[str]:
    """Give the keys that stand in the primary config itself."""
    (folder,) = (source.path for source in hydra.runtime.config_sources if source.provider == "main")
    return set(map(str, OmegaConf.load(Path(folder) / f"{hydra.job.config_name}.yaml"))) - {"defaults"}
