"""Keys of the config: those that nothing reads, those that were misspelt, and how a value is typed."""

import re
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from shlex import quote
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from jacoscope.errors import UserError, nearest
from jacoscope.runs.targets import find_target, parameters_of

RECIPES = ("experiment", "regularisation", "hparams_search", "debug")  # groups whose files set keys of all other groups
NOT_BUILT = {"images": ("shape", "classes", "mean", "std"), "paths": ("data_dir", "log_dir", "output_dir")}
"""The keys that jacoscope reads itself, below those that are not built from a ``_target_``."""


# Keys that config files set.


def check_keys(cfg: DictConfig, hydra: Any) -> None:
    """Check that a composed config has only keys that something reads.

    Hydra refuses unknown keys on the command line, but merges config files as they are: a misspelt ``optimiser:`` in
    an experiment would be ignored silently. Known are, at the top, the keys of the primary config and its groups; below
    ``images`` and ``paths``, those in ``NOT_BUILT`` and those that an interpolation names. Keys below a ``_target_``
    are checked by :func:`jacoscope.runs.targets.check_targets`. ``+key=value`` on the command line is always allowed.

    Raises:
        UserError: naming the first unknown key, and the nearest known one.
    """
    choices = hydra.runtime.choices
    known = {*_primary_keys(hydra), *_groups(hydra), *NOT_BUILT} - set(RECIPES) | {"hydra"}
    added = {word.lstrip("+").partition("=")[0] for word in hydra.overrides.task if word[0] == "+"}
    for key in map(str, cfg):
        if key in known or key in {name.partition(".")[0] for name in added}:
            continue
        if key in RECIPES:
            raise UserError(
                f"{key}={choices[key]} sets nothing: its file does not begin with the line\n# @package _global_\n"
                f"Without it, what is in there is put below {key}"
            )
        raise UserError(
            f"{_files(choices, RECIPES)} sets the key {key}, which nothing reads.{nearest(key, known)}\n"
            f"Keys at the top: {', '.join(sorted(known - {'hydra'}))}\n"
            f"A key of your own goes into the primary config, or on the command line: +{key}=VALUE"
        )
    for parent, read in NOT_BUILT.items():
        node = cfg.get(parent)
        if node is not None and not isinstance(node, DictConfig):
            raise UserError(f"{parent}={node} is of the wrong type: it has the keys {', '.join(read)}")
        for key in map(str, node or ()):
            name = f"{parent}.{key}"
            if key not in read and name not in added and name not in _interpolations(cfg):
                raise UserError(
                    f"{_files(choices, (*RECIPES, 'data', 'paths'))} sets the key {name}, which nothing reads."
                    f"{nearest(key, read, f'{parent}.')}\nKeys of {parent}: {', '.join(read)}"
                )


def _files(choices: Mapping[str, Any], groups: Iterable[str]) -> str:
    """Name the config files that may have set a key."""
    return " or ".join(f"{group}={choices[group]}" for group in groups if choices.get(group)) or "A config file"


def _interpolations(cfg: DictConfig) -> set[str]:
    """Return the keys that interpolations in a config name."""
    values: Any = OmegaConf.to_container(cfg, resolve=False)
    return set(re.findall(r"\$\{([\w.]+)\}", str({key: value for key, value in values.items() if key != "hydra"})))


def _groups(hydra: Any) -> set[str]:
    """Return all groups: the folders of configs. (``choices`` lacks those of which several files are chosen.)"""
    folders = [Path(source.path) for source in hydra.runtime.config_sources if source.schema == "file"]
    return {group.name for folder in folders for group in folder.iterdir() if group.is_dir()}


def _primary_keys(hydra: Any) -> set[str]:
    """Return the keys in the file of the primary config."""
    folders = (Path(source.path) for source in hydra.runtime.config_sources if source.schema == "file")
    files = (folder / f"{hydra.job.config_name}.yaml" for folder in folders)
    return set(map(str, OmegaConf.load(next(file for file in files if file.is_file())))) - {"defaults"}


# Keys that were typed.


