"""The folders that a command makes: those of a refused one are removed, and it is said where new ones are."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from jacoscope.runs.processes import is_first

_made: list[Path] = []  # by this process, the innermost first


class NewFolders(Callback):
    """Callback of Hydra, which makes the folder of a run before anything is checked."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:  # noqa: ARG002
        """Note which folders Hydra is about to make."""
        note_missing(Path(config.hydra.run.dir))

    def on_run_end(self, config: DictConfig, **kwargs: Any) -> None:  # noqa: ARG002
        """Remove those in which nothing was written."""
        remove_empty()


def note_missing(folder: Path) -> None:
    """Note a folder, and those above it, as far as they do not exist yet."""
    _made[:0] = [path for path in (folder.absolute(), *folder.absolute().parents) if not path.exists()]


def remove_empty() -> None:
    """Remove the noted folders that are empty."""
    for folder in _made:
        try:
            folder.rmdir()
        except OSError:  # it holds something, or was never made
            continue


def announce(paths: Mapping[str, Any], data: Any) -> None:
    """Print where logs and data go, if those folders are new.

    Args:
        paths: the node ``paths`` of a config.
        data: its node ``data``: the folder of data counts only if it names that.
    """
    for key, what in (("log_dir", "runs"), ("data_dir", "data")):
        folder = Path(paths[key]).absolute()
        if (folder in _made or not folder.exists()) and (what == "runs" or str(paths[key]) in str(data)):
            print_new(folder, what, key)


def print_new(folder: Path, what: str, key: str) -> None:
    """Print that a folder is new; ``paths.KEY`` names another one."""
    if is_first():
        print(f"New folder for {what}: {folder.absolute()} (paths.{key}=FOLDER for another)", file=sys.stderr)
