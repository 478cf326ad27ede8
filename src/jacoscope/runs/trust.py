"""A run's config may come from somebody else: which of the classes it names may be built."""

from collections.abc import Iterable, Iterator
from shlex import quote
from typing import Any

from jacoscope.errors import UserError

HARMLESS = ("jacoscope.models", "jacoscope.data", "torch.nn", "torchvision.models", "torchvision.ops")
"""Namespaces that hold networks, layers and data sets and nothing that runs what a config says."""


def check_namespaces(config: Any, trusted: Iterable[str], origin: object) -> None:
    """Check, before anything is imported, that a config builds only what is harmless or what the user trusts.

    Names alone are judged here; that a harmless name does not lead elsewhere (``torch.nn.modules.os.system``) is
    for :func:`whitelist` in :func:`hydra.utils.execution_whitelist`, which resolves it.

    Args:
        config: the parts of a config that are to be built.
        trusted: packages, or whole targets, that the user vouches for.
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
    """Give every ``_target_`` that is neither harmless nor trusted.

    >>> foreign_targets({"model": {"_target_": "my_file.Net"}, "loss": {"_target_": "torch.nn.MSELoss"}})
    ['my_file.Net']
    """
    allowed = (*HARMLESS, *trusted)
    return [
        target
        for target in targets_in(config)
        if not any(target == name or target.startswith(f"{name}.") for name in allowed)
    ]


def as_typed(packages: Iterable[str]) -> list[str]:
    """Give the words of a command line that trust some packages.

    >>> as_typed(["my_file"]), as_typed([])
    (["'trust=[my_file]'"], [])
    """
    named = ",".join(packages)
    return [quote(f"trust=[{named}]")] if named else []


def whitelist(trusted: Iterable[str]) -> list[str]:
    """Give the patterns for Hydra's own wall behind :func:`check_namespaces`."""
    return [pattern for name in (*HARMLESS, *trusted) for pattern in (name, f"{name}.*")]


def targets_in(config: Any) -> Iterator[str]:
    """Give every ``_target_`` of a config, however deep.

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
