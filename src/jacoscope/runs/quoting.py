"""Values as Hydra reads them from a command line."""

import re
from shlex import quote


def quoted(value: str) -> str:
    r"""Put a text between quotes, within which Hydra takes every character for itself, unless it is plain.

    >>> print(quoted("it's"), quoted("1e-3"), quoted("logs/model+seed-3f2a9c"))
    'it\'s' '1e-3' logs/model+seed-3f2a9c
    """
    if re.fullmatch(r"[a-z/_][\w./+-]*[-/_+][\w./+-]*", value, re.ASCII | re.IGNORECASE):
        return value
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def as_typed(key: str, value: str) -> str:
    """Give a word of a command line, quoted for Hydra and for the shell where they would take it for something else.

    >>> print(as_typed("checkpoint", "logs/epoch=3.ckpt"))
    'checkpoint='"'"'logs/epoch=3.ckpt'"'"''
    """
    return quote(f"{key}={quoted(value)}")
