"""Tiny data, and the runs that several tests look at."""

from pathlib import Path

import pytest

from .tiny import write


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder to type commands in, with a tiny data set in ``data``."""
    folder = tmp_path_factory.mktemp("reliability")
    write(folder)
    return folder