def misspelt_key(words: Iterable[str], config_dir: Path, config_name: str) -> str | None:
    """Return a message about the first key on a command line that is not in the config, or None if all are."""
    GlobalHydra.instance().clear()
    overrides = [word for word in words if ("=" in word or word.startswith("~")) and not word.startswith("-")]
    with initialize_config_dir(str(config_dir.resolve())):
        try:
            choices = compose(config_name, return_hydra_config=True).hydra.runtime.choices
            groups = sorted(group for group in choices if not group.startswith("hydra"))
            typed = OverridesParser.create().parse_overrides(overrides)
            # The chosen groups alone, without the values that may be wrong.
            of_keys = {*groups, "hydra/launcher"}
            chosen = [word for word, parsed in zip(overrides, typed, strict=True) if parsed.key_or_group in of_keys]
            config = compose(config_name, chosen, return_hydra_config=True)
        except Exception:  # the groups themselves may be wrong: then no key can be suggested
            return None
    for override in typed:
        key = override.key_or_group
        if override.is_add() or override.is_force_add() or key in choices:
            continue
        if key.startswith("hydra/sweeper/"):
            return f"{key} belongs to a search: type -m hparams_search=optuna before it"
        if not _has(config, key):
            return _without_parent(key, config, chosen) or _unknown_key(key, config, groups)
    return None


def _has(config: DictConfig, key: str) -> bool:
    parent, _, name = key.rpartition(".")
    try:
        node = OmegaConf.select(config, parent) if parent else config
    except OmegaConfBaseException:  # a key below a value
        return False
    if isinstance(node, DictConfig):
        return name in list(node)  # unlike `in node`, also if its value is ???
    return isinstance(node, ListConfig) and name.isdigit()


def _without_parent(key: str, config: DictConfig, chosen: Iterable[str]) -> str | None:
    """Return a message about a key below a node that the chosen configs leave out, or None if it is another mistake."""
    (*above, parent), name = key.split(".")[:-1] or [""], key.rpartition(".")[2]
    node = OmegaConf.select(config, ".".join(above)) if above else None
    if not isinstance(node, DictConfig) or parent in node or nearest(parent, map(str, node)):
        return None
    choice = next((f" with {word}" for word in chosen if word.startswith(f"{above[0]}=")), "")
    return (
        f"There is no {'.'.join((*above, parent))}{choice}, so {name} cannot be set there.\n"
        f"Keys of {'.'.join(above)}: {', '.join(map(str, node))}\nThe whole config: --cfg job"
    )


def _unknown_key(key: str, config: DictConfig, groups: list[str]) -> str:
    parent, _, name = key.rpartition(".")
    siblings = OmegaConf.select(config, parent) if parent else config
    if isinstance(siblings, DictConfig) and name in _taken_by(siblings.get("_target_")):
        return (
            f"{key} is not in the config, but {siblings._target_} takes it: "
            f"put a plus before it to add it, +{key}=VALUE"
        )
    keys = [each for each in _dotted_keys(config) if each.partition(".")[0] != "hydra" or key.startswith("hydra")]
    guess = nearest(key, [*keys, *groups]) or _same_name(name, keys)
    message = f"There is no key {key} in the config.{guess}"
    if isinstance(siblings, DictConfig):
        allowed = [str(each) for each in siblings if not str(each).startswith("_") and each != "hydra"]
        if not allowed and parent in groups:
            return f"There is no key {key} in {parent}=none. Choose another config of it first: {parent}=…"
        if not allowed:
            return f"There is no key {key}: with the present choice, {parent} has no keys"
        message += f"\nKeys{f' of {parent}' if parent else ''}: {', '.join(allowed)}"
    if not parent:
        message += f"\nGroups: {', '.join(groups)}"
    return message + "\nThe whole config: --cfg job"


def _same_name(name: str, keys: Iterable[str]) -> str:
    """Return `` Did you mean X?`` with the shortest key whose last part is nearest to a name, or an empty string."""
    by_name: dict[str, str] = {}
    for key in sorted(keys, key=len):
        by_name.setdefault(key.rpartition(".")[2], key)
    alike = get_close_matches(name, by_name, n=1, cutoff=0.8)
    return f" Did you mean {by_name[alike[0]]}?" if alike else ""


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


# How a value is typed.


def quoted(value: str) -> str:
    r"""Return a string as Hydra reads it from a command line: in quotes, unless it is plain.

    >>> print(quoted("it's"), quoted("1e-3"), quoted("logs/model+seed-3f2a9c"))
    'it\'s' '1e-3' logs/model+seed-3f2a9c
    """
    if re.fullmatch(r"[a-z/_][\w./+-]*[-/_+][\w./+-]*", value, re.ASCII | re.IGNORECASE):
        return value
    return QuotedString(value, Quote.single).with_quotes()


def as_typed(key: str, value: str) -> str:
    """Return ``key=value`` as it is typed in a shell, with quotes for Hydra and for the shell where they are needed.

    >>> print(as_typed("checkpoint", "logs/epoch=3.ckpt"))
    'checkpoint='"'"'logs/epoch=3.ckpt'"'"''
    """
    return quote(f"{key}={quoted(value)}")
