"""The tab "Jacobians" in TensorBoard: what is logged for it, and the page that shows it.

:func:`write` logs the Jacobians of some samples, :func:`read` returns what was logged. Both are loaded when they are
first used, for TensorBoard loads this package at its start.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jacoscope.board.reading import read as read
    from jacoscope.board.writing import write as write

_FILES = {"read": "reading", "write": "writing"}
__all__ = ["read", "write"]


def __getattr__(name: str) -> Any:
    if name not in _FILES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_FILES[name]}"), name)
