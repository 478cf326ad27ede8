"""What the user may have meant: a config that cannot be composed, told in words that help."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf

from jacoscope.errors import UserError, nearest
from jacoscope.runs.targets import find_target, parameters_of


def explain(error: Exception, overrides: Iterable[str], config_dir: Path, config_name: str) -> str:
    """Say what was wrong with a command line, what is allowed and what to type instead.

    Args:
        error: what Hydra or OmegaConf raised.
        overrides: the words of the command line.
        config_dir: the folder of configs.
        config_name: the primary config.
    """
    message = str(error)
    if isinstance(error, MissingConfigException) and error.options:
        group, _, choice = str(error.missing_cfg_file).rpartition("/")
        if group == "hydra/sweeper/sampler" and len(error.options) == 1:  # jacoscope's own: the plugin's are not there
            return "A search needs Optuna and Hydra's plugin for it: pip install -e '.[sweep]'"
        return (
            f"There is no {group}={choice}.{nearest(choice, error.options, f'{group}=')}\n"
            f"Choices of {group}: {', '.join(sorted(error.options))}"
        )
    if isinstance(error, OverrideParseException):
        return (
            f"{error.override} cannot be read. A key is set with KEY=VALUE, a group's config chosen with GROUP=CHOICE"
        )
    if match := re.search(r"Could not (?:override|delete)[^']*'([^'=]+)", message) or re.search(
        r"Key '([^']+)' is not in struct", message
    ):
        key = match.group(1)
        if key.startswith("hydra/sweeper/"):
            return f"{key} belongs to a search: type -m hparams_search=optuna before it"
        base, groups = _base_config(overrides, config_dir, config_name)
        if base is not None:
            return _unknown_key(key, base, groups)
    if "Cannot merge incompatible container types" in message:
        file = re.search(r"'(.+)'", message)
        return f"{file.group(1) if file else 'A config file'} holds a list; a config file holds keys: KEY: VALUE"
    cause = f"\n{error.__cause__}" if error.__cause__ and str(error.__cause__) not in message else ""
    return f"The configuration cannot be composed: {message}{cause}"


def _unknown_key(key: str, base: DictConfig, groups: list[str]) -> str:
    parent, _, name = key.rpartition(".")
    siblings = OmegaConf.select(base, parent) if parent else base
    if isinstance(siblings, DictConfig) and name in _taken_by(siblings.get("_target_")):
        return (
            f"{key} is not in the config, but {siblings._target_} takes it: "
            f"put a plus before it to add it, +{key}=VALUE"
        )
    keys = list(_dotted_keys(base))
    guess = nearest(key, [*keys, *groups]) or nearest(name, [k.rpartition(".")[2] for k in keys])
    message = f"There is no key {key} in the config.{guess}"
    if isinstance(siblings, DictConfig):
        allowed = [str(k) for k in siblings if not str(k).startswith("_")]
        message += f"\nKeys{f' of {parent}' if parent else ''}: {', '.join(allowed)}"
    if not parent:
        message += f"\nGroups: {', '.join(groups)}"
    return message + "\nThe whole config: --cfg job"


def _base_config(overrides: Iterable[str], config_dir: Path, config_name: str) -> tuple[DictConfig | None, list[str]]:
    """Compose the config with the chosen groups alone, without the values that may be at fault; and name its groups."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(config_dir.resolve())):
        try:
            choices = compose(config_name, return_hydra_config=True).hydra.runtime.choices
            groups = sorted(group for group in choices if not group.startswith("hydra"))
            words = [word for word in overrides if "=" in word and not word.startswith("-")]
            parsed = zip(words, OverridesParser.create().parse_overrides(words), strict=True)
            return compose(config_name, [word for word, said in parsed if said.key_or_group in groups]), groups
        except Exception:  # the groups themselves may be at fault: then the message does without a suggestion
            return None, []


def _taken_by(target: str | None) -> Iterable[str]:
    try:
        return parameters_of(find_target(target)) if target else ()
    except UserError:
        return ()


def _dotted_keys(node: DictConfig, prefix: str = "") -> Iterator[str]:
    for key in map(str, node):
        name = f"{prefix}{key}"
        yield name
        if OmegaConf.is_missing(node, key) or OmegaConf.is_interpolation(node, key):
            continue
        if isinstance(child := node[key], DictConfig):
            yield from _dotted_keys(child, f"{name}.")
