"""Read JSON records, which others may have written, and check the types of the values in them."""

import inspect
import json
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, TypeVar

from jacoscope.files import require_file

Record = TypeVar("Record")

NOT_A_RECORD = (OSError, ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError)
"""The exceptions that are raised if a file is not the record that it should be."""


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file that contains an object.

    Raises:
        Exception: one of ``NOT_A_RECORD``, if it contains something else, or text that cannot be written again.
    """
    require_file(path)
    content = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise TypeError(f"it holds a {type(content).__name__}")
    json.dumps(content, ensure_ascii=False).encode()  # fails for half of a surrogate pair, which cannot be printed
    return content


def record(kind: type[Record], content: Mapping[str, Any]) -> Record:
    """Make a dataclass from plain values, after checking their types.

    Raises:
        Exception: one of ``NOT_A_RECORD``, if a value is missing, unknown or not of the annotated type.
    """
    hints = typing.get_type_hints(kind)
    for name, value in content.items():
        if name in hints and not fits(value, hints[name], MISSING):
            raise TypeError(f"{name} is a {type(value).__name__}")
    return kind(**content)


@cache
def type_hints(target: Callable[..., Any]) -> dict[str, Any]:
    """Return the annotations of a target's parameters, by name, or nothing if they cannot be resolved."""
    try:
        return typing.get_type_hints(inspect.unwrap(target.__init__ if inspect.isclass(target) else target))
    except Exception:  # annotations may name what is not imported; then types are not checked
        return {}


def fits(value: Any, hint: Any, default: Any) -> bool:
    """Whether a plain value from YAML or JSON fits a type annotation. If that cannot be decided, it does.

    Libraries for this convert: ``"1"`` would become the number 1, and ``true`` too.

    Args:
        value: a mapping, a list, a string, a number, a boolean or None.
        hint: the annotation of the parameter.
        default: the default of the parameter, which always fits.

    >>> fits([1, 2], tuple[float, float], None), fits("1", int | None, None), fits([1], str, None)
    (True, False, False)
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
    if isinstance(value, str):  # a string is a sequence too, but is never meant as one
        return hint in (str, Path, object)
    kind = origin or hint
    if not inspect.isclass(kind):
        return True
    if isinstance(value, list):
        is_sequence = issubclass(list, kind) or (issubclass(kind, Sequence) and kind is not str)
        one_kind = arguments[:1] if len({a for a in arguments if a is not ...}) == 1 else ()
        return is_sequence and all(fits(item, one_kind[0], default) for item in value if one_kind)
    if typing.Protocol in kind.__mro__:
        return all(hasattr(value, name) for name in vars(kind) if not name.startswith("_"))
    return isinstance(value, kind)


def type_name(hint: Any) -> str:
    """Return an annotation as it is written in code.

    >>> type_name(int | None), type_name(typing.Literal["min", "max"])
    ('int | None', "'min' | 'max'")
    """
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, UnionType):
        return " | ".join(type_name(arm) for arm in arguments)
    if origin is typing.Literal:
        return " | ".join(map(repr, arguments))
    if origin is list:
        return f"list[{type_name(arguments[0])}]"
    if hint is NoneType:
        return "None"
    return hint.__name__ if inspect.isclass(hint) else str(hint).replace("typing.", "")
