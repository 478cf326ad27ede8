"""What a config's ``_target_`` takes: looked up before anything is built, so that mistakes are told at once."""

import inspect
import pkgutil
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Any

from jacoscope.errors import UserError, nearest

_OF_HYDRA = {"_target_", "_partial_", "_recursive_", "_convert_", "_args_"}


def check_targets(config: Any, path: str = "") -> None:
    """Check every node that has a ``_target_``: that it exists, and takes these keys with values of these types.

    Args:
        config: a resolved config: mappings, sequences and plain values.
        path: the dotted key of ``config`` in the whole, for the messages.

    Raises:
        UserError: naming the first key at fault and what would be right.
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
    """Give the parameters of a target that can be set by name."""
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    try:
        parameters = inspect.signature(target).parameters
    except (ValueError, TypeError):  # some builtins have no signature
        return {}
    return {name: parameter for name, parameter in parameters.items() if parameter.kind in named}


def find_target(name: str) -> Callable[..., Any]:
    """Import what a ``_target_`` names.

    Raises:
        UserError: if there is no such thing, or it cannot be called.
    """
    try:
        target = pkgutil.resolve_name(name)
    except Exception as error:  # whatever a user's own module raises while it is imported
        home, _, last = name.rpartition(".")
        raise UserError(
            f"_target_: {name} cannot be imported ({error}).{_nearest_in(home, last)}\n"
            "It is the dotted path of a class or function, in a package that is installed or a file beside train.py"
        ) from error
    if not callable(target):
        raise UserError(f"_target_: {name} is no class or function")
    return target  # type: ignore[no-any-return]


def _check_node(node: Mapping[str, Any], path: str) -> None:
    target = find_target(node["_target_"])
    allowed = parameters_of(target)
    takes_anything = any(p.kind is p.VAR_KEYWORD for p in _signature(target))
    hints = type_hints(target)
    for key, value in node.items():
        if key in _OF_HYDRA:
            continue
        if key not in allowed:
            if takes_anything:
                continue
            raise UserError(
                f"{path}.{key}: {node['_target_']} does not take {key}.{nearest(key, allowed)}\n"
                f"It takes: {', '.join(name for name in allowed if name != 'self')}"
            )
        if key in hints and not fits(value, hints[key], allowed[key].default):
            raise UserError(
                f"{path}.{key}={value!r} is of the wrong type: {node['_target_']} takes {_name(hints[key])}"
            )


def _signature(target: Callable[..., Any]) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(target).parameters.values())
    except (ValueError, TypeError):
        return [inspect.Parameter("anything", inspect.Parameter.VAR_KEYWORD)]


def type_hints(target: Callable[..., Any]) -> dict[str, Any]:
    """Give the annotations of a target's parameters, by name; none where they cannot be resolved."""
    try:
        return typing.get_type_hints(inspect.unwrap(target.__init__ if inspect.isclass(target) else target))
    except Exception:  # annotations that name what is not imported: then types are not checked
        return {}


def fits(value: Any, hint: Any, default: Any) -> bool:
    """Tell whether a plain value of a config may be given where ``hint`` stands; in doubt it may.

    Args:
        value: as read from a config: a mapping, a list, a string, a number, a truth value or none.
        hint: the annotation of the parameter.
        default: the parameter's own default, which always fits.

    >>> fits([1, 2], tuple[float, float], None), fits("1", int | None, None)
    (True, False)
    """
    if hint is Any or value is default or (isinstance(value, Mapping) and "_target_" in value):
        return True
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, UnionType):
        return any(fits(value, arm, default) for arm in arguments)
    if origin is typing.Literal:
        return value in arguments
    if value is None:
        return hint is NoneType
    if hint is bool or isinstance(value, bool):
        return hint is bool and isinstance(value, bool)
    if hint is float:
        return isinstance(value, (int, float))
    if isinstance(value, str):  # which is a sequence too, but never meant as one
        return hint in (str, Path, object)
    kind = origin or hint
    if not inspect.isclass(kind):
        return True
    if isinstance(value, list):
        is_sequence = issubclass(list, kind) or issubclass(kind, Sequence)
        one_kind = arguments[:1] if len({a for a in arguments if a is not ...}) == 1 else ()
        return is_sequence and all(fits(item, one_kind[0], default) for item in value if one_kind)
    if getattr(kind, "_is_protocol", False):
        return not isinstance(value, (int, float, str))
    return isinstance(value, kind)


def _name(hint: Any) -> str:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, UnionType):
        return " | ".join(_name(arm) for arm in arguments)
    if origin is typing.Literal:
        return " | ".join(map(repr, arguments))
    if origin is list:
        return f"list[{_name(arguments[0])}]"
    if hint is NoneType:
        return "None"
    return hint.__name__ if inspect.isclass(hint) else str(hint).replace("typing.", "")


def _nearest_in(home: str, name: str) -> str:
    try:
        module = pkgutil.resolve_name(home)
    except Exception:  # the home itself is not there: nothing near to name
        return ""
    return nearest(name, dir(module), prefix=f"{home}.")
