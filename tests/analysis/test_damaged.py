"""An analysis whose files were damaged, or made by somebody else, ends as one that was left alone, or is refused."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from omegaconf import DictConfig

from jacoscope.analysis.answer import answer
from jacoscope.analysis.checkpoint import CheckpointFile
from jacoscope.analysis.full import FullAnalysis
from jacoscope.analysis.parts import Parts
from jacoscope.analysis.request import Request
from jacoscope.analysis.split_folder import SplitFolder
from jacoscope.analysis.subject import Subject
from jacoscope.errors import UserError

Analysed = Callable[..., SplitFolder]


def flipped(content: bytes) -> bytes:
    middle = len(content) // 3
    return content[:middle] + bytes([content[middle] ^ 0xFF]) + content[middle + 1 :]


DAMAGES = {"cut": lambda content: content[: len(content) // 2], "emptied": lambda _: b"", "flipped": flipped}


@pytest.fixture(scope="module")
def tabled(analysed: Analysed, tmp_path_factory: pytest.TempPathFactory) -> SplitFolder:
    return analysed(tmp_path_factory.mktemp("tabled") / "test_logits")


def assert_same(folder: SplitFolder, expected: SplitFolder) -> None:
    mine, theirs = (pq.read_table(one.file("samples.parquet")) for one in (folder, expected))
    assert mine.equals(theirs)
    with np.load(folder.file("maps.npz")) as ours, np.load(expected.file("maps.npz")) as whole:
        assert all(np.array_equal(ours[name], whole[name]) for name in whole.files)


@pytest.mark.parametrize(
    ("name", "damage"),
    [*(("samples.parquet", damage) for damage in DAMAGES), ("maps.npz", "flipped"), ("summary.json", "cut")],
)
def test_gone_on_with_the_damaged_is_made_anew(
    analysed: Analysed, tabled: SplitFolder, tmp_path: Path, name: str, damage: str
) -> None:
    shutil.copytree(tabled.path, tmp_path / "a")
    file = tmp_path / "a" / name
    file.write_bytes(DAMAGES[damage](file.read_bytes()))
    assert_same(analysed(tmp_path / "a", report=True), tabled)


@pytest.mark.parametrize("name", ["samples.parquet", "maps.npz", "summary.json"])
def test_what_was_taken_away_is_made_anew(analysed: Analysed, tabled: SplitFolder, tmp_path: Path, name: str) -> None:
    shutil.copytree(tabled.path, tmp_path / "a")
    (tmp_path / "a" / name).unlink()
    folder = analysed(tmp_path / "a")
    assert_same(folder, tabled)
    assert folder.summary()["measures"] == tabled.summary()["measures"]


def test_damaged_parts_are_made_anew(
    analysed: Analysed, tabled: SplitFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as dying:
        dying.setattr(Parts, "merge", die)
        with pytest.raises(KeyboardInterrupt):
            analysed(tmp_path)
    (parts,) = tmp_path.glob("parts_*")
    for path, damage in zip(sorted(parts.iterdir()), [*DAMAGES.values()] * 2, strict=False):
        path.write_bytes(damage(path.read_bytes()))
    assert_same(analysed(tmp_path), tabled)


def test_a_damaged_summary_is_refused_in_words(cfg: DictConfig, run: Path, tmp_path: Path) -> None:
    request = Request(attack=0, report=False, chunk_size=8, checkpoint=str(run), output_dir=str(tmp_path))
    answer(request, cfg, [])
    for content in ("", "[]", "{}", '{"samples": "x", "measures": 1}', "[" * 10_000):
        (tmp_path / "summary.json").write_text(content)
        with pytest.raises(UserError, match=r"holds a damaged answer.*Delete that folder and call again"):
            answer(request, cfg, [])


def test_a_checkpoint_that_a_running_training_replaces_meanwhile_is_not_analysed_under_the_name_of_the_old_one(
    small: Subject, tmp_path: Path
) -> None:
    mine = tmp_path / "best.ckpt"
    shutil.copy(small.origin.checkpoint.path, mine)
    source = replace(small.origin, checkpoint=CheckpointFile(mine, None))
    folder = SplitFolder(Request(), source, tmp_path / "a")
    subject = Subject.of(source)
    torch.save({**torch.load(mine, weights_only=True), "epoch": 2}, mine)
    with pytest.raises(UserError, match=r"best\.ckpt has just been replaced: its run is still training"):
        FullAnalysis(folder, subject)
