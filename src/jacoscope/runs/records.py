"""Records of runs and sweeps, read as plain values of the types that they have: others may have written them."""

import json
from collections.abc import Mapping
from dataclasses import MISSING
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from jacoscope.files import require_file
from jacoscope.runs.targets import fits

Record = TypeVar("Record")

UNREADABLE = (OSError, ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError)
"""What reading a record raises where it is none."""


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file that holds an object, of text that can be written again.

    Raises:
        Exception: one of ``UNREADABLE``.
    """
    require_file(path)
    content = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise TypeError(f"it holds a {type(content).__name__}")
    json.dumps(content, ensure_ascii=False).encode()  # half of a surrogate pair could not even be printed
    return content


def record(kind: type[Record], content: Mapping[str, Any]) -> Record:
    """Make a dataclass from plain values, each of the type that the class announces.

    Raises:
        Exception: one of ``UNREADABLE``.
    """
    hints = get_type_hints(kind)
    for name, value in content.items():
        if name in hints and not fits(value, hints[name], MISSING):
            raise TypeError(f"{name} is a {type(value).__name__}")
    return kind(**content)
