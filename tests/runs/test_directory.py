from pathlib import Path

import pytest

from jacoscope.errors import UserError
from jacoscope.runs.directory import folder_of


@pytest.mark.parametrize("name", ["2026-01-01_00-00-00", "a", "a/b", "ähnlich", "lr=0.1 x", "..a", "a" * 255])
def test_a_name_is_a_folder_below(name: str, tmp_path: Path) -> None:
    path = tmp_path / folder_of(name)
    path.mkdir(parents=True)
    assert tmp_path in path.resolve().parents


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "./",
        "..",
        "../a",
        "a/../../b",
        "/a",
        "a\0b",
        "a\nb",
        "a\x1b[2J",
        "\udcff",
        "a" * 256,
        5,
        1.5,
        None,
        [1],
    ],
)
def test_what_is_none_is_refused_in_words(name: object) -> None:
    with pytest.raises(UserError, match="run_name="):
        folder_of(name)
