"""No room for what is written: one message, nothing half-written, and a second call goes on."""

import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from jacoscope.analysis.folder import AnswerFolder
from jacoscope.analysis.network import TrainedNetwork
from jacoscope.analysis.question import Question
from jacoscope.analysis.sample import read, save
from jacoscope.analysis.split import to_do
from jacoscope.errors import UserError

Analysed = Callable[..., AnswerFolder]
NEEDS_ZARR = pytest.mark.skipif(find_spec("zarr") is None, reason="zarr needs Python 3.11")


@contextmanager
def no_file_larger_than(size: int) -> Iterator[None]:
    """Let the kernel refuse to write more: what a full disk does, without filling one."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def loose_ends(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.name.startswith(".") or path.suffix == ".part"]


@pytest.mark.parametrize(
    ("size", "asked", "there_after"),
    [
        (1500, {}, []),  # not even a part
        (12_500, {"chunk_size": 4}, []),  # the parts, not the table
        pytest.param(4000, {"save_jacobians": True}, [], marks=NEEDS_ZARR),  # not an array
        (100_000, {"report": True}, ["maps.npz", "samples.parquet", "shown_samples.npz", "summary.json"]),
    ],
)
def test_the_message_is_one_nothing_is_half_written_and_the_next_call_goes_on(
    analysed: Analysed,
    tmp_path: Path,
    size: int,
    asked: dict[str, bool],
    there_after: list[str],
) -> None:
    with no_file_larger_than(size), pytest.raises(UserError, match=r"Cannot write .*: File too large"):
        analysed(tmp_path / "a", **asked)
    whole = sorted(path.name for path in (tmp_path / "a").iterdir() if not path.name.startswith("parts_"))
    assert whole in (["analysis.json", *there_after], [])
    assert not loose_ends(tmp_path)
    folder, undisturbed = (analysed(tmp_path / name, **asked) for name in "ab")
    mine, expected = (pq.read_table(one.file("samples.parquet")) for one in (folder, undisturbed))
    assert mine.equals(expected)
    assert to_do(folder, Question(**{"attack": 0, "report": False, **asked})) == []


def test_parts_that_are_there_are_not_made_again(
    analysed: Analysed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with no_file_larger_than(12_500), pytest.raises(UserError, match=r"Cannot write .*samples\.parquet"):
        analysed(tmp_path, chunk_size=4)
    monkeypatch.setattr(TrainedNetwork, "read_samples", lambda *_: pytest.fail("computed again"))
    assert len(pq.read_table(analysed(tmp_path, chunk_size=4).file("samples.parquet"))) == 27


def test_the_files_of_a_reading_are_written_together_or_not_at_all(small: TrainedNetwork, tmp_path: Path) -> None:
    reading = read(small, "a picture", torch.rand(1, 8, 8), None, Question(output="probs"))
    with no_file_larger_than(20_000), pytest.raises(UserError, match=r"Cannot write .*File too large.*output_dir="):
        save(reading, ["a", "b", "c"], tmp_path / "reading")
    assert not (tmp_path / "reading").exists()
    files = save(reading, ["a", "b", "c"], tmp_path / "reading")
    before = {path: path.read_bytes() for path in files}
    with no_file_larger_than(20_000), pytest.raises(UserError):
        save(reading, ["x", "y", "z"], tmp_path / "reading")
    assert {path: path.read_bytes() for path in (tmp_path / "reading").iterdir()} == before


@pytest.mark.parametrize("below", ["file", "file/deeper"])
def test_a_folder_that_cannot_be_written_is_told_before_anything_is_computed(
    analysed: Analysed, tmp_path: Path, below: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(TrainedNetwork, "read_samples", lambda *_: pytest.fail("computed"))
    with pytest.raises(UserError, match="Cannot write"):
        analysed(tmp_path / below)
