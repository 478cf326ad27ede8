"""The keys at the top of a config: a file that sets another one has mistaken its name.

On the command line Hydra itself refuses unknown keys. Config files are merged as they are, so that a misspelt
``optimiser:`` in an experiment would go unnoticed, and the experiment be another one than was meant.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from jacoscope.errors import UserError, nearest

RECIPES = ("experiment", "hparams_search", "debug")  # groups whose files set keys of all the others
SET_BY_GROUPS = ("images",)  # keys that files of a group set at the top, besides the group's own


def check_top_level(cfg: Mapping[str, Any], hydra: Any) -> None:
    """Check that a composed config has only keys that belong to it.

    Those are the keys of the primary config, its groups, and what was added on the command line with ``+key=value``.

    Args:
        cfg: the composed config.
        hydra: its node ``hydra``.

    Raises:
        UserError: naming the first other key, and the nearest that belongs to it.
    """
    choices = hydra.runtime.choices
    known = {*_primary_keys(hydra), *_groups(hydra), *SET_BY_GROUPS} - set(RECIPES)
    typed = {word.lstrip("+").partition("=")[0].partition(".")[0] for word in hydra.overrides.task if word[0] == "+"}
    for key in map(str, cfg):
        if key in known or key in typed or key == "hydra":
            continue
        if key in RECIPES:
            raise UserError(
                f"{key}={choices[key]} sets nothing: its file does not begin with the line\n# @package _global_\n"
                f"Without it, what is in there is put below {key}"
            )
        chosen = [f"{group}={choices[group]}" for group in RECIPES if choices.get(group)]
        raise UserError(
            f"{' or '.join(chosen) or 'A config file'} sets the key {key}, which nothing reads."
            f"{nearest(key, known)}\nKeys at the top: {', '.join(sorted(known))}\n"
            f"A key of your own goes into the primary config, or on the command line: +{key}=VALUE"
        )


def _groups(hydra: Any) -> set[str]:
    """Give all groups. What was chosen of them, Hydra tells only where it is one file, not a list of several."""
    folders = [Path(source.path) for source in hydra.runtime.config_sources if source.schema == "file"]
    return {group.name for folder in folders for group in folder.iterdir() if group.is_dir()}


def _primary_keys(hydra: Any) -> set[str]:
    """Give the keys that stand in the primary config itself."""
    (folder,) = (source.path for source in hydra.runtime.config_sources if source.provider == "main")
    return set(map(str, OmegaConf.load(Path(folder) / f"{hydra.job.config_name}.yaml"))) - {"defaults"}
