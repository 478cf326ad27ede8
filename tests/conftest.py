"""What all tests share: one thread, no time limits of hypothesis's own, MNIST unpacked once."""

from pathlib import Path

import pytest
import torch
from hypothesis import settings

from jacoscope.data import MNIST, ImageSets

settings.register_profile("jacoscope", deadline=None, derandomize=True)
settings.load_profile("jacoscope")


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _same_random_numbers_in_any_order() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with MNIST in it."""
    folder = tmp_path_factory.mktemp("data")
    MNIST(folder).prepare()
    return folder


@pytest.fixture(scope="session")
def mnist(data_dir: Path) -> ImageSets:
    return MNIST(data_dir).load()
