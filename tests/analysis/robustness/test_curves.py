"""Robustness curves of the small run: what the files say, what is kept, what is computed again, several networks."""

import csv
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from omegaconf import DictConfig
from rich.console import Console
from scipy.stats import norm
from torch import nn

from jacoscope.analysis import robustness_curves as curves
from jacoscope.analysis.answer import answer
from jacoscope.analysis.folder import AnswerFolder
from jacoscope.analysis.network import TrainedNetwork
from jacoscope.analysis.question import Question
from jacoscope.analysis.robustness.figure import curves_figure, panels
from jacoscope.analysis.robustness.settings import Robustness
from jacoscope.analysis.robustness.summary import masked, summarise_robustness, verdict
from jacoscope.analysis.robustness.table import RobustnessTable
from jacoscope.analysis.streaming import Devices
from jacoscope.analysis.tables import as_parquet
from jacoscope.comparison.table import RunTable
from jacoscope.errors import UserError
from jacoscope.intervals import rank_correlation

Settings = Callable[..., Robustness]
FolderIn = Callable[..., AnswerFolder]


def measured(folder: AnswerFolder, network: TrainedNetwork, settings: Robustness, **asked: Any) -> dict[str, Any]:
    curves.measure(folder, Question(robustness=settings, **asked), network, Devices(), Console(quiet=True))
    return folder.json(curves.SUMMARY)


