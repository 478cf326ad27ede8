"""Samples whose logits or derivatives are NaN or infinite: named, left out, and no harm to the others."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import torch
from omegaconf import DictConfig
from torch import Tensor, nn

from jacoscope.analysis.answer import answer
from jacoscope.analysis.folder import AnswerFolder
from jacoscope.analysis.network import TrainedNetwork
from jacoscope.analysis.question import Question
from jacoscope.analysis.reduction import MapSums
from jacoscope.analysis.summary import summarise
from jacoscope.errors import UserError


class Spoilt(nn.Module):
    """A network that is what it was, but for NaN logits at one image, and NaN derivatives alone at another."""

    def __init__(self, network: nn.Module, logits_at: Tensor, derivatives_at: Tensor) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("logits_at", logits_at)
        self.register_buffer("derivatives_at", derivatives_at)

    def forward(self, x: Tensor) -> Tensor:
        there = (x == self.logits_at).flatten(1).all(1, keepdim=True)
        distance = (x - self.derivatives_at).flatten(1).square().sum(1, keepdim=True).sqrt()  # 0 · ∞ at that image
        return self.network(x).masked_fill(there, torch.nan) + 0 * distance


@pytest.fixture(scope="module")
def spoilt(small: TrainedNetwork) -> TrainedNetwork:
    images = [small.split("test")[i][0] / 255 for i in (20, 11)]
    return replace(small, module=Spoilt(small.module, *images).eval())


@pytest.fixture(scope="module")
def analysed_spoilt(
    spoilt: TrainedNetwork, analysed: Callable[..., AnswerFolder], tmp_path_factory: pytest.TempPathFactory
) -> AnswerFolder:
    asked = {"output": "probs", "attack": 6, "save_jacobians": find_spec("zarr") is not None, "report": True}
    return analysed(tmp_path_factory.mktemp("spoilt"), network=spoilt, **asked)


@pytest.fixture(scope="module")
def others(analysed: Callable[..., AnswerFolder], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The table of the sound network, without those samples."""
    sound = analysed(tmp_path_factory.mktemp("sound"), output="probs")
    table = pq.read_table(sound.file("samples.parquet"))
    path = sound.file("others.parquet")
    pq.write_table(table.filter(pc.invert(pc.is_in(table["index"], pa.array([11, 20])))), path)
    return path


def test_they_have_rows_of_nulls_and_the_other_rows_are_as_without_them(
    analysed_spoilt: AnswerFolder, others: Path
) -> None:
    table = pq.read_table(analysed_spoilt.file("samples.parquet"))
    assert table["index"].to_pylist() == list(range(27))
    mine, expected = table.filter(table["finite"]).to_pylist(), pq.read_table(others).to_pylist()
    for row, other in zip(mine, expected, strict=True):
        for name, value in row.items():
            assert value == pytest.approx(other[name], rel=1e-5, abs=1e-6), name
    for row in table.filter(pc.invert(table["finite"])).to_pylist():
        known = {name for name, value in row.items() if value is not None}
        assert row["index"] in (11, 20)
        assert known == {"index", "label", "finite"}


def test_summary_maps_and_search_are_over_the_others(analysed_spoilt: AnswerFolder, others: Path) -> None:
    summary = analysed_spoilt.json("summary.json")
    assert (summary["samples"], summary["left_out"]) == (25, {"samples": 2, "first": [11, 20]})
    expected = summarise(others, ["a", "b", "c"])
    for name in ("accuracy", "errors", "wrong", "measures", "by_class", "auroc_of_errors", "spectrum"):
        for path, value in leaves(expected[name]):
            assert dict(leaves(summary[name]))[path] == pytest.approx(value, rel=1e-4), (name, path)
    assert not {11, 20} & set(pq.read_table(analysed_spoilt.file("adversarial.parquet"))["index"].to_pylist())
    labels = pq.read_table(others)["label"].to_numpy()
    with np.load(analysed_spoilt.file("maps.npz")) as maps:
        assert maps["count"].tolist() == np.bincount(labels, minlength=3).tolist()
        assert all(np.isfinite(maps[name]).all() for name in maps.files)
    array = pytest.importorskip("zarr").open_array(analysed_spoilt.file("jacobians.zarr"), mode="r")
    assert [i for i, J in enumerate(array[:]) if not np.isfinite(J).all()] == [11, 20]


def leaves(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(node, dict | list):
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            yield from leaves(value, f"{path}/{key}")
    else:
        yield path, node


def test_the_report_names_them(analysed_spoilt: AnswerFolder) -> None:
    page = analysed_spoilt.file("report.html").read_text()
    assert "NaN or infinite" in page
    assert [f'data-from="left_out/first/{i}"' in page for i in range(3)] == [True, True, False]
    assert "NaN," not in page.partition('type="application/json"')[2].partition("</script>")[0]


@contextmanager
def asked_of(monkeypatch: pytest.MonkeyPatch, *subjects: TrainedNetwork) -> Iterator[None]:
    with monkeypatch.context() as patch:
        left = list(subjects)
        patch.setattr(TrainedNetwork, "load", classmethod(lambda cls, spec: left.pop(0)))
        yield


def test_the_terminal_names_them_and_one_of_them_alone_is_refused_in_words_that_can_be_typed(
    spoilt: TrainedNetwork,
    small: TrainedNetwork,
    run: Path,
    cfg: DictConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    told = "Left out: 2 samples whose Jacobian is NaN or infinite (index 11, 20)"
    with asked_of(monkeypatch, spoilt):
        answer(Question(str(run), report=False, attack=0, output_dir=str(tmp_path / "table")), cfg, [])
    assert told in capsys.readouterr().out
    with asked_of(monkeypatch, small, spoilt):
        answer(Question(compare=[str(run)] * 2, output_dir=str(tmp_path / "both")), cfg, [])
    assert told in capsys.readouterr().out
    row = pq.read_table(tmp_path / "both" / "comparison.parquet").to_pylist()[11]
    assert {name for name, value in row.items() if value is not None} == {"index", "label", "finite"}
    for index, blame in ((20, "logits"), (11, "derivatives")):
        with asked_of(monkeypatch, spoilt), pytest.raises(UserError) as error:
            answer(Question(str(run), sample=index, output_dir=str(tmp_path / "one")), cfg, [])
        assert f"test sample {index}: the network's {blame} are NaN or infinite" in str(error.value)
        assert "check_finite" not in str(error.value)
    assert not (tmp_path / "one").exists()


def test_a_network_of_nan_alone_is_one_message(
    small: TrainedNetwork, analysed: Callable[..., AnswerFolder], tmp_path: Path
) -> None:
    class Lost(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.flatten(1)[:, :3] * torch.nan

    with pytest.raises(UserError, match="every sample is NaN or infinite"):
        analysed(tmp_path, network=replace(small, module=Lost()), attack=3, report=True)


def test_the_maps_of_what_is_not_finite_add_nothing() -> None:
    x, J = torch.rand(2, 1, 2, 2), torch.rand(2, 3, 1, 2, 2)
    J[1, 0] = torch.inf
    both, alone = MapSums.zero(3, (1, 2, 2)), MapSums.zero(3, (1, 2, 2))
    labels = torch.tensor([0, 0])
    own, sensitivity = J[:, 0], J.square().mean(1).sqrt()
    both.add(x, labels, own, sensitivity, torch.tensor([True, False]))
    alone.add(x[:1], labels[:1], own[:1], sensitivity[:1], torch.tensor([True]))
    for name, values in both.arrays().items():
        assert torch.equal(values, alone.arrays()[name])
