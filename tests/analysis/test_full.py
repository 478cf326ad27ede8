"""A whole split, against computations that share no code with it."""

import base64
import json
import re
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from rich.console import Console
from torchmetrics.functional.classification import binary_auroc

from jacoscope.analysis import stream as streaming
from jacoscope.analysis.full import FullAnalysis
from jacoscope.analysis.report.numbers import short
from jacoscope.analysis.request import Request
from jacoscope.analysis.subject import Subject
from jacoscope.errors import UserError

QUIET = Console(quiet=True)


def analysed(small: Subject, folder: Path, **asked: Any) -> FullAnalysis:
    request = Request(**{"attack": 0, "report": False, "chunk_size": 8, **asked})
    full = FullAnalysis(request, small, folder)
    full.run(QUIET, "cpu", 1)
    return full


def jacobian_by_hand(small: Subject, index: int, output: str) -> np.ndarray:
    """One backward pass for each output, in float64."""
    image, _ = small.split("test")[index]
    x = (image.double() / 255).requires_grad_()
    network = small.network.double()
    try:
        z = network(x.unsqueeze(0))[0]
        values = {"logits": z, "probs": z.softmax(0), "log_probs": z.log_softmax(0)}[output]
        rows = [torch.autograd.grad(value, x, retain_graph=True)[0].flatten() for value in values]
        return torch.stack(rows).numpy()
    finally:
        network.float()


@pytest.mark.parametrize("output", ["logits", "probs", "log_probs"])
def test_every_column_is_what_its_name_says(small: Subject, tmp_path: Path, output: str) -> None:
    table = analysed(small, tmp_path, output=output).table().to_pylist()
    assert [row["index"] for row in table] == list(range(27))
    for row in table[::5]:
        J = jacobian_by_hand(small, row["index"], output)
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
        Jz = jacobian_by_hand(small, row["index"], "logits")
        y = row["prediction"]
        distances = {j: (z[y] - z[j]) / np.linalg.norm(Jz[y] - Jz[j]) for j in range(3) if j != y}
        assert row["boundary_distance"] == pytest.approx(min(distances.values()), rel=1e-3)
        assert row["nearest_class"] == min(distances, key=lambda j: distances[j])


def test_the_schema_tells_units_and_meanings(small: Subject, tmp_path: Path) -> None:
    full = analysed(small, tmp_path)
    for field in pq.read_schema(full.table_file):
        assert field.metadata[b"meaning"]
        assert b"unit" in field.metadata


def test_chunks_do_not_change_the_numbers(small: Subject, tmp_path: Path) -> None:
    a = analysed(small, tmp_path / "a", chunk_size=8)
    b = analysed(small, tmp_path / "b", chunk_size=64)
    np.testing.assert_allclose(a.table()["frobenius"].to_numpy(), b.table()["frobenius"].to_numpy(), rtol=1e-5)
    with np.load(a.maps_file) as first, np.load(b.maps_file) as second:
        for name in first.files:
            np.testing.assert_allclose(first[name], second[name], rtol=1e-4, atol=1e-6)


def test_interrupted_it_goes_on_where_it_stopped(
    small: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    original = streaming.read_samples

    def failing(dataset: Any, indices: list[int]) -> Any:
        if len(seen) == 2:
            raise KeyboardInterrupt
        seen.append(indices[0])
        return original(dataset, indices)

    monkeypatch.setattr(streaming, "read_samples", failing)
    with pytest.raises(KeyboardInterrupt):
        analysed(small, tmp_path / "a")
    assert not (tmp_path / "a" / "samples.parquet").exists()

    resumed: list[int] = []
    monkeypatch.setattr(
        streaming, "read_samples", lambda dataset, indices: (resumed.append(indices[0]), original(dataset, indices))[1]
    )
    full = analysed(small, tmp_path / "a")
    assert seen == [0, 8]
    assert resumed == [16, 24]
    monkeypatch.setattr(streaming, "read_samples", original)
    assert full.table().equals(analysed(small, tmp_path / "b").table())
    assert not list(full.folder.glob("parts_*"))


def test_finished_it_answers_without_computing(small: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    analysed(small, tmp_path)
    before = (tmp_path / "samples.parquet").stat().st_mtime_ns

    def forbidden(*_: Any) -> None:
        raise AssertionError("computed again")

    monkeypatch.setattr(streaming, "read_samples", forbidden)
    analysed(small, tmp_path)
    assert (tmp_path / "samples.parquet").stat().st_mtime_ns == before


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("float16", 1e-3)])
def test_saved_jacobians_are_read_one_by_one(small: Subject, tmp_path: Path, dtype: str, tolerance: float) -> None:
    zarr = pytest.importorskip("zarr")
    analysed(small, tmp_path, save_jacobians=True, jacobian_dtype=dtype, output="probs")
    array = zarr.open_array(tmp_path / "jacobians.zarr", mode="r")
    assert array.shape == (27, 3, 1, 8, 8)
    assert array.dtype == dtype
    assert array.attrs["output"] == "probs"
    matrix = array[25].reshape(3, -1).T
    expected = jacobian_by_hand(small, 25, "probs")
    assert matrix[2, 1] == pytest.approx(expected[1, 2], abs=tolerance * np.abs(expected).max())


def test_the_summary_follows_from_the_table(small: Subject, tmp_path: Path) -> None:
    full = analysed(small, tmp_path)
    summary = full.summary()
    rows = full.table().to_pylist()
    correct = np.array([row["correct"] for row in rows])
    norms = np.array([row["frobenius"] for row in rows], np.float64)
    assert summary["accuracy"] == pytest.approx(correct.mean())
    assert summary["errors"] == (~correct).sum()
    assert summary["wrong"]["frobenius"] == pytest.approx(norms[~correct].mean(), rel=1e-5)
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


def test_the_report_holds_the_numbers_of_the_summary_and_needs_no_network(small: Subject, tmp_path: Path) -> None:
    pytest.importorskip("plotly")
    full = analysed(small, tmp_path, report=True, attack=6)
    page = full.report_file.read_text()
    assert full.report_file.stat().st_size < 10_000_000
    body, _, scripts = page.partition('<script type="application/json"')
    assert not re.search(r"""(src|href)=["'](?!data:)""", body)
    summary = full.summary()
    traced = 0
    for path, text in re.findall(r'data-from="([^"]+)"[^>]*>([^<]*)</span>', body):
        node: Any = summary
        for key in unescape(path).split("/"):
            node = node.get(key) if isinstance(node, dict) else None
        if not isinstance(node, (int, float)):
            continue
        shown = float(text.replace(",", "").replace(" %", ""))
        scale = 100 if "%" in text else 1
        assert shown == pytest.approx(node * scale, rel=0.006, abs=0.51 if scale == 100 else 0.006)
        traced += 1
    assert traced > 30
    explorer = json.loads(scripts[scripts.index(">") + 1 : scripts.index("</script>")])["samples"]
    entry = explorer[0]
    maps = np.frombuffer(base64.b64decode(entry["maps"]), "<i2").reshape(3, 64)
    rebuilt = maps / 32767 * np.array(entry["limits"])[:, None]
    expected = jacobian_by_hand(small, entry["index"], "logits")
    np.testing.assert_allclose(rebuilt, expected, atol=1e-4 * np.abs(expected).max())


def test_a_folder_that_cannot_be_written_is_told_at_once(small: Subject, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="Cannot write"):
        analysed(small, tmp_path / "file" / "below")


def test_numbers_are_written_with_three_digits() -> None:
    assert [short(v) for v in (10.04, 0.98765, 1234567.0, 3)] == ["10.0", "0.988", "1,234,567", "3"]
