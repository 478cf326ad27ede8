"""A paper's figures beside those of a sweep: matched by what was trained, in the paper's unit, and judged."""

import shutil
from pathlib import Path
from statistics import fmean, stdev

import pytest
import yaml
from scipy.stats import spearmanr

from jacoscope.comparison import paper as papers
from jacoscope.comparison.paper import Comparison, Metric, Paper
from jacoscope.runs.__main__ import main
from jacoscope.runs.result import Result
from jacoscope.sweeps.directory import Job, SweepDirectory

NORM = "test/jacobian/logits/frobenius/mean"
ROWS = {"none": (0.0, 0.0, None), "L2": (0.0, 5e-4, None), "Jacobian": (0.0, 0.0, 0.01), "all three": (0.5, 5e-4, 0.01)}
REPORTED = Path(papers.__file__).parent / "papers"


def sweep(path: Path, experiment: str, runs: list[tuple[dict[str, object], dict[str, float]]]) -> Path:
    """Write the records of a sweep: the config and the metrics of each run."""
    directory = SweepDirectory(path, [f"experiment={experiment}"])
    for number, (config, metrics) in enumerate(runs):
        directory.jobs.append(Job(number, (f"seed={number}",)))
        result = Result("finished", {"objective": "val/accuracy", **config}, number, "2026-01-01T00:00:00+00:00")
        result.metrics = metrics
        result.write(path / str(number) / "result.json")
    directory.write()
    return path


@pytest.fixture
def hoffman(tmp_path: Path) -> Path:
    runs = []
    for place, (dropout, decay, weight) in enumerate(ROWS.values()):
        for seed in range(3):
            config: dict[str, object] = {"model": {"dropout": dropout}, "optimizer": {"weight_decay": decay}}
            config |= {"seed": seed, "trainer": {"max_epochs": 12}} | (
                {"penalty": {"weight": weight}} if weight else {}
            )
            runs.append((config, {"test/accuracy": 0.989 + 0.001 * seed, NORM: (place + seed + 1) / 0.3081}))
    return sweep(tmp_path, "hoffman_2019", runs)


def test_each_figure_of_the_paper_is_beside_the_runs_that_repeat_it(hoffman: Path) -> None:
    paper = Paper.require(hoffman)
    found = {(each.row, each.metric.name): each for each in paper.comparisons}
    assert set(found) == {(row, metric) for row in ROWS for metric in ("test/accuracy", NORM)}
    jacobian = found["Jacobian", NORM]
    assert jacobian.theirs == 1.1
    assert jacobian.ours == pytest.approx((3.0, 4.0, 5.0))  # in the paper's unit
    assert (jacobian.mean, jacobian.deviation) == pytest.approx((fmean([3, 4, 5]), stdev([3, 4, 5])))
    assert not jacobian.agrees
    assert found["none", "test/accuracy"].agrees


def test_departures_are_those_of_the_file_and_of_the_configs(hoffman: Path) -> None:
    departures = Paper.require(hoffman).departures()
    assert "trainer.max_epochs is 12 here and 250 in the paper" in departures
    assert "3 seeds here and 5 in the paper" in departures
    assert departures[-1] == yaml.safe_load((REPORTED / "hoffman_2019.yaml").read_text())["departures"][-1]


def test_the_command_prints_and_writes_table_figure_and_verdict(
    hoffman: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(hoffman), "--paper", "--no-html"]) == 0
    told, written = capsys.readouterr().out, (hoffman / "paper.md").read_text()
    for text in (told, written):
        assert "of 4 figures lie within 2 of our standard deviations" in text
        assert "trainer.max_epochs is 12 here and 250 in the paper" in text
    assert "| Jacobian | ‖J‖_F, standardised pixels | 1.1 | 4.00 ± 1.00 | 3 | +2.90 |" in written
    assert (hoffman / "paper.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", ["paper.md", "paper.png"])
def test_a_file_that_jacoscope_has_not_written_is_kept(
    name: str, hoffman: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "theirs"
    shutil.copytree(hoffman, folder, ignore=shutil.ignore_patterns("paper.*"))
    (folder / name).write_text("my own")
    assert main([str(folder), "--paper", "--no-html"]) == 0
    assert "a paper.md or paper.png that is not of jacoscope" in capsys.readouterr().out
    assert [(path.name, path.read_text()) for path in folder.glob("paper.*")] == [(name, "my own")]


def test_a_sweep_that_repeats_no_paper_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = sweep(tmp_path, "label_noise", [({"seed": 0}, {"test/accuracy": 0.9})])
    assert Paper.of_sweep(folder) is None
    assert main([str(folder), "--paper", "--no-html"]) == 1
    assert "experiment=hoffman_2019, hoffman_2019_few" in capsys.readouterr().err


def test_what_reproduced_means() -> None:
    metric = Metric("m", "m", rounded_to=0.1)

    def verdict(theirs: list[float], ours: list[tuple[float, ...]]) -> str:
        return papers._verdict([Comparison("r", metric, t, o) for t, o in zip(theirs, ours, strict=True)])

    near = [(1.0, 1.2), (2.0, 2.2), (3.0, 3.2)]
    assert verdict([1.1, 2.2, 3.0], near).startswith("reproduced: 3 of 3")
    assert verdict([10.0, 20.0, 30.0], near).startswith("reproduced in the order of the rows")
    assert verdict([30.0, 20.0, 10.0], near).startswith("not reproduced: 0 of 3")
    assert verdict([1.0], [(1.0,)]).startswith("it cannot be said")


def test_the_correlation_of_many_networks_has_an_interval(tmp_path: Path) -> None:
    pairs = [(float(n), float(n % 7 + n / 4)) for n in range(1, 30)]
    rank = spearmanr(pairs).statistic
    runs = [({"seed": 0}, {NORM: x, "train/accuracy": y, "test/accuracy": 0.0}) for x, y in pairs]
    paper = Paper.require(sweep(tmp_path, "novak_2018", runs))
    assert sorted(paper.pairs) == sorted(pairs)
    assert paper.verdicts()[0].startswith(
        f"Reproduced: the rank correlation over 29 networks is {rank:+.2f}, 95 % interval "
    )
    paper = Paper.require(sweep(tmp_path / "few", "novak_2018", runs[:3]))
    assert paper.verdicts()[0].startswith("It cannot be said")


@pytest.mark.parametrize("file", sorted(REPORTED.glob("*.yaml")), ids=lambda file: file.stem)
def test_every_paper_has_its_experiment_and_a_figure_for_each_metric(file: Path) -> None:
    assert (Path(__file__).parents[2] / "configs" / "experiment" / file.name).is_file()
    reported = yaml.safe_load(file.read_text())
    for row in reported.get("rows", {}).values():
        assert len(row["theirs"]) == len(reported["metrics"])
