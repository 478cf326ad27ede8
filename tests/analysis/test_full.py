"""A whole split, against computations that share no code with it."""

import json
import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from omegaconf import DictConfig
from torchmetrics.functional.classification import binary_auroc

from jacoscope.analysis import folder, reduction, split
from jacoscope.analysis.answer import answer
from jacoscope.analysis.folder import AnswerFolder
from jacoscope.analysis.network import TrainedNetwork
from jacoscope.analysis.question import Question
from jacoscope.analysis.split import SplitTable, to_do
from jacoscope.analysis.streaming import Devices, stream
from jacoscope.errors import UserError

Analysed = Callable[..., AnswerFolder]
WITH_ZARR = find_spec("zarr") is not None  # it needs Python 3.11
TABLE_ONLY = Question(attack=0, report=False)
ByHand = Callable[[int, str], "np.ndarray[Any, Any]"]


def table_of(folder: AnswerFolder) -> Any:
    return pq.read_table(folder.file("samples.parquet"))


def assert_same_arrays(folder: AnswerFolder, expected: AnswerFolder) -> None:
    """Compare the mean maps, and the samples that the report shows."""
    for file in ("maps.npz", "shown_samples.npz"):
        with np.load(folder.file(file)) as mine, np.load(expected.file(file)) as theirs:
            assert mine.files == theirs.files
            for name in mine.files:
                np.testing.assert_array_equal(mine[name], theirs[name])


@pytest.mark.parametrize("output", ["logits", "probs", "log_probs"])
def test_every_column_is_what_its_name_says(
    small: TrainedNetwork, analysed: Analysed, by_hand: ByHand, tmp_path: Path, output: str
) -> None:
    table = table_of(analysed(tmp_path, output=output)).to_pylist()
    assert [row["index"] for row in table] == list(range(27))
    for row in table[::5]:
        J = by_hand(row["index"], output)
        s = np.linalg.svd(J, compute_uv=False)
        q = s / s.sum()
        expected = {
            "frobenius": np.linalg.norm(J),
            "spectral": np.linalg.norm(J, 2),
            "nuclear": np.linalg.norm(J, "nuc"),
            "l1_operator": np.linalg.norm(J, 1),
            "linf_operator": np.linalg.norm(J, np.inf),
            "stable_rank": (s**2).sum() / s[0] ** 2,
            "effective_rank": np.exp(-(q * np.log(np.maximum(q, 1e-300))).sum()),
        }
        assert {name: row[name] for name in expected} == pytest.approx(expected, rel=1e-3)
        assert row["singular_values"] == pytest.approx(s, rel=1e-4, abs=1e-6)
        assert row["output_norms"] == pytest.approx(np.linalg.norm(J, axis=1), rel=1e-4)
        _, label = small.split("test")[row["index"]]
        z = np.array(row["logits"], np.float64)
        p = np.exp(z - z.max()) / np.exp(z - z.max()).sum()
        assert (row["label"], row["prediction"]) == (int(label), int(z.argmax()))
        assert row["correct"] == (row["label"] == row["prediction"])
        assert row["confidence"] == pytest.approx(p.max(), rel=1e-5)
        assert row["label_probability"] == pytest.approx(p[row["label"]], rel=1e-5)
        assert row["margin"] == pytest.approx(np.sort(z)[-1] - np.sort(z)[-2], rel=1e-4)
        Jz = by_hand(row["index"], "logits")
        y = row["prediction"]
        distances = {j: (z[y] - z[j]) / np.linalg.norm(Jz[y] - Jz[j]) for j in range(3) if j != y}
        assert row["boundary_distance"] == pytest.approx(min(distances.values()), rel=1e-3)
        assert row["nearest_class"] == min(distances, key=lambda j: distances[j])


