"""An analysis whose files were damaged, or made by somebody else, ends as one that was left alone, or is refused."""

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from omegaconf import DictConfig
from rich.console import Console

from jacoscope.analysis.answer import answer
from jacoscope.analysis.folder import AnswerFolder
from jacoscope.analysis.network import CheckpointFile, TrainedNetwork
from jacoscope.analysis.question import Question
from jacoscope.analysis.split import analyse
from jacoscope.analysis.streaming import Devices, Parts
from jacoscope.errors import UserError

Analysed = Callable[..., AnswerFolder]
WITH_ZARR = find_spec("zarr") is not None  # it needs Python 3.11


def flipped(content: bytes) -> bytes:
    middle = len(content) // 3
    return content[:middle] + bytes([content[middle] ^ 0xFF]) + content[middle + 1 :]


DAMAGES = {"cut": lambda content: content[: len(content) // 2], "emptied": lambda _: b"", "flipped": flipped}


@pytest.fixture(scope="module")
def tabled(analysed: Analysed, tmp_path_factory: pytest.TempPathFactory) -> AnswerFolder:
    return analysed(tmp_path_factory.mktemp("tabled") / "test_logits")


def assert_same(folder: AnswerFolder, expected: AnswerFolder) -> None:
    mine, theirs = (pq.read_table(one.file("samples.parquet")) for one in (folder, expected))
    assert mine.equals(theirs)
    with np.load(folder.file("maps.npz")) as ours, np.load(expected.file("maps.npz")) as whole:
        assert all(np.array_equal(ours[name], whole[name]) for name in whole.files)


@pytest.mark.parametrize(
    ("name", "damage"),
    [*(("samples.parquet", damage) for damage in DAMAGES), ("maps.npz", "flipped"), ("summary.json", "cut")],
)
def test_gone_on_with_the_damaged_is_made_anew(
    analysed: Analysed, tabled: AnswerFolder, tmp_path: Path, name: str, damage: str
) -> None:
    shutil.copytree(tabled.path, tmp_path / "a")
    file = tmp_path / "a" / name
    file.write_bytes(DAMAGES[damage](file.read_bytes()))
    assert_same(analysed(tmp_path / "a", report=True), tabled)


@pytest.mark.parametrize("name", ["samples.parquet", "maps.npz", "summary.json"])
def test_what_was_taken_away_is_made_anew(analysed: Analysed, tabled: AnswerFolder, tmp_path: Path, name: str) -> None:
    shutil.copytree(tabled.path, tmp_path / "a")
    (tmp_path / "a" / name).unlink()
    folder = analysed(tmp_path / "a")
    assert_same(folder, tabled)
    assert folder.json("summary.json")["measures"] == tabled.json("summary.json")["measures"]


def test_damaged_parts_are_made_anew(
    analysed: Analysed, tabled: AnswerFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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


WRONG_SUMMARIES = ("", "[]", "{}", '{"samples": "x", "measures": 1}', "[" * 10_000)


def test_a_damaged_answer_is_noticed_and_made_again(
    analysed: Analysed, tmp_path: Path, capsys: pytest.CaptureFixture[str], cfg: DictConfig, run: Path
) -> None:
    asked = Question(attack=3, limit=9, save_jacobians=WITH_ZARR, checkpoint=str(run), output_dir=str(tmp_path))
    answer(asked, cfg, [])
    whole = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".html"}
    del whole[tmp_path / "analysis.json"]
    report = (tmp_path / "report.html").stat().st_size
    for path in [*whole, tmp_path / "report.html"]:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        capsys.readouterr()
        answer(asked, cfg, [])
        assert "is damaged, and is made again" in " ".join(capsys.readouterr().out.split())
        assert all(file.read_bytes() == content for file, content in whole.items()), path
        assert (tmp_path / "report.html").stat().st_size == pytest.approx(report, rel=0.01)
    for content in WRONG_SUMMARIES:
        (tmp_path / "summary.json").write_text(content)
        answer(asked, cfg, [])
        assert (tmp_path / "summary.json").read_bytes() == whole[tmp_path / "summary.json"]


def test_a_wrong_summary_of_somebody_else_is_refused_in_words(cfg: DictConfig, run: Path, tmp_path: Path) -> None:
    asked = Question(attack=0, report=False, chunk_size=8, checkpoint=str(run), output_dir=str(tmp_path))
    answer(asked, cfg, [])
    for content in WRONG_SUMMARIES:
        (tmp_path / "summary.json").write_text(content)
        manifest = json.loads((tmp_path / "analysis.json").read_text())
        digest = hashlib.sha256(b"." + content.encode()).hexdigest()
        manifest["done"]["summary"]["files"]["summary.json"] = digest
        (tmp_path / "analysis.json").write_text(json.dumps(manifest))
        with pytest.raises(UserError, match=r"holds a damaged answer.*Delete that folder and call again"):
            answer(asked, cfg, [])


@pytest.mark.parametrize("name", ["samples.parquet", "maps.npz", "shown_samples.npz", "adversarial.parquet"])
def test_a_file_of_somebody_else_that_says_to_be_ours_is_not_gone_on_with(
    analysed: Analysed, finished: AnswerFolder, tmp_path: Path, name: str
) -> None:
    shutil.copytree(finished.path, tmp_path / "a")
    other = "maps.npz" if name.endswith("parquet") else "samples.parquet"
    shutil.copy(finished.file(other), tmp_path / "a" / name)
    manifest = json.loads((tmp_path / "a" / "analysis.json").read_text())
    for stage in manifest["done"].values():
        if name in stage["files"]:
            stage["files"][name] = hashlib.sha256(b"." + (tmp_path / "a" / name).read_bytes()).hexdigest()
    del manifest["done"]["report"]
    (tmp_path / "a" / "analysis.json").write_text(json.dumps(manifest))
    folder = analysed(tmp_path / "a", report=True, attack=6, save_jacobians=WITH_ZARR)
    assert_same(folder, finished)
    assert folder.file(name).read_bytes() == finished.file(name).read_bytes()
    assert folder.file("report.html").stat().st_size > 100_000


def test_a_file_that_was_there_before_is_not_replaced(cfg: DictConfig, run: Path, tmp_path: Path) -> None:
    (tmp_path / "summary.json").write_text("mine")
    with pytest.raises(UserError, match=r"holds summary\.json, which analyze\.py did not write"):
        answer(Question(checkpoint=str(run), output_dir=str(tmp_path)), cfg, [])
    assert [path.name for path in tmp_path.iterdir()] == ["summary.json"]


def test_an_answer_with_other_measures_is_computed_again(
    analysed: Analysed, tabled: AnswerFolder, tmp_path: Path
) -> None:
    shutil.copytree(tabled.path, tmp_path / "a")
    manifest = json.loads((tmp_path / "a" / "analysis.json").read_text())
    (tmp_path / "a" / "analysis.json").write_text(json.dumps({**manifest, "measures": "others"}))
    (tmp_path / "a" / "samples.parquet").write_bytes(b"of others")
    assert_same(analysed(tmp_path / "a", output_dir="named"), tabled)


def test_a_checkpoint_that_a_running_training_replaces_meanwhile_is_not_analysed_under_the_name_of_the_old_one(
    small: TrainedNetwork, folder_in: Callable[..., AnswerFolder], tmp_path: Path
) -> None:
    mine = tmp_path / "best.ckpt"
    shutil.copy(small.spec.checkpoint.path, mine)
    source = replace(small.spec, checkpoint=CheckpointFile(mine, None))
    network = TrainedNetwork.load(source)
    folder = folder_in(tmp_path / "a", network)
    torch.save({**torch.load(mine, weights_only=True), "epoch": 2}, mine)
    with pytest.raises(UserError, match=r"best\.ckpt has just been replaced: its run is still training"):
        analyse(folder, Question(), network, Devices(), Console(quiet=True))
    assert not (tmp_path / "a").exists()
