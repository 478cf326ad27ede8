"""Check what a config builds, before it is built: each ``_target_`` exists, takes its keys, and is trusted."""

import inspect
import pkgutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from shlex import quote
from typing import Any

from jacoscope.errors import UserError, nearest
from jacoscope.runs.records import fits, type_hints, type_name

HARMLESS = ("jacoscope.models", "jacoscope.data", "torch.nn", "torchvision.models", "torchvision.ops")
"""Packages of networks, layers and data sets, in which nothing runs what a config says."""
_FORWARDED = {"TensorBoardLogger": "torch.utils.tensorboard.SummaryWriter"}
"""Classes whose ``**kwargs`` go to another class, later than when they are made."""
_HYDRA_KEYS = {"_target_", "_partial_", "_recursive_", "_convert_", "_args_"}


def targets_in(config: Any) -> Iterator[str]:
    """Yield every ``_target_`` of a config, at any depth.

    >>> list(targets_in({"_target_": "a.B", "c": [{"_target_": "d.E"}]}))
    ['a.B', 'd.E']
    """
    if isinstance(config, dict):
        if "_target_" in config:
            yield str(config["_target_"])
        for value in config.values():
            yield from targets_in(value)
    elif isinstance(config, list):
        for value in config:
            yield from targets_in(value)


# Existence, keys and types.


def check_targets(config: Any, path: str = "") -> None:
    """Check every node with a ``_target_``: it exists, and takes these keys with values of these types.

    Hydra's structured configs would do this for classes whose signatures are repeated as dataclasses, and convert
    values instead of naming the mistake.

    Raises:
        UserError: naming the first wrong key, which begins with ``path``, and what would be right.
    """
    if isinstance(config, Mapping):
        if "_target_" in config:
            _check_node(config, path)
        for key, value in config.items():
            check_targets(value, f"{path}.{key}" if path else str(key))
    elif isinstance(config, list):
        for index, value in enumerate(config):
            check_targets(value, f"{path}[{index}]")


def parameters_of(target: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """Return the parameters of a target that can be set by name."""
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {parameter.name: parameter for parameter in _signature(target) if parameter.kind in named}


def find_target(name: str) -> Callable[..., Any]:
    """Import the class or function that a ``_target_`` names.

    Raises:
        UserError: if it does not exist, or cannot be called.
    """
    try:
        target = pkgutil.resolve_name(name)
    except (Exception, SystemExit) as error:  # the user's own module may raise anything while it is imported
        package, _, last = str(name).rpartition(".")
        raise UserError(
            f"_target_: {name} cannot be imported ({error}).{_nearest_in(package, last)}\n"
            "It is the dotted path of a class or function, in an installed package or in a file beside train.py"
        ) from error
    if not callable(target):
        raise UserError(f"_target_: {name} is not a class or function")
    return target  # type: ignore[no-any-return]


def _check_node(node: Mapping[str, Any], path: str) -> None:
    target = find_target(node["_target_"])
    allowed = parameters_of(target)
    takes_any_key = any(p.kind is p.VAR_KEYWORD for p in _signature(target))
    if forwarded := _FORWARDED.get(getattr(target, "__name__", "")):
        allowed, takes_any_key = allowed | parameters_of(find_target(forwarded)), False
    hints = type_hints(target)
    for key, value in node.items():
        if key in _HYDRA_KEYS or (key not in allowed and takes_any_key):
            continue
        if key not in allowed:
            raise UserError(
                f"{path}.{key}: {node['_target_']} does not take {key}.{nearest(key, allowed)}\n"
                f"It takes: {', '.join(name for name in allowed if name != 'self')}"
            )
        if key in hints and not fits(value, hints[key], allowed[key].default):
            raise UserError(
                f"{path}.{key}={value!r} is of the wrong type: {node['_target_']} takes {type_name(hints[key])}"
            )


def _signature(target: Callable[..., Any]) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(target).parameters.values())
    except (ValueError, TypeError):  # some builtins have no signature; they may take any key
        return [inspect.Parameter("anything", inspect.Parameter.VAR_KEYWORD)]


def _nearest_in(package: str, name: str) -> str:
    try:
        module = pkgutil.resolve_name(package)
    except Exception:  # the package does not exist either
        return ""
    return nearest(name, dir(module), prefix=f"{package}.")


# Trust: the config of a run may come from somebody else.


def check_namespaces(config: Any, trusted: Iterable[str], origin: object) -> None:
    """Check, before anything is imported, that a config builds only what is harmless or trusted by the user.

    This looks at names alone. That a harmless name does not lead elsewhere (``torch.nn.modules.os.system``) is checked
    when it is resolved, with :func:`whitelist` given to :func:`hydra.utils.execution_whitelist`.

    Args:
        config: the parts of a config that are to be built.
        trusted: packages, or whole targets, that the user trusts.
        origin: where the config comes from, for the message.

    Raises:
        UserError: naming the first target that is neither.
    """
    for target in foreign_targets(config, trusted):
        raise UserError(
            f"{origin} wants to run {target}, which is neither one of jacoscope's networks and data sets nor one of "
            "the layers and networks of torch and torchvision. Nothing of it was run. If you know that code and trust "
            f"it, type trust=[{target.partition('.')[0]}]"
        )


def foreign_targets(config: Any, trusted: Iterable[str] = ()) -> list[str]:
    """Return every ``_target_`` that is neither harmless nor trusted.

    >>> foreign_targets({"model": {"_target_": "my_file.Net"}, "loss": {"_target_": "torch.nn.MSELoss"}})
    ['my_file.Net']
    """
    allowed = (*HARMLESS, *trusted)
    return [
        target
        for target in targets_in(config)
        if not any(target == name or target.startswith(f"{name}.") for name in allowed)
    ]


def whitelist(trusted: Iterable[str]) -> list[str]:
    """Return the patterns of what may be built, for :func:`hydra.utils.execution_whitelist`."""
    return [pattern for name in (*HARMLESS, *trusted) for pattern in (name, f"{name}.*")]


def trust_override(packages: Iterable[str]) -> list[str]:
    """Return the words of a command line that trust some packages.

    >>> trust_override(["my_file"]), trust_override([])
    (["'trust=[my_file]'"], [])
    """
    named = ",".join(packages)
    return [quote(f"trust=[{named}]")] if named else []
