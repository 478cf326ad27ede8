"""A log folder with two runs, and a TensorBoard that serves it to all tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from .logs import log, tensorboard


@pytest.fixture(scope="package")
def two_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs "first", steps 0 to 25, and "second", steps 3 to 28."""
    folder = tmp_path_factory.mktemp("two_runs")
    log(folder / "second", 2, range(3, 30, 5))
    log(folder / "first", 1, range(0, 30, 5))  # the newest, which is shown if none is chosen
    return folder


@pytest.fixture(scope="package")
def served(two_runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with tensorboard(two_runs, tmp_path_factory.mktemp("entry")) as address:
        yield address
