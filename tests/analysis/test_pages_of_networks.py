"""The pages of two networks and of the checkpoints of a run, in Chromium: a click shows a sample in all of them."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

ROW = "return [...document.querySelectorAll('#bars tr')].map(row => [...row.cells].map(cell => cell.textContent))"


@pytest.fixture
def two_networks(analysed_run: Path) -> Path:
    (folder,) = (analysed_run / "analysis").glob("compare_*")
    return folder


@pytest.fixture
def history(analysed_run: Path) -> Path:
    (folder,) = (analysed_run / "analysis").glob("history_*")
    return folder


def numbers(texts: list[str]) -> list[float]:
    return [float(text.replace("−", "-")) for text in texts]


def listed(browser: Any) -> list[int]:
    """The samples in the table, in its order."""
    return list(map(int, browser.run("return [...document.querySelectorAll('#samples tbody a')].map(a => a.text)")))


def test_a_sample_opens_with_the_jacobians_of_both_networks(browser: Any, two_networks: Path, by_hand: Any) -> None:
    browser.open(two_networks / "report.html")
    points = browser.run("return data.charts.norms.data[0].customdata")
    browser.click_point("norms", 0, 1)
    assert browser.run("return explorer.index") == points[1]
    browser.run("explorer.view.choosePixel(11)")
    row = browser.run(ROW)
    assert [cells[0] for cells in row] == list("abc")
    J = by_hand(points[1], "logits")[:, 11]
    assert numbers([cells[4] for cells in row]) == pytest.approx(J, rel=0.005, abs=1e-6)
    of_both = numbers([cells[6] for cells in row])
    assert np.abs(np.array(of_both) - J).max() > 0.01  # the second network is another one
    commands = browser.run("return [...document.querySelectorAll('#explorer-commands code')].map(e => e.textContent)")
    assert [(name in text, text.split()[-1]) for name, text in zip(("best", "last"), commands, strict=True)] == [
        (True, f"sample={points[1]}")
    ] * 2
    browser.run("byId('explorer-scale').value = 'own'; byId('explorer-scale').onchange()")
    limits = browser.run("return explorer.view.sample.networks.map(each => Math.max(...each.limits))")
    captions = browser.run("return explorer.view.maps.map(pane => pane.caption.textContent)")
    assert numbers([text.rpartition("+")[2] for text in captions]) == pytest.approx(limits, rel=0.005)
    assert browser.complaints() == []


def test_classes_and_bars_of_two_networks_list_their_samples(browser: Any, two_networks: Path) -> None:
    rows = pq.read_table(two_networks / "comparison.parquet").to_pylist()
    browser.open(two_networks / "report.html", 390)
    browser.run("drawAllCharts()")
    assert browser.run("return document.documentElement.scrollWidth <= innerWidth")
    browser.click('[data-class="c"] figcaption a')
    browser.wait("explorer.table.rows.length === 9")
    assert listed(browser) == [row["index"] for row in rows if row["label"] == 2]
    bar = max(range(40), key=browser.run("return data.charts.cosines.data[0].y").__getitem__)
    browser.click_point("cosines", 0, bar)
    low, high = map(float, browser.run("return data.charts.cosines.data[0].customdata")[bar].split(".."))
    inside = {row["index"] for row in rows if low + 1e-4 < row["cosine"] < high - 1e-4}
    assert inside <= set(listed(browser))
    browser.run("explorer.table.setFilters({})")
    alone = [row["index"] for row in rows if row["correct_a"] and not row["correct_b"]]
    browser.type("#samples input[aria-label='filter by right']", "a alone")
    assert listed(browser) == alone
    assert browser.complaints() == []


def test_a_sample_opens_at_every_checkpoint(browser: Any, history: Path, by_hand: Any) -> None:
    browser.open(history / "report.html", 390)
    assert browser.run("return document.documentElement.scrollWidth <= innerWidth")
    browser.click_point("accuracy", 0, 1)
    assert browser.text("#commands code").startswith("python analyze.py checkpoint=")
    browser.click("#samples tbody tr:nth-child(5)")
    assert browser.run("return explorer.index") == 4
    titles = browser.run("return [...document.querySelectorAll('.panes .title')].map(e => e.textContent)")
    assert titles == ["image", "step 20", "step 40"]
    browser.run("explorer.view.choosePixel(11)")
    row = browser.run(ROW)
    assert numbers([cells[4] for cells in row]) == pytest.approx(by_hand(4, "logits")[:, 11], rel=0.005, abs=1e-6)
    browser.click('[data-class="b"] figcaption a')
    browser.wait("explorer.table.rows.length === 9")
    assert listed(browser) == list(range(9, 18))
    assert browser.complaints() == []


def test_what_is_not_kept_is_said_with_the_commands_that_compute_it(browser: Any, history: Path) -> None:
    browser.open(history / "report.html")
    browser.run("explorer.entries.get(3).networks[0] = null; goTo({sample: 3})")
    assert "Not all derivatives of this sample are kept here" in browser.text("#explorer-note")
    assert browser.text(".panes figure:nth-child(2) figcaption") == "not kept for this sample"
    browser.run("explorer.entries.delete(5); goTo({sample: 5})")
    assert browser.run("return document.querySelectorAll('#explorer-commands code').length") == 2
    assert browser.text("#explorer-commands code").endswith("sample=5")
    assert "step 40: predicted" in browser.text(".panes figcaption")
    assert browser.complaints() == []