def test_the_maps_are_the_means_of_each_class(small: TrainedNetwork, finished: AnswerFolder, by_hand: ByHand) -> None:
    table = table_of(finished).to_pylist()
    with np.load(finished.file("maps.npz")) as maps:
        for k in range(3):
            indices = [row["index"] for row in table if row["label"] == k]
            assert maps["count"][k] == len(indices)
            J = np.stack([by_hand(i, "logits") for i in indices])
            images = np.stack([small.split("test")[i][0].numpy().ravel() / 255 for i in indices])
            for name, expected in {
                "image": images.mean(0),
                "own": J[:, k].mean(0),
                "own_magnitude": np.abs(J[:, k]).mean(0),
                "sensitivity": np.sqrt((J**2).mean(1)).mean(0),
            }.items():
                np.testing.assert_allclose(maps[name][k].ravel(), expected, rtol=1e-4, atol=1e-6)


def test_the_schema_tells_units_and_meanings_and_the_documentation_has_every_column(finished: AnswerFolder) -> None:
    docs = Path(__file__).parents[2] / "docs"
    documented = "".join((docs / name).read_text() for name in ("analysis.md", "concepts.md"))
    for field in pq.read_schema(finished.file("samples.parquet")):
        assert field.metadata[b"meaning"]
        assert b"unit" in field.metadata
        assert f"`{field.name}`" in documented


def test_chunks_do_not_change_the_numbers(analysed: Analysed, finished: AnswerFolder, tmp_path: Path) -> None:
    other = analysed(tmp_path, chunk_size=64)
    np.testing.assert_allclose(table_of(finished)["frobenius"], table_of(other)["frobenius"], rtol=1e-5)
    with np.load(finished.file("maps.npz")) as first, np.load(other.file("maps.npz")) as second:
        for name in first.files:
            np.testing.assert_allclose(first[name], second[name], rtol=1e-4, atol=1e-6)


