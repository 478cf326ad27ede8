"""Configs of the user's own: the folder ``configs`` in which a command is typed is read before jacoscope's."""

from pathlib import Path

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin

from jacoscope.commands import SCRIPTS


def own_configs() -> Path | None:
    """Return the folder ``configs`` in the working folder; None if there is none, or if it is jacoscope's."""
    folder = Path.cwd() / "configs"
    return folder if folder.is_dir() and not folder.samefile(SCRIPTS / "configs") else None


def note_of_own_configs() -> str:
    """Return a line that names the folder, for the message about a config that cannot be composed; or nothing."""
    folder = own_configs()
    return f"\n{folder} is read before jacoscope's own configs" if folder else ""


class OwnConfigs(SearchPathPlugin):
    """Make Hydra search the user's own configs before those of jacoscope."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        if folder := own_configs():
            search_path.prepend("configs in the working folder", f"file://{folder}", anchor="main")


def register() -> None:
    """Make the folder known to Hydra."""
    Plugins.instance().register(OwnConfigs)
