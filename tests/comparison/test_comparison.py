"""The table and the page of many runs, against what the runs recorded."""

import csv
import json
import math
import os
import re
import subprocess
import sys
from dataclasses import replace
from itertools import product
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from jacoscope.comparison.collect import Run, Setting
from jacoscope.comparison.page import sweep_page
from jacoscope.comparison.robustness import robustness_below
from jacoscope.comparison.table import RunTable, pareto_front
from jacoscope.comparison.terminal import print_table
from jacoscope.comparison.text import NORM
from jacoscope.errors import UserError
from jacoscope.runs.__main__ import main
from jacoscope.runs.result import Result
from jacoscope.sweeps.directory import Job, SweepDirectory

MODELS, SEEDS = ("a", "b"), (0, 1, 2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep of six runs and one that waits."""
    path = tmp_path_factory.mktemp("sweep")
    sweep = SweepDirectory(path, ["model=a,b", "seed=0,1,2"])
    for number, (model, seed) in enumerate(product(MODELS, SEEDS)):
        sweep.jobs.append(Job(number, (f"model={model}", f"seed={seed}", "trainer.max_epochs=3")))
        config = {"model": {"_target_": model}, "seed": seed, "objective": "val/accuracy"}
        result = Result("finished", config, seed, "2026-01-01T00:00:00+00:00", wall_seconds=60.0 + number)
        accuracy = 0.9 + 0.01 * number
        result.metrics = {
            "val/accuracy": accuracy,
            "test/accuracy": accuracy,
            "train/accuracy": 1.0,
            NORM: 5.0 + number,
        }
        result.write(path / str(number) / "result.json")
    sweep.jobs.append(Job(6, ("model=c", "seed=0", "trainer.max_epochs=3")))
    sweep.write()
    return path


def data_of(page: str) -> Any:
    """What the script of a page reads."""
    content = page.partition('<script type="application/json"')[2].partition(">")[2].partition("</script>")[0]
    return json.loads(content)


def test_the_table_has_what_differs_and_every_run(folder: Path) -> None:
    table = RunTable.read(folder)
    assert table.keys == ["model", "seed"]
    assert [run.status for run in table.runs] == ["finished"] * 6 + ["waiting"]
    assert table.rows()[4]["gap"] == pytest.approx(1.0 - 0.94)


def test_mean_and_spread_are_over_seeds(folder: Path) -> None:
    a, b = RunTable.read(folder).over_seeds()
    assert (a.settings["model"], b.settings["model"]) == ("a", "b")
    values = [0.9, 0.91, 0.92]
    assert a.metrics["test/accuracy"] == pytest.approx((fmean(values), stdev(values), 3))


def test_sorted_and_exported_the_table_holds_the_same(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [tmp_path / "runs.csv", tmp_path / "runs.parquet"]
    words = [str(folder), "--sort=-test/accuracy", "--no-html", *(f"--export={file}" for file in files)]
    assert main(words) == 0
    assert "Mean ± standard deviation over seeds" in capsys.readouterr().out
    rows = list(csv.DictReader(files[0].open()))
    assert [row["run"] for row in rows] == ["5", "4", "3", "2", "1", "0", "6"]
    read = pyarrow.parquet.read_table(files[1]).to_pylist()
    for row, same in zip(rows, read, strict=True):
        assert {k: v or None for k, v in row.items()}.keys() == same.keys()
        if same[NORM] is not None:
            assert float(row[NORM]) == same[NORM]


def test_columns_are_named_shortly_where_that_is_clear_and_sorted_by_either_name(folder: Path) -> None:
    table = RunTable.read(folder)
    keys = ("optimizer.lr", "model.width", "data.width", "model.activation._target_")
    runs = [replace(run, settings=dict.fromkeys(keys, float(-i))) for i, run in enumerate(table.runs)]
    table = RunTable(folder, runs)
    assert list(table.labels.values()) == ["lr", "model.width", "data.width", "activation"]
    for column in ("lr", "optimizer.lr"):
        assert [run.name for run in table.sorted_by(column).runs] == list("6543210")


def test_a_search_for_accuracy_and_a_small_norm_ends_in_its_front(folder: Path) -> None:
    def printed(*objectives: str) -> str:
        runs = RunTable.read(folder).runs
        equal = {"val/accuracy": 0.5}  # so that the smallest norm is best in both
        runs = [replace(run, objectives=objectives, metrics=run.metrics | equal) for run in runs[:6]]
        console = Console(record=True, width=160)
        print_table(RunTable(folder, runs), console)
        return console.export_text()

    assert "No run beats these in both val accuracy and ‖J‖F logits: 0\n" in printed("val/accuracy", NORM)
    assert "No run beats" not in printed("val/accuracy")


def of_values(folder: Path, key: str, *values: Setting) -> RunTable:
    """A table of runs that differ in one setting."""
    runs = RunTable.read(folder).runs
    return RunTable(folder, [replace(run, settings={key: value}) for run, value in zip(runs, values, strict=False)])


def test_values_are_shown_as_they_are_whatever_they_look_like(folder: Path) -> None:
    values = ("[logits,probs]", "[/b]", "<i>&amp;</i>", "5 % “ñ”")
    console = Console(record=True, width=100)
    table = of_values(folder, "outputs", *values)
    print_table(table, console)
    printed, page = console.export_text(), sweep_page(table, folder)
    assert all(value in printed for value in values)
    assert data_of(page)["runs"]["values"]["outputs_text"] == list(values)
    assert "<i>&amp;</i>" not in page[: page.index('<script type="application/json"')]


def test_a_class_is_shown_by_its_own_name_where_that_is_clear(folder: Path) -> None:
    def texts(*values: str) -> list[str]:
        return [row[1] for row in of_values(folder, "model.pooling._target_", *values).as_text().rows]

    assert texts("torch.nn.Tanh", "torch.nn.ReLU", "mine.ReLU") == ["Tanh", "torch.nn.ReLU", "mine.ReLU"]


def test_values_keep_the_order_of_the_sweep_however_the_table_is_sorted(folder: Path) -> None:
    names = ("none", "affine", "[6,16]", "[12,32]")
    assert of_values(folder, "x", *names).sorted_by("-x").values("x") == list(names)
    assert of_values(folder, "x", 3.0, 0.5, 10.0, 0.5).values("x") == [0.5, 3.0, 10.0]


def test_long_values_are_shortened_in_the_means_and_whole_in_the_table(folder: Path) -> None:
    value = "a_very_long_name_of_something_that_is_swept"
    runs = [
        replace(run, settings={"x": value if i % 2 else "short", "seed": float(i)})
        for i, run in enumerate(RunTable.read(folder).runs[:6])
    ]
    page = sweep_page(RunTable(folder, runs), folder)
    assert f'<td><span title="{value}">a_very_long_n…that_is_swept</span></td>' in page
    assert data_of(page)["runs"]["values"]["x"][1] == value


def test_mistakes_are_told_with_what_is_allowed(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(folder), "--sort=test/acuracy"]) == 1
    assert "Did you mean test/accuracy?" in capsys.readouterr().err
    assert main([str(tmp_path)]) == 1
    assert "There is no run in" in capsys.readouterr().err
    with pytest.raises(UserError, match=r"\.csv and \.parquet"):
        RunTable.read(folder).export(tmp_path / "runs.xlsx")


def test_a_page_that_was_asked_for_and_cannot_be_written_is_an_error(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(folder), f"--html={tmp_path}"]) == 1  # a folder
    told = capsys.readouterr()
    assert f"Cannot write {tmp_path}" in told.err
    assert "accuracy" in told.out  # the table is there all the same
    with pytest.raises(SystemExit) as ended:
        main([str(folder), f"--html={tmp_path / 'page.html'}", "--no-html"])
    assert ended.value.code == 2
    assert "not allowed with" in capsys.readouterr().err
    Result("failed", {"seed": 0}, 0, "2026-01-01T00:00:00+00:00").write(tmp_path / "failed" / "result.json")
    assert main([str(tmp_path), f"--html={tmp_path / 'page.html'}"]) == 1
    assert "page.html is not written: no run below" in capsys.readouterr().err


def test_runs_of_different_experiments_are_not_taken_for_seeds_of_one(tmp_path: Path) -> None:
    sweep = SweepDirectory(tmp_path, ["experiment=one,other", "seed=0,1"])
    for number, (experiment, seed) in enumerate(product(("one", "other"), (0, 1))):
        sweep.jobs.append(Job(number, (f"experiment={experiment}", f"seed={seed}")))
        result = Result("finished", {"seed": seed, "objective": "val/accuracy"}, seed, "2026-01-01T00:00:00+00:00")
        result.metrics = {"val/accuracy": 0.9 if experiment == "one" else 0.5}
        result.write(tmp_path / str(number) / "result.json")
    sweep.write()
    groups = RunTable.read(tmp_path).over_seeds()
    assert [(group.settings["experiment"], group.metrics["val/accuracy"][0]) for group in groups] == [
        ("one", 0.9),
        ("other", 0.5),
    ]


def test_a_page_of_the_users_own_is_not_replaced(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = folder / "sweep.html"
    before = own.read_bytes() if own.exists() else None
    own.write_text("my notes")
    try:
        assert main([str(folder)]) == 0
        assert own.read_text() == "my notes"
        assert "sweep.html is not written: that file is no page of jacoscope" in capsys.readouterr().out
    finally:
        own.unlink() if before is None else own.write_bytes(before)


def test_a_folder_may_be_called_anything(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "od [red] [x").symlink_to(folder)
    page = tmp_path / "p [red].html"
    assert main([str(tmp_path / "od [red] [x"), f"--html={page}"]) == 0
    told = capsys.readouterr().out
    assert str(page) in told
    assert f"tensorboard --logdir '{tmp_path}/od [red] [x' --samples_per_plugin=" in told


def test_a_sweep_without_runs_says_so(tmp_path: Path) -> None:
    SweepDirectory(tmp_path, ["seed=0,1"]).write()
    with pytest.raises(UserError, match="has begun yet"):
        RunTable.read(tmp_path)


def test_runs_that_were_pruned_stand_in_the_table_and_not_in_the_effects(folder: Path) -> None:
    table = RunTable.read(folder)

    def page(pruned: int) -> str:
        runs = [replace(run, status="pruned") if i < pruned else run for i, run in enumerate(table.runs)]
        return sweep_page(RunTable(folder, runs), folder)

    told = page(2)
    assert "2 of them were pruned" in told
    charts = data_of(told)["charts"]
    names = ("tradeoff", "gap", "effect-model-test/accuracy")
    assert [len(charts[name]["data"][-1]["x"]) for name in names] == [4, 4, 4]
    assert data_of(told)["runs"]["values"]["status"][:3] == ["pruned", "pruned", "finished"]
    assert "6 of them were pruned" in page(6)


def test_the_page_stands_alone_and_names_every_run(folder: Path) -> None:
    page = sweep_page(RunTable.read(folder), folder)
    assert "accuracy against sensitivity" in page.lower()
    assert data_of(page)["runs"]["values"]["run"] == list("0123456")
    assert [about["folder"] for about in data_of(page)["about"]] == [f"{number}/" for number in range(7)]
    body = page[: page.index('<script type="application/json"')]
    assert 'src="http' not in body
    assert "95.00 %" in body  # the best test accuracy


def test_only_runs_that_meet_every_filter_are_shown(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [str(folder), "--no-html", "--json", "--filter=test/accuracy>=0.92", "--filter=model!=a"]
    assert main(words) == 0
    assert [row["run"] for row in json.loads(capsys.readouterr().out)] == ["3", "4", "5"]
    assert main([*words[:3], "--filter=model=c", "--columns=model,test/accuracy"]) == 0
    (waiting,) = json.loads(capsys.readouterr().out)
    assert (waiting["status"], waiting["model"], waiting["test/accuracy"]) == ("waiting", "c", None)
    for wrong, told in (
        ("model", "has no comparison"),
        ("mode=a", "Did you mean model?"),
        ("test/accuracy>high", "that column has numbers"),
        ("model=z", "No run meets --filter=model=z"),
    ):
        assert main([*words[:2], f"--filter={wrong}"]) == 1
        assert told in capsys.readouterr().err


def test_a_pipe_that_is_closed_early_ends_the_command_quietly(folder: Path) -> None:
    command = [sys.executable, "-m", "jacoscope.runs", str(folder), "--no-html", "--json"]
    reading, writing = os.pipe()
    os.close(reading)  # what ``head`` does after its last line
    try:
        ended = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    finally:
        os.close(writing)
    assert ended.stderr == ""


def test_runs_of_a_folder_come_newest_first_and_fit_a_hundred_columns(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for i in range(5):
        run, settings = (
            tmp_path / "train" / "runs" / f"2026-01-0{i + 1}_lenet5",
            [f"a.setting_number_{j}={i}" for j in range(9)],
        )
        config = {"objective": "val/accuracy", "a": {f"setting_number_{j}": i for j in range(9)}}
        metrics = {"val/accuracy": 0.9, "test/accuracy": 0.9 + i / 100, NORM: 5.0}
        Result("finished", config, 0, f"2026-01-0{(i + 2) % 5 + 1}T00:00:00+00:00", metrics).write(run / "result.json")
        (run / ".hydra").mkdir()
        (run / ".hydra" / "overrides.yaml").write_text(json.dumps(settings))
    assert main([str(tmp_path), "--no-html"]) == 0
    table = capsys.readouterr().out
    assert re.findall(r"train/runs/2026-01-0(\d)", table) == ["3", "2", "1", "5", "4"]
    assert max(map(len, table.splitlines()[:8])) <= 100
    assert "Not shown: setting_number_" in table
    assert main([str(tmp_path), "--no-html", "--columns=setting_number_8,test/accuracy"]) == 0
    assert "setting_number_8" in capsys.readouterr().out


def test_numbers_have_the_digits_that_tell_runs_apart(folder: Path) -> None:
    assert [row[1] for row in of_values(folder, "x", 0.00431171, 0.0264, 0.0251).as_text().rows] == [
        "0.0043",
        "0.026",
        "0.025",
    ]
    assert [row[1] for row in of_values(folder, "x", 0.12345, 0.12342, 0.5).as_text().rows] == [
        "0.1235",
        "0.1234",
        "0.5",
    ]


metrics = st.tuples(st.integers(0, 6), st.integers(0, 6))


@given(st.lists(metrics, min_size=1, max_size=12))
def test_the_front_is_what_no_run_dominates(points: list[tuple[int, int]]) -> None:
    def run(number: int, small: int, large: int) -> Run:
        return Run(str(number), Path(), "finished", {}, {"s": float(small), "l": float(large)})

    runs = [run(i, *point) for i, point in enumerate(points)]
    front = {(r.metrics["s"], r.metrics["l"]) for r in pareto_front(runs, "s", "l")}
    best = {p for p in points if not any(q != p and q[0] <= p[0] and q[1] >= p[1] for q in points)}
    assert front == best


@pytest.mark.parametrize(("gaps", "written"), [((0.1, 0.2, 0.4, 0.8), "+1.00"), ((4.0, 2.0, 3.0, 1.0), "−0.80")])
def test_the_rank_correlation_of_norm_and_gap_stands_on_the_page(
    folder: Path, gaps: tuple[float, ...], written: str
) -> None:
    def page(gaps: tuple[float, ...]) -> str:
        runs = RunTable.read(folder).runs[: len(gaps)]  # their norms grow
        runs = [replace(run, metrics=run.metrics | {"gap": gap}) for run, gap in zip(runs, gaps, strict=True)]
        return sweep_page(RunTable(folder, runs), folder)

    assert f"rank correlation of the two is <b>{written}</b>, over 4 runs" in page(gaps)
    assert "rank correlation" not in page((0.5,) * 4)  # it is not defined
    assert "rank correlation" not in page(gaps[:3])


def test_a_metric_that_is_not_a_number_leaves_the_charts_whole(folder: Path) -> None:
    runs = RunTable.read(folder).runs
    broken = replace(runs[1], metrics=runs[1].metrics | {NORM: math.nan, "val/accuracy": math.inf})
    points = data_of(sweep_page(RunTable(folder, [runs[0], broken]), folder))["charts"]["tradeoff"]["data"][-1]
    assert points["x"] == [runs[0].metrics[NORM], None]


def test_names_that_a_user_chose_are_no_html_anywhere(folder: Path, tmp_path: Path) -> None:
    hostile = '<script>alert("x")</script>'
    runs = [
        replace(run, name=f"{hostile}{i}", settings={hostile: hostile + str(i)}, metrics=run.metrics | {hostile: 0.5})
        for i, run in enumerate(RunTable.read(folder).runs[:6])
    ]
    runs[0] = replace(runs[0], status="failed", error=hostile, objectives=(hostile,))
    page = sweep_page(RunTable(folder, runs), tmp_path)
    assert hostile not in page
    assert page.count("<script") == sweep_page(RunTable.read(folder), folder).count("<script")


def test_the_page_loads_nothing(folder: Path) -> None:
    page = sweep_page(RunTable.read(folder), folder)
    before_plotly, after = page[: page.index('<script type="application/json"')], page[page.rindex("<script>") :]
    loaded = re.findall(r"""(?:src|href)=["']([^"']*)|url\(|@import|fetch\(|XMLHttpRequest""", before_plotly + after)
    assert set(loaded) <= {"data:,", "https://arxiv.org/abs/1802.08760", *(f"{number}/" for number in range(7))}


def test_a_comparison_of_robustness_that_is_damaged_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "analysis" / "robustness_test" / "robustness.json"
    file.parent.mkdir(parents=True)
    for content in ("{", "{}", '{"networks": {"a": {"run": "0", "metrics": {"robustness/fgsm/eps=1": "high"}}}}'):
        caplog.clear()
        file.write_text(content)
        assert robustness_below(tmp_path) == {}
        assert f"{file} cannot be read" in caplog.text