def test_interrupted_it_goes_on_where_it_stopped(
    analysed: Analysed, finished: AnswerFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = TrainedNetwork.read_samples
    seen: list[int] = []

    def interrupted(self: TrainedNetwork, split: str, indices: list[int]) -> Any:
        if len(seen) == 2:
            raise KeyboardInterrupt
        seen.append(indices[0])
        return original(self, split, indices)

    monkeypatch.setattr(TrainedNetwork, "read_samples", interrupted)
    with pytest.raises(KeyboardInterrupt):
        analysed(tmp_path, save_jacobians=WITH_ZARR)
    assert {path.name.partition("_")[0] for path in tmp_path.iterdir()} == {"analysis.json", "parts"}

    resumed: list[int] = []
    monkeypatch.setattr(
        TrainedNetwork,
        "read_samples",
        lambda self, split, indices: (resumed.append(indices[0]), original(self, split, indices))[1],
    )
    folder = analysed(tmp_path, save_jacobians=WITH_ZARR)
    assert (seen, resumed) == ([0, 8], [16, 24])
    assert table_of(folder).equals(table_of(finished))
    assert_same_arrays(folder, finished)
    zarr = pytest.importorskip("zarr")
    mine, whole = (zarr.open_array(f.file("jacobians.zarr"), mode="r")[:] for f in (folder, finished))
    np.testing.assert_array_equal(mine, whole)
    assert not list(tmp_path.glob("parts_*"))


def test_processes_share_the_samples_without_gaps_or_duplicates(
    analysed: Analysed, finished: AnswerFolder, tmp_path: Path
) -> None:
    shared = analysed(tmp_path, devices=Devices("cpu", 2), save_jacobians=WITH_ZARR)
    assert table_of(shared).equals(table_of(finished))
    assert_same_arrays(shared, finished)
    zarr = pytest.importorskip("zarr")
    mine, theirs = (zarr.open_array(f.file("jacobians.zarr"), mode="r")[:] for f in (shared, finished))
    np.testing.assert_array_equal(mine, theirs)


def test_a_mistake_found_in_another_process_is_told_in_its_own_words(small: TrainedNetwork, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    work = SplitTable((small.spec,), "test", 27, 8, tmp_path / "file" / "parts", "logits", "auto", None)
    with pytest.raises(UserError, match=r"^Cannot write .*: Not a directory"):
        stream(work, [], Devices("cpu", 2), lambda _: None)


def test_more_gpus_than_there_are_are_refused_before_anything_is_made(
    run: Path, cfg: DictConfig, tmp_path: Path
) -> None:
    cfg.trainer = {"accelerator": "gpu", "devices": torch.cuda.device_count() + 1, "strategy": "ddp"}
    with pytest.raises(UserError, match=r"has \d+ GPUs"):
        answer(Question(str(run), output_dir=str(tmp_path / "here")), cfg, [])
    assert not (tmp_path / "here").exists()


def test_finished_it_answers_without_computing(
    analysed: Analysed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    analysed(tmp_path)
    before = (tmp_path / "samples.parquet").stat().st_mtime_ns
    monkeypatch.setattr(TrainedNetwork, "read_samples", lambda *_: pytest.fail("computed again"))
    assert to_do(analysed(tmp_path), TABLE_ONLY) == []
    assert (tmp_path / "samples.parquet").stat().st_mtime_ns == before


def test_what_was_deleted_or_never_asked_for_is_to_do(analysed: Analysed, tmp_path: Path) -> None:
    folder = analysed(tmp_path)
    more = Question(report=True, attack=3, save_jacobians=True)
    assert to_do(folder, more) == ["table", "adversarial", "summary", "report"]
    assert to_do(folder, TABLE_ONLY) == []
    folder.file("summary.json").unlink()
    assert to_do(folder, TABLE_ONLY) == ["summary"]
    folder.file("samples.parquet").unlink()
    assert to_do(folder, TABLE_ONLY) == ["table", "summary"]


def test_the_answer_to_another_question_is_cleared_away(analysed: Analysed, tmp_path: Path) -> None:
    analysed(tmp_path, attack=4, save_jacobians=WITH_ZARR)
    (tmp_path / "notes.txt").touch()
    analysed(tmp_path, limit=5)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "analysis.json",
        "maps.npz",
        "notes.txt",
        "samples.parquet",
        "shown_samples.npz",
        "summary.json",
    ]
    with pytest.raises(UserError, match=r"another question \(another limit"):
        analysed(tmp_path, limit=6, output_dir=str(tmp_path))


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("float16", 1e-3)])
def test_saved_jacobians_are_read_one_by_one(
    analysed: Analysed, by_hand: ByHand, tmp_path: Path, dtype: str, tolerance: float
) -> None:
    zarr = pytest.importorskip("zarr")
    analysed(tmp_path, save_jacobians=True, jacobian_dtype=dtype, output="probs")
    array = zarr.open_array(tmp_path / "jacobians.zarr", mode="r")
    assert array.shape == (27, 3, 1, 8, 8)
    assert array.dtype == dtype
    assert array.attrs["output"] == "probs"
    J = array[25].reshape(3, -1).T
    expected = by_hand(25, "probs")
    assert J[2, 1] == pytest.approx(expected[1, 2], abs=tolerance * np.abs(expected).max())


def test_the_summary_follows_from_the_table(finished: AnswerFolder) -> None:
    summary = json.loads(finished.file("summary.json").read_text(), parse_constant=pytest.fail)
    rows = table_of(finished).to_pylist()
    correct = np.array([row["correct"] for row in rows])
    norms = np.array([row["frobenius"] for row in rows], np.float64)
    assert summary["accuracy"] == pytest.approx(correct.mean())
    assert summary["errors"] == (~correct).sum()
    assert summary["wrong"]["frobenius"] == pytest.approx(norms[~correct].mean(), rel=1e-5)
    assert summary["frobenius_wrong_to_correct"] == pytest.approx(norms[~correct].mean() / norms[correct].mean())
    assert summary["measures"]["frobenius"]["median"] == pytest.approx(np.sort(norms)[13])
    for k, name in enumerate("abc"):
        chosen = [row["boundary_distance"] for row in rows if row["label"] == k]
        assert summary["by_class"][name]["boundary_distance"] == pytest.approx(np.mean(chosen), rel=1e-5)
    score = torch.tensor(norms / norms.max())
    assert summary["auroc_of_errors"]["frobenius"] == pytest.approx(
        float(binary_auroc(score, torch.tensor(~correct).long())), rel=1e-5
    )
    confidence = np.array([row["confidence"] for row in rows], np.float64)
    pearson = summary["correlation_with_confidence"]["frobenius"]["pearson"]
    assert pearson == pytest.approx(np.corrcoef(norms, confidence)[0, 1], rel=1e-4)
    assert [row["index"] for row in summary["most_sensitive"][:3]] == np.argsort(-norms)[:3].tolist()
    assert all(not rows[row["index"]]["correct"] for row in summary["confident_errors"])
    singular_values = np.array([row["singular_values"] for row in rows])
    assert summary["spectrum"]["mean"] == pytest.approx(singular_values.mean(0), rel=1e-5)
    energies = singular_values.mean(0) ** 2
    assert summary["spectrum"]["values"] == 3
    assert summary["spectrum"]["share_of_strongest"] == pytest.approx(energies.max() / energies.sum(), rel=1e-5)
    assert summary["spectrum"]["percentile_95"] == pytest.approx(np.percentile(singular_values, 95, axis=0), rel=1e-5)


