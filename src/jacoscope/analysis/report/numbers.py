"""Numbers in the text of the report, each with the place in summary.json that it comes from."""

import math
from typing import Any

from markupsafe import Markup

from jacoscope.visuals.numbers import number_text

NUMBER = Markup('<span class="n" data-from="{0}" title="summary.json: {0}">{1}</span>')


class Numbers:
    """Write numbers of a summary as HTML.

    Each becomes ``<span class="n" data-from="…">`` with its path in summary.json, so that a reader who points at it,
    and a test, can trace it.

    Args:
        summary: the content of summary.json.
    """

    def __init__(self, summary: dict[str, Any]) -> None:
        self.summary = summary

    def value(self, path: str) -> Any:
        """Return what is at a path: keys, and places in lists, joined with slashes. ``None`` where nothing is.

        >>> Numbers({"a": {"b": [2, 3]}}).value("a/b/1")
        3
        """
        node: Any = self.summary
        for key in path.split("/"):
            if isinstance(node, list):
                node = node[int(key)]
            else:
                node = node.get(key.replace("~1", "/").replace("~0", "~")) if isinstance(node, dict) else None
        return node

    @staticmethod
    def key(name: str) -> str:
        """Return a name that the user chose as one key of a path, as JSON pointers do (RFC 6901).

        >>> Numbers({"cat/dog": 1}).value(Numbers.key("cat/dog"))
        1
        """
        return name.replace("~", "~0").replace("/", "~1")

    def known(self, *paths: str) -> bool:
        """Return whether there is a number at each of the paths."""
        return all(isinstance(self.value(path), (int, float)) for path in paths)

    def __call__(self, path: str, form: str = "") -> Markup:
        """Return the number at a path as HTML; a dash where there is none.

        Args:
            path: keys joined with slashes.
            form: a format specification; by default three significant digits.
        """
        value = self.value(path)
        text = "–" if value is None else short(value) if not form else number_text(value, form).replace("%", " %")
        return NUMBER.format(path, text)


def short(value: float) -> str:
    """Return three significant digits, without an exponent where that is short.

    >>> short(9.4512), short(0.0123456), short(12345.6), short(0.00001234), short(7)
    ('9.45', '0.0123', '12,346', '1.23e−5', '7')
    """
    if isinstance(value, int):
        return f"{value:,}"
    if value == 0 or not math.isfinite(value):
        return number_text(value, "g")
    if abs(value) >= 1000:
        return number_text(value, ",.0f")
    return number_text(value, "#.3g").removesuffix(".")
