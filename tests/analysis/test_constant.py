"""A network that nothing moves: no decision turns, every boundary is infinitely far, and all answers say just that."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from rich.console import Console
from torch import Tensor, nn

from jacoscope.analysis.folder import AnswerFolder
from jacoscope.analysis.network import TrainedNetwork
from jacoscope.analysis.question import Question
from jacoscope.analysis.sample import decision_figure, decision_in_words, read, save
from jacoscope.analysis.summary import summarise
from jacoscope.analysis.terminal import show_summary

NAMES = ["a", "b", "c"]


class Constant(nn.Module):
    """Logits 2, 1, 0 whatever the picture; bent by a bit of it that never turns the decision, if asked."""

    def __init__(self, bend: float = 0.0) -> None:
        super().__init__()
        self.bend = bend

    def forward(self, x: Tensor) -> Tensor:
        return torch.tensor([2.0, 1.0, 0.0]) + self.bend * x.flatten(1)[:, :3].tanh()


@pytest.mark.parametrize(("bend", "told"), [(0.0, "nothing depends on them"), (0.1, "no change up to")])
def test_where_no_change_turns_the_decision_none_is_claimed(
    small: TrainedNetwork, tmp_path: Path, bend: float, told: str
) -> None:
    constant, question = replace(small, module=Constant(bend)), Question(output="logits")
    reading = read(constant, "a picture", torch.rand(1, 8, 8), None, question)
    assert told in decision_in_words(reading, NAMES)
    save(reading, NAMES, tmp_path)
    decision = json.loads((tmp_path / "reading.json").read_text())["decision"]
    assert (decision["verified_distance"], decision["verified_class"]) == (None, None)
    figure = decision_figure(reading, NAMES)
    titles = " ".join([figure.get_suptitle(), *(axis.get_title() for axis in figure.axes)])
    assert told in titles.replace("\n", " ")
    assert "inf" not in titles
    assert "changed" not in titles


def test_a_whole_split_of_it_has_no_distances_and_no_number_is_made_up(
    small: TrainedNetwork,
    analysed: Callable[..., AnswerFolder],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = analysed(tmp_path, network=replace(small, module=Constant()), attack=3, report=True)
    summary = folder.json("summary.json")
    distance = summary["measures"]["boundary_distance"]
    assert (distance["infinite"], distance["mean"], distance["median"]) == (27, None, None)
    assert summary["adversarial"]["along"]["found"] == 0
    show_summary(Console(), summary)
    assert "27 infinite" in " ".join(capsys.readouterr().out.split())
    assert ">27</span> that are infinite" in folder.file("report.html").read_text()


def test_one_infinite_distance_does_not_hide_the_mean_of_the_others(finished: AnswerFolder, tmp_path: Path) -> None:
    table = pq.read_table(finished.file("samples.parquet"))
    distances = table["boundary_distance"].to_numpy().copy()
    distances[4] = np.inf
    where = table.column_names.index("boundary_distance")
    pq.write_table(table.set_column(where, "boundary_distance", pa.array(distances)), tmp_path / "changed.parquet")
    summary = summarise(tmp_path / "changed.parquet", NAMES)
    others = np.delete(distances, 4).astype(np.float64)
    assert summary["measures"]["boundary_distance"]["mean"] == pytest.approx(others.mean())
    assert summary["measures"]["boundary_distance"]["max"] is None
    group = summary["by_class"][NAMES[table["label"][4].as_py()]]
    same = table["label"].to_numpy() == table["label"][4].as_py()
    assert group["infinite_boundary_distances"] == 1
    assert group["boundary_distance"] == pytest.approx(distances[same & np.isfinite(distances)].mean(), rel=1e-6)