def test_search_and_report_compute_no_jacobian_again(
    analysed: Analysed, finished: AnswerFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    analysed(tmp_path)
    monkeypatch.setattr(reduction, "jacobian", lambda *_, **__: pytest.fail("computed again"))
    folder = analysed(tmp_path, attack=6, report=True)
    assert pq.read_table(folder.file("adversarial.parquet")).equals(pq.read_table(finished.file("adversarial.parquet")))


def test_a_report_of_other_colours_is_drawn_again_and_nothing_else_is_done(
    finished: AnswerFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = Question(attack=6, save_jacobians=WITH_ZARR)
    assert to_do(finished, asked) == []
    package = tmp_path / "jacoscope"
    for room in ("visuals", "pages", "analysis"):
        shutil.copytree(folder.PACKAGE / room, package / room)
    monkeypatch.setattr(folder, "PACKAGE", package)
    before = folder.drawn_by.__wrapped__()
    colors = package / "visuals" / "colors.py"
    colors.write_text(colors.read_text().replace("hue", "tint"))
    assert folder.drawn_by.__wrapped__() != before
    monkeypatch.setattr(split, "drawn_by", lambda: "other colours")
    assert to_do(finished, asked) == ["report"]


@pytest.mark.parametrize("strategy", ["vmap-jacrev", "backward"])
def test_the_strategy_is_what_the_jacobians_are_computed_with(
    analysed: Analysed, finished: AnswerFolder, tmp_path: Path, strategy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, used = reduction.jacobian, set()
    monkeypatch.setattr(reduction, "jacobian", lambda *a, **k: (used.add(k["strategy"]), original(*a, **k))[1])
    folder = analysed(tmp_path, strategy=strategy, report=True)
    assert used == {strategy}
    assert folder.json("summary.json")["strategy"] == strategy
    assert f"strategy={strategy}" in folder.file("report.html").read_text()
    np.testing.assert_allclose(table_of(folder)["frobenius"], table_of(finished)["frobenius"], rtol=1e-5)


def test_adversarial_examples_are_where_the_table_says(
    small: TrainedNetwork, finished: AnswerFolder, by_hand: ByHand
) -> None:
    pytest.importorskip("foolbox")
    summary = finished.json("summary.json")["adversarial"]
    rows = pq.read_table(finished.file("adversarial.parquet")).to_pylist()
    assert summary["samples"] == len(rows) == 6
    for row in rows:
        image, _ = small.split("test")[row["index"]]
        x = image.float() / 255
        J = by_hand(row["index"], "logits")
        said = int(small.module(x.unsqueeze(0)).argmax())
        down = torch.tensor(J[row["predicted_class"]] - J[said]).float().view_as(x)
        down /= down.norm()
        if row["along_distance"] is not None:
            before, after = (x + down * row["along_distance"] * factor for factor in (0.99, 1.01))
            assert int(small.module(before.unsqueeze(0)).argmax()) == said
            assert int(small.module(after.unsqueeze(0)).argmax()) == row["along_class"] != said
    ratios = [row["along_distance"] / row["predicted_distance"] for row in rows if row["along_distance"] is not None]
    assert summary["along"]["found"] == len(ratios)
    assert summary["along"]["ratio_median"] == pytest.approx(np.median(ratios), rel=1e-5)