@pytest.fixture(scope="module")
def whole(
    small: TrainedNetwork, folder_in: FolderIn, settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> AnswerFolder:
    folder = folder_in(tmp_path_factory.mktemp("curves"))
    measured(folder, small, settings())
    return folder


def test_curves_are_the_shares_of_the_rows(whole: AnswerFolder, small: TrainedNetwork, settings: Settings) -> None:
    summary, table = whole.json(curves.SUMMARY), pq.read_table(whole.file(curves.TABLE))
    assert sorted(table["index"].to_pylist()) == list(range(27))
    correct = table["correct"].to_numpy(zero_copy_only=False)
    for row in table.to_pylist()[::5]:
        x, label = small.read_samples("test", [row["index"]])
        assert (row["label"], row["prediction"]) == (int(label), int(small.module(x).argmax()))
    for name, sizes in settings().sizes().items():
        assert [point["size"] for point in summary["curves"][name]] == sizes
    distances = table["attack_distance"].to_numpy()
    expected = {
        "ddn": [float((correct & (distances > size)).mean()) for size in (0.1, 0.5)],
        "pgd_l2": [float(np.mean(table[f"pgd_l2/eps={size}"].to_pylist())) for size in (0.1, 0.5)],
        "rotation": [float(np.mean(table["rotation/degrees=20"].to_pylist()))],
    }
    for name, shares in expected.items():
        assert [point["accuracy"] for point in summary["curves"][name]] == pytest.approx(shares)
    with whole.file(curves.CURVES).open() as file:
        rows = {(row["change"], row["size"]): row for row in csv.DictReader(file)}
    assert float(rows["none", "0"]["accuracy"]) == pytest.approx(correct.mean(), abs=1e-6)
    assert int(rows["occlusion", "3"]["right"]) == sum(table["occlusion/side=3"].to_pylist())
    assert summary["metrics"]["robustness/pgd_linf/eps=0.1"] == summary["curves"]["pgd_linf"][1]["accuracy"]
    assert summary["metrics"]["robustness/ddn/median_distance"] == pytest.approx(float(np.median(distances)))


def test_a_larger_change_never_helps_pgd_and_attacks_never_beat_the_clean_accuracy(whole: AnswerFolder) -> None:
    summary = whole.json(curves.SUMMARY)
    for name in ("fgsm", "pgd_linf", "pgd_l2", "ddn", "first_order"):
        accuracies = [summary["accuracy"]["accuracy"], *(point["accuracy"] for point in summary["curves"][name])]
        assert max(accuracies) == accuracies[0]
        if name != "fgsm":
            assert accuracies == sorted(accuracies, reverse=True)


def test_intervals_are_those_that_wilson_defined(whole: AnswerFolder) -> None:
    """At either end p, the observed share is 1.96 standard deviations of a binomial share with p away from p."""
    z = norm.ppf(0.975)
    summary = whole.json(curves.SUMMARY)
    for point in (summary["accuracy"], *summary["curves"]["pgd_linf"], *summary["curves"]["noise"]):
        for end in (point["low"], point["high"]):
            distance = abs(point["accuracy"] - end)
            assert distance == pytest.approx(z * np.sqrt(end * (1 - end) / 27), abs=1e-9)


def test_the_same_seed_draws_and_finds_the_same(
    whole: AnswerFolder, small: TrainedNetwork, folder_in: FolderIn, settings: Settings, tmp_path: Path
) -> None:
    first = pq.read_table(whole.file(curves.TABLE))
    measured(folder_in(tmp_path / "same"), small, settings(max_minutes=9))
    assert pq.read_table(tmp_path / "same" / curves.TABLE).equals(first)
    fewer = measured(folder_in(tmp_path / "fewer"), small, settings(samples=5, attacks=["fgsm"], corruptions={}))
    assert fewer["samples"] == 5
    assert pq.read_table(tmp_path / "fewer" / curves.TABLE)["index"].to_pylist() == first["index"].to_pylist()[:5]
    other = measured(folder_in(tmp_path / "other"), small, settings(seed=1, samples=5))
    assert other["samples"] == 5
    assert pq.read_table(tmp_path / "other" / curves.TABLE)["index"].to_pylist() != first["index"].to_pylist()[:5]


def test_when_the_time_is_up_it_answers_with_what_is_done_and_continues_later(
    small: TrainedNetwork, folder_in: FolderIn, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(curves, "CHUNK", 8)
    fewer = {"attacks": ["gaussian", "pgd_linf"], "corruptions": {}}
    short = settings(max_minutes=1e-9, **fewer)
    asked = curves.robustness_asked(Question(robustness=short))
    folder = folder_in(tmp_path / "in parts")
    for done in (8, 16, 24):
        assert measured(folder, small, short)["samples"] == done
        assert not folder.has(curves.STAGE, asked)
    assert measured(folder, small, short)["samples"] == 27
    assert folder.has(curves.STAGE, asked)
    assert not list(folder.path.glob("parts_*"))
    measured(folder_in(tmp_path / "at once"), small, settings(**fewer))
    at_once = pq.read_table(tmp_path / "at once" / curves.TABLE)
    assert pq.read_table(folder.file(curves.TABLE)).equals(at_once)
    # What is done for other settings is of no use: another seed draws other samples.
    other = {**fewer, "seed": 1}
    measured(folder, small, settings(max_minutes=1e-9, **other))
    measured(folder, small, settings(**fewer))
    assert pq.read_table(folder.file(curves.TABLE)).equals(at_once)


def test_a_finished_answer_is_shown_at_once_and_other_settings_are_computed(
    run: Path, cfg: DictConfig, settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = tmp_path / "own"
    shutil.copytree(run, own)
    asked = {"checkpoint": str(own), "attack": 0, "report": True}
    answer(Question(**asked, robustness=settings()), cfg, [])
    assert "masked gradients" in capsys.readouterr().out
    folder = own / "analysis" / "test_logits"
    files = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert folder / "robustness.png" in files
    page = (folder / "report.html").read_text()
    assert "<h2>Robustness</h2>" in page
    assert 'data-chart="robustness-linf"' in page
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrainedNetwork, "load", lambda *_: pytest.fail("computed again"))
        answer(Question(**asked, robustness=settings(max_minutes=1)), cfg, [])
        answer(Question(**asked), cfg, [])
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == files
    answer(Question(**asked, robustness=settings(samples=4)), cfg, [])
    assert json.loads((folder / "robustness.json").read_text())["samples"] == 4
    (folder / "robustness.parquet").write_bytes(b"")
    capsys.readouterr()
    answer(Question(**asked, robustness=settings(samples=4)), cfg, [])
    assert "robustness.parquet is damaged" in capsys.readouterr().out
    assert len(pq.read_table(folder / "robustness.parquet")) == 4


class Scaled(nn.Module):
    def __init__(self, module: nn.Module, scale: float) -> None:
        super().__init__()
        self.module, self.scale = module, scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.scale * self.module(x)
        return logits


def test_masked_gradients_are_said_and_others_are_not(
    small: TrainedNetwork, whole: AnswerFolder, folder_in: FolderIn, settings: Settings, tmp_path: Path
) -> None:
    honest = whole.json(curves.SUMMARY)
    assert not honest["masked"]["suspected"]
    assert verdict(honest).startswith("No ")
    scaled = replace(small, module=Scaled(small.module, 1e6).eval())
    hidden = measured(folder_in(tmp_path), scaled, settings(epsilons=[0.2], l2_epsilons=[2.0]))
    assert hidden["accuracy"] == honest["accuracy"]
    assert hidden["masked"]["suspected"]
    assert hidden["masked"]["flat"]["pgd_l2"]["flat"] > 0
    assert verdict(hidden).startswith("Gradients seem to be masked: ")
    assert "the loss is flat" in verdict(hidden)


def test_more_samples_that_stand_pgd_than_noise_are_a_sign_unless_by_chance(
    whole: AnswerFolder, settings: Settings
) -> None:
    table = pq.read_table(whole.file(curves.TABLE))
    columns = {name: table[name].to_numpy(zero_copy_only=False) for name in table.column_names}
    columns["correct"] = np.ones(27, bool)

    def signs(only_pgd: int, only_noise: int) -> dict[str, Any]:
        stands = np.zeros((2, 27), bool)
        stands[0, :only_pgd] = stands[1, only_pgd : only_pgd + only_noise] = True
        changed = {**columns, "pgd_l2/eps=0.5": stands[0], "gaussian/eps=0.5": stands[1]}
        return masked(pa.table(changed), settings(attacks=["pgd_l2", "gaussian"], l2_epsilons=[0.5]))

    assert signs(10, 0)["suspected"]
    assert signs(10, 0)["above"][0]["p"] == pytest.approx(2**-10)
    few = signs(2, 1)
    assert few["above"][0]["more"] == 1
    assert not few["suspected"]
    assert "which may be chance" in verdict({"masked": few})
    assert signs(3, 3)["above"] == []


def test_samples_that_are_not_finite_are_left_out(
    small: TrainedNetwork, folder_in: FolderIn, settings: Settings, tmp_path: Path
) -> None:
    class Broken(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = small.module(x)
            return logits / (x.flatten(1)[:, :1] > 0.3)  # infinite for images with a dark corner

    broken = replace(small, module=Broken().eval())
    dark = sum(float(small.read_samples("test", [i])[0][0, 0, 0, 0]) <= 0.3 for i in range(27))
    summary = measured(folder_in(tmp_path), broken, settings(attacks=["gaussian"], corruptions={}))
    assert 0 < summary["left_out"]["samples"] == dark
    assert summary["samples"] == 27 - dark


def test_a_network_whose_attack_fails_is_told(
    small: TrainedNetwork, folder_in: FolderIn, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    foolbox = pytest.importorskip("foolbox")
    monkeypatch.setattr(foolbox.attacks.LinfFastGradientAttack, "run", lambda *_, **__: 1 / 0)
    with pytest.raises(UserError, match="LinfFastGradientAttack failed on this network: division by zero"):
        measured(folder_in(tmp_path), small, settings())


def test_runs_of_a_folder_are_compared_and_their_table_shows_it(
    run: Path, cfg: DictConfig, settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for place, name in enumerate("ab"):
        shutil.copytree(run, tmp_path / "many" / name)
        file = tmp_path / "many" / name / "checkpoints" / "best.ckpt"
        content = torch.load(file, weights_only=True)
        content["state_dict"] = {key: (1 + place) * weight for key, weight in content["state_dict"].items()}
        torch.save(content, file)
    few = settings(samples=9, attacks=["pgd_linf", "ddn", "fgsm"], corruptions={"blur": [1.0]})
    question = Question(compare=[str(tmp_path / "many")], robustness=few)
    answer(question, cfg, [])
    out = capsys.readouterr().out
    assert "python -m jacoscope.runs" in out
    folder = tmp_path / "many" / "analysis" / "robustness_test"
    networks = json.loads((folder / "robustness.json").read_text())["networks"]
    assert [network["run"] for network in networks.values()] == ["a", "b"]
    alone = json.loads((tmp_path / "many" / "b" / "analysis" / "test_logits" / "robustness.json").read_text())
    assert networks["b"]["curves"] == alone["curves"]
    table = RunTable.read(tmp_path / "many")
    names = [name for name in table.metrics if name.startswith("robustness/")]
    assert names[0] == "robustness/ddn/median_distance"
    assert names[1] in ("robustness/pgd_linf/eps=0.02", "robustness/pgd_linf/eps=0.1")
    assert [row["robustness/fgsm/eps=0.1"] for row in table.rows()] == [
        network["curves"]["fgsm"][1]["accuracy"] for network in networks.values()
    ]
    assert table.as_text().results[-4].startswith("DDN distance")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrainedNetwork, "load", lambda *_: pytest.fail("computed again"))
        answer(question, cfg, [])
    named = [str(tmp_path / "many" / name) for name in "ba"]
    answer(Question(compare=named, robustness=few, output_dir=str(tmp_path / "out")), cfg, [])
    assert list(json.loads((tmp_path / "out" / "robustness.json").read_text())["networks"]) == ["b", "a"]


def test_a_table_that_somebody_else_spoilt_takes_no_column(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "a")
    file = tmp_path / "analysis" / "robustness_test" / "robustness.json"
    file.parent.mkdir(parents=True)
    for content in (
        "",
        "[]",
        '{"networks": [1]}',
        '{"networks": {"x": {"run": "a", "metrics": {"robustness/x": "y"}}}}',
    ):
        file.write_text(content)
        assert RunTable.read(tmp_path).metrics == ["test/accuracy"]


def test_every_curve_is_drawn_in_one_figure(whole: AnswerFolder) -> None:
    summary = whole.json(curves.SUMMARY)
    drawn = [name for _, names in panels(summary) for name in names]
    assert sorted(drawn) == sorted(summary["curves"])
    one, two = curves_figure({"": summary}, ""), curves_figure({"a": summary, "b": summary}, "")
    assert sum(len(axis.lines) for axis in one.axes) == len(drawn)
    assert sum(len(axis.lines) for axis in two.axes) == 2 * len(drawn)


def test_the_interval_of_the_rank_correlation_covers_what_it_should() -> None:
    """Pairs of a bivariate normal distribution with correlation 0.7 have the rank correlation 6/π · arcsin 0.35."""
    generator = np.random.default_rng(0)
    true, covered = 6 / np.pi * np.arcsin(0.35), 0
    for _ in range(400):
        a, noise = generator.standard_normal((2, 60))
        found = rank_correlation(a, 0.7 * a + np.sqrt(1 - 0.49) * noise)
        assert found.spearman_low is not None
        assert found.spearman_high is not None
        covered += found.spearman_low < true < found.spearman_high
    assert 0.93 <= covered / 400 <= 0.97


def test_the_summary_needs_the_table_alone(whole: AnswerFolder, settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "copy.parquet"
    file.write_bytes(as_parquet(pq.read_table(whole.file(curves.TABLE))))
    summary = whole.json(curves.SUMMARY)
    again = json.loads(json.dumps(summarise_robustness(file, settings())))
    assert {key: summary[key] for key in again} == again


def test_the_documentation_has_every_column_that_is_not_a_size(
    small: TrainedNetwork, folder_in: FolderIn, settings: Settings, tmp_path: Path
) -> None:
    work = curves.robustness_table(folder_in(tmp_path), Question(robustness=settings()), small)
    assert isinstance(work, RobustnessTable)
    documented = (Path(__file__).parents[3] / "docs" / "analysis.md").read_text()
    for field in work.schema:
        assert f"`{field.name if '/' not in field.name else field.name.partition('/')[0]}" in documented
