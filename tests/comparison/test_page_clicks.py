"""sweep.html in Chromium: runs open, the table sorts and filters, colours follow a setting."""

from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch.utils.tensorboard import SummaryWriter

from jacoscope.comparison.page import sweep_page
from jacoscope.comparison.table import RunTable
from jacoscope.comparison.text import NORM
from jacoscope.runs.result import Result
from jacoscope.sweeps.directory import Job, SweepDirectory

LONG, CHINESE = "a_name_that_is_much_longer_than_any_column_of_a_table_should_be", "手写数字识别网络"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of eight runs; the first has a report and a picture, the last failed."""
    folder = tmp_path_factory.mktemp("sweep")
    sweep = SweepDirectory(folder, ["model=…", "optimizer.lr=…"])
    for number, (model, lr) in enumerate(product((LONG, CHINESE), (0.001, 0.01, 0.1, 1.0))):
        sweep.jobs.append(Job(number, (f"model={model}", f"optimizer.lr={lr}")))
        result = Result("finished", {"objective": "val/accuracy"}, 0, "2026-01-01T00:00:00+00:00", wall_seconds=60.0)
        result.metrics = {
            "val/accuracy": 0.9,
            "test/accuracy": 0.9 + 0.01 * number,
            "train/accuracy": 1.0,
            NORM: 9.0 - number,
        }
        if number == 7:
            result.status, result.error = "failed", "no room"
        result.write(folder / str(number) / "result.json")
        with SummaryWriter(str(folder / str(number) / "tensorboard")) as writer:
            for step in range(3):
                writer.add_scalar("val/loss", 1.0 / (step + number + 1), step)
            if number == 0:
                writer.add_image(
                    "jacobian_maps/logits/probe_sheet", np.full((8, 12, 3), 200, np.uint8), 2, dataformats="HWC"
                )
    sweep.write()
    report = folder / "0" / "analysis" / "test_logits" / "report.html"
    report.parent.mkdir(parents=True)
    report.write_text("the report of run 0")
    (folder / "sweep.html").write_text(sweep_page(RunTable.read(folder), folder))
    return folder / "sweep.html"


def listed(browser: Any) -> list[str]:
    return list(browser.run("return [...document.querySelectorAll('#runs tbody a')].map(a => a.text)"))


def colors(browser: Any, trace: int = -1) -> list[str]:
    """The colours of the points in the chart of accuracy against the norm, as they are drawn."""
    script = "const place = document.querySelector('[data-chart=tradeoff]'); drawChart(place);"
    return list(browser.run(f"{script} return place.data.at({trace}).marker.color"))


def test_it_is_drawn_without_errors_on_any_width(browser: Any, page: Path) -> None:
    for width in (390, 1400):
        browser.open(page, width)
        browser.run("drawAllCharts(); setTheme('dark')")
        assert browser.run("return document.documentElement.scrollWidth <= innerWidth")
        assert browser.run("return document.querySelectorAll('.chart .main-svg').length") >= 5
    assert browser.complaints() == []


def test_a_point_and_a_row_open_a_run(browser: Any, page: Path) -> None:
    browser.open(page)
    browser.click_point("tradeoff", 1, 2)
    name = browser.run("return data.charts.tradeoff.data[1].customdata[2]")
    assert browser.text("#run h3") == f"Run {name}"
    assert "analyze.py checkpoint=" in browser.text("#run code")
    assert browser.text("#run code").endswith(f"/{name}")
    browser.click("#runs tbody tr:first-child td:nth-child(2)")
    assert browser.text("#run h3") == "Run 0"
    assert browser.run("return document.querySelector('#run img').naturalWidth") == 12
    browser.click("#run .links a")
    assert browser.text("body") == "the report of run 0"
    browser.open(page)
    browser.run("goTo({run: '7'})")
    assert "no room" in browser.text("#run .failed")
    assert browser.complaints() == []


def test_filters_list_some_runs_and_make_the_others_pale(browser: Any, page: Path) -> None:
    browser.open(page)
    browser.click("#runs th[data-key='test/accuracy'] button")
    assert listed(browser) == list("76543210")
    browser.type("#runs input[aria-label='filter by lr']", ">=0.1")
    assert listed(browser) == list("7632")
    browser.type("#runs input[aria-label='filter by model']", "手写")
    assert listed(browser) == list("76")
    colors(browser)
    opacity = browser.run("return document.querySelector('[data-chart=tradeoff]').data.at(-1).marker.opacity")
    assert [i for i, value in enumerate(opacity) if value == 1] == [6, 7]


def test_runs_are_coloured_by_a_setting_with_a_legend(browser: Any, page: Path) -> None:
    browser.open(page)
    assert len(set(colors(browser))) == 1
    browser.run("byId('color-by').value = 'model'; byId('color-by').onchange()")
    shown = colors(browser)
    assert [shown.index(color) for color in shown] == [0, 0, 0, 0, 4, 4, 4, 4]
    assert browser.run("return [...document.querySelectorAll('#legend span')].map(e => e.textContent)") == [
        LONG,
        CHINESE,
    ]
    browser.run("byId('color-by').value = 'optimizer.lr'; byId('color-by').onchange()")
    shown = colors(browser)
    assert [shown.index(color) for color in shown] == [0, 1, 2, 3, 0, 1, 2, 3]
    lines = browser.run(
        "const place = document.querySelector('[data-chart=\"curve-val/loss\"]'); drawChart(place);"
        "return place.data.map(trace => trace.line.color)"
    )
    assert lines == shown


def test_five_hundred_runs_are_sorted_and_opened(browser: Any, tmp_path: Path) -> None:
    sweep = SweepDirectory(tmp_path, ["optimizer.lr=…"])
    result = Result("finished", {"objective": "val/accuracy"}, 0, "2026-01-01T00:00:00+00:00", wall_seconds=60.0)
    for number in range(500):
        sweep.jobs.append(Job(number, (f"optimizer.lr={number + 1}", f"model.width={number % 7}")))
        metrics = {"val/accuracy": number / 500, "test/accuracy": number / 500, NORM: 1.0 + number}
        replace(result, metrics=metrics).write(tmp_path / str(number) / "result.json")
    sweep.write()
    (tmp_path / "sweep.html").write_text(sweep_page(RunTable.read(tmp_path), tmp_path))
    browser.open(tmp_path / "sweep.html")
    assert len(listed(browser)) == 50
    assert "500 runs" in browser.text("#runs [role=status]")
    browser.click("#runs th[data-key='test/accuracy'] button")
    assert listed(browser)[:3] == ["499", "498", "497"]
    browser.click("#runs tbody tr:nth-child(2)")
    assert browser.text("#run h3") == "Run 498"
