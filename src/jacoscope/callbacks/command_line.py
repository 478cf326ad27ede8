"""What a Hydra application was asked for: what was typed on its command line, and its choice in each group."""

import sys
from collections.abc import Collection
from typing import Any


def typed(ignore: Collection[str] = ()) -> dict[str, Any]:
    """Give the overrides, by key or group; nothing outside a Hydra application.

    Args:
        ignore: keys that are left out, with all below them.
    """
    config = _hydra_config()
    if config is None:
        return {}
    from hydra.core.override_parser.overrides_parser import OverridesParser

    overrides = OverridesParser.create().parse_overrides(list(config.overrides.task))
    return {
        override.key_or_group: override.value()
        for override in overrides
        if not override.is_delete() and not any(_is_at_or_below(override.key_or_group, key) for key in ignore)
    }


def choices(groups: Collection[str]) -> dict[str, str]:
    """Give the choice in each of these groups that has one; nothing outside a Hydra application."""
    config = _hydra_config()
    chosen = {} if config is None else config.runtime.choices
    return {group: chosen[group] for group in groups if chosen.get(group) is not None}


def _is_at_or_below(key: str, above: str) -> bool:
    return key == above or key.startswith((f"{above}.", f"{above}/"))


def _hydra_config() -> Any:
    """Hydra's own config of the running job, without importing Hydra where nobody uses it."""
    if "hydra" not in sys.modules:
        return None
    from hydra.core.hydra_config import HydraConfig

    return HydraConfig.get() if HydraConfig.initialized() else None
