"""Questions as they are typed, and what lies in the folders afterwards."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from hydra.utils import execution_whitelist
from omegaconf import DictConfig
from PIL import Image

from jacoscope.analysis import network, reduction
from jacoscope.analysis.answer import answer
from jacoscope.analysis.network import TrainedNetwork
from jacoscope.analysis.question import Question
from jacoscope.errors import UserError
from jacoscope.runs.build import build_network
from jacoscope.runs.result import Result

ROOT = Path(__file__).parents[2]
ByHand = Callable[[int, str], "np.ndarray[Any, Any]"]


def test_a_sample_is_saved_as_the_matrix_that_the_documentation_promises(
    own_run: Path, cfg: DictConfig, by_hand: ByHand, small: TrainedNetwork, capsys: pytest.CaptureFixture[str]
) -> None:
    answer(Question(str(own_run), samples=[2, 20]), cfg, [])
    assert capsys.readouterr().out.count("prediction") == 2
    for index in (2, 20):
        folder = own_run / "analysis" / f"test_sample_{index}_probs"
        expected = by_hand(index, "probs")
        J = np.load(folder / "jacobian.npy")
        np.testing.assert_allclose(J, expected.T, rtol=1e-3, atol=1e-7)
        with (folder / "jacobian.csv").open() as file:
            rows = list(csv.DictReader(file))
        image = small.split("test")[index][0]
        assert len(rows) == 64
        assert (rows[9]["row"], rows[9]["column"]) == ("1", "1")
        assert float(rows[9]["pixel"]) == pytest.approx(float(image[0, 1, 1]) / 255, abs=1e-5)
        assert float(rows[9]["b"]) == pytest.approx(J[9, 1], rel=1e-6)
        reading = json.loads((folder / "reading.json").read_text())
        assert reading["frobenius_norm"] == pytest.approx(np.linalg.norm(expected), rel=1e-4)
        assert sum(reading["probabilities"].values()) == pytest.approx(1)
        assert {path.name for path in folder.iterdir()} == {
            "reading.json", "jacobian.npy", "jacobian.csv", "heatmap.png", "heatmap.svg", "decision.png",
            "report.html",
        }  # fmt: skip


def test_pictures_are_answered_each_in_a_folder_of_its_own(
    own_run: Path, cfg: DictConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, level in (("one/a.png", 0), ("two/a.jpg", 255), ("two/b.png", 90)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (30, 20), (level,) * 3).save(tmp_path / name)
    answer(Question(str(own_run), image=str(tmp_path / "*/*.*g"), output_dir=str(tmp_path / "out")), cfg, [])
    out = capsys.readouterr().out
    assert out.count("what the network saw of") == 3
    assert "type invert=true" in out
    folders = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert len(folders) == 3
    assert re.fullmatch("image_b_[0-9a-f]{8}_probs", folders[2])


def test_pictures_of_one_name_do_not_overwrite_each_other_from_call_to_call(
    own_run: Path, cfg: DictConfig, tmp_path: Path
) -> None:
    def titles() -> list[str]:
        return sorted(json.loads(file.read_text())["what"] for file in (tmp_path / "out").rglob("reading.json"))

    for number, name in enumerate(("x/7.png", "y/7.png", "x/7.webp", "x/7.png")):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        Image.new("L", (8, 8), 60 * number).save(path)  # the last one replaces the first: another picture
        answer(Question(str(own_run), image=str(path), output_dir=str(tmp_path / "out")), cfg, [])
        assert len(titles()) == number + 1
    answer(Question(str(own_run), image=str(path), output_dir=str(tmp_path / "out")), cfg, [])  # the same question
    assert titles() == ["7.png", "7.png", "7.png", "7.webp"]


@pytest.mark.parametrize("question", [{}, {"sample": 3}], ids=["split", "sample"])
def test_a_network_may_have_more_outputs_than_the_data_have_classes(
    question: dict[str, Any], run: Path, cfg: DictConfig, tmp_path: Path
) -> None:
    config = deepcopy(Result.read(run / "result.json").config)
    for part, key in (("images", "classes"), ("model", "num_classes"), ("data", "num_classes")):
        config[part][key] = 5
    with execution_whitelist(["jacoscope.*", "torch.nn.*"]):
        weights = build_network(config).state_dict()
    weights = {name: tensor + 3.0 if tensor.shape == (5,) else tensor for name, tensor in weights.items()}
    weights[list(weights)[-1]][4] += 9  # so that one of the outputs without a name is predicted
    path = tmp_path / "run"
    (path / "checkpoints").mkdir(parents=True)
    torch.save({"state_dict": weights}, path / "checkpoints" / "best.ckpt")
    Result("finished", config, 0, "2026-01-01T00:00:00+00:00", {}).write(path / "result.json")
    answer(Question(str(path), **question, attack=2, chunk_size=8, output_dir=str(tmp_path / "out")), cfg, [])
    if "sample" in question:
        reading = json.loads((tmp_path / "out" / "reading.json").read_text())
        assert list(reading["probabilities"]) == ["a", "b", "c", "output 3", "output 4"]
        assert reading["prediction"] == "output 4"
    else:
        assert (tmp_path / "out" / "report.html").exists()


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"sample": 27}, "the test split has samples 0 to 26"),
        ({"sample": -1}, "sample=-1 is out of range"),
        ({"samples": [0, 99]}, "sample=99 is out of range"),
        ({"image": "empty.png"}, "the file is empty"),
        ({"image": "*.jpeg"}, "there is no such file"),
        ({"history": True}, "callbacks=[default,every_epoch]"),
        ({"checkpoint": "nowhere"}, "there is no such file or run directory"),
        ({"checkpoint": "empty.png"}, "does not say which network it is for"),
    ],
)
def test_what_cannot_be_answered_is_told_and_leaves_nothing(
    own_run: Path,
    cfg: DictConfig,
    asked: dict[str, Any],
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (own_run / "checkpoints" / "last.ckpt").unlink()
    (tmp_path / "empty.png").touch()
    monkeypatch.chdir(tmp_path)
    before = set(tmp_path.rglob("*"))
    with pytest.raises(UserError) as error:
        answer(Question(**{"checkpoint": str(own_run), **asked}), cfg, [])
    assert told in str(error.value)
    assert set(tmp_path.rglob("*")) - before <= {own_run / "analysis"}


def test_another_architecture_is_refused_before_anything_is_written(own_run: Path, cfg: DictConfig) -> None:
    cfg.model = {**Result.read(own_run / "result.json").config["model"], "hidden": [7]}
    with pytest.raises(UserError, match="another architecture"):
        answer(Question(str(own_run)), cfg, ["model.hidden=[7]"])
    assert not (own_run / "analysis").exists()


def test_two_checkpoints_side_by_side(
    own_run: Path, cfg: DictConfig, small: TrainedNetwork, by_hand: ByHand, capsys: pytest.CaptureFixture[str]
) -> None:
    best, last = (str(own_run / "checkpoints" / f"{name}.ckpt") for name in ("best", "last"))
    request = Question(compare=[best, last], chunk_size=8)
    answer(request, cfg, [])
    out = capsys.readouterr().out
    (folder,) = (own_run / "analysis").glob("compare_*")
    rows = pq.read_table(folder / "comparison.parquet").to_pylist()
    assert [row["index"] for row in rows] == list(range(27))
    other = torch.load(last, weights_only=True)["state_dict"]
    other_network = deepcopy(small.module).double()
    other_network.load_state_dict({name.removeprefix("network."): weight for name, weight in other.items()})
    for row in rows[::9]:
        x = small.split("test")[row["index"]][0].double().unsqueeze(0) / 255
        a, b = by_hand(row["index"], "logits").ravel(), torch.func.jacrev(other_network)(x).detach().numpy().ravel()
        assert row["frobenius_a"] == pytest.approx(np.linalg.norm(a), rel=1e-4)
        assert row["frobenius_b"] == pytest.approx(np.linalg.norm(b), rel=1e-4)
        assert row["cosine"] == pytest.approx(a @ b / np.linalg.norm(a) / np.linalg.norm(b), abs=1e-4)
    summary = json.loads((folder / "comparison.json").read_text())
    agreement = np.mean([row["prediction_a"] == row["prediction_b"] for row in rows])
    assert summary["agreement"] == pytest.approx(agreement)
    assert f"agree on {agreement:.2%}" in out
    assert summary["median_cosine"] == pytest.approx(np.median([row["cosine"] for row in rows]), abs=1e-6)
    for figure in ("maps.png", "scatter.png"):
        assert Image.open(folder / figure).width > 600


def test_what_is_too_large_for_mean_maps_is_answered_without_them(
    own_run: Path, cfg: DictConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network, "MAP_ENTRIES", 3 * 64 - 1)
    history = Question(str(own_run), history=True, limit=9)
    comparison = Question(compare=[str(own_run / "checkpoints" / f"{name}.ckpt") for name in ("best", "last")], limit=9)
    for request in (history, comparison):
        answer(request, cfg, [])
    written = {path.name for path in own_run.rglob("*")}
    assert {"history.parquet", "history.png", "comparison.json", "scatter.png"} <= written
    for page in own_run.rglob("report.html"):
        assert "What each class reacts to" not in page.read_text()
    assert not {"maps.png", "maps.npz"} & written
    monkeypatch.setattr(reduction, "jacobian", lambda *_, **__: pytest.fail("computed again"))
    for request in (history, comparison):
        answer(request, cfg, [])


def test_a_network_compared_with_itself_is_the_same(own_run: Path, cfg: DictConfig, tmp_path: Path) -> None:
    answer(Question(compare=[str(own_run)] * 2, limit=9, output_dir=str(tmp_path / "same")), cfg, [])
    summary = json.loads((tmp_path / "same" / "comparison.json").read_text())
    assert (summary["agreement"], summary["b_more_sensitive"]) == (1, 0)
    assert summary["median_cosine"] == pytest.approx(1)
    assert summary["a"] == summary["b"]


def test_networks_of_other_images_are_not_compared(own_run: Path, cfg: DictConfig, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(own_run, other)
    result = Result.read(other / "result.json")
    result.config["images"] = {**result.config["images"], "shape": [1, 9, 9]}
    result.write(other / "result.json")
    with pytest.raises(UserError, match=r"differ in images\.shape"):
        answer(Question(compare=[str(own_run), str(other)]), cfg, [])


def test_the_history_follows_the_checkpoints_and_goes_on_where_it_stopped(
    own_run: Path, cfg: DictConfig, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(own_run / "checkpoints" / "last.ckpt", own_run / "checkpoints" / "again.ckpt")
    request = Question(str(own_run), history=True, chunk_size=8)
    original, calls = TrainedNetwork.read_samples, []

    def stopped(*arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return original(*arguments)

    monkeypatch.setattr(TrainedNetwork, "read_samples", stopped)
    with pytest.raises(KeyboardInterrupt, match="the same command continues"):
        answer(request, cfg, [])
    answer(request, cfg, [])
    # 4 parts of one checkpoint, 1 of the other and the interrupted one, then its other 3, and the pictures of the page
    assert len(calls) == 6 + 3 + 1
    (folder,) = (own_run / "analysis").glob("history_*")
    rows = pq.read_table(folder / "history.parquet").to_pylist()
    assert [row["global_step"] for row in rows] == [20, 40]
    table = pq.read_table(own_run / "analysis" / "test_logits" / "samples.parquet")
    assert rows[0]["frobenius_median"] == pytest.approx(np.median(table["frobenius"]))
    assert rows[0]["accuracy"] == pytest.approx(np.mean(table["correct"]))
    capsys.readouterr()
    monkeypatch.setattr(TrainedNetwork, "read_samples", lambda *_: pytest.fail("computed again"))
    answer(request, cfg, [])
    assert "best.ckpt" in capsys.readouterr().out


def test_the_command_line_answers_a_finished_question_and_a_mistake_in_one_message(
    own_run: Path, cfg: DictConfig, tmp_path: Path
) -> None:
    answer(Question(str(own_run), report=False, attack=0), cfg, [])
    table = own_run / "analysis" / "test_logits" / "samples.parquet"
    before = table.stat().st_mtime_ns

    def analyze(*words: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, str(ROOT / "analyze.py"), *words]
        where = {"cwd": tmp_path, "env": {**os.environ, "JACOSCOPE_TRACEBACK": ""}}
        return subprocess.run(command, capture_output=True, text=True, timeout=300, **where)

    done = analyze(f"checkpoint={own_run}", "report=false", "attack=0")
    assert done.stderr.strip() == ""
    assert table.stat().st_mtime_ns == before
    assert "27 test samples" in done.stdout
    wrong = analyze(f"checkpoint={tmp_path / 'nowhere'}")
    assert wrong.returncode == 1
    assert "there is no such file or run directory" in wrong.stderr
    assert "Traceback" not in wrong.stderr
