"""Values as Hydra reads them from a command line."""


def quoted(value: str) -> str:
    r"""Put a value between quotes, within which Hydra takes every character for itself.

    >>> print(quoted("it's"))
    'it\'s'
    """
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
