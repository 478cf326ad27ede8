"""report.html in Chromium: what a reader clicks on opens, what is typed filters, and no request leaves the page."""

import base64
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from jacoscope.analysis.folder import AnswerFolder
from jacoscope.analysis.network import TrainedNetwork
from jacoscope.analysis.question import Question
from jacoscope.analysis.report.explorer import Network, explorer_settings
from jacoscope.analysis.report.listing import confusion, samples_table
from jacoscope.analysis.report.samples import Sample, for_explorer
from jacoscope.analysis.sample import read, save
from jacoscope.measures import shown_in
from jacoscope.pages import render


@pytest.fixture(scope="module")
def page(finished: AnswerFolder) -> Path:
    return finished.file("report.html")


@pytest.fixture(scope="module")
def rows(finished: AnswerFolder) -> Any:
    return pq.read_table(finished.file("samples.parquet")).to_pylist()


def opened(browser: Any) -> int:
    """The sample that the explorer shows."""
    shown = int(browser.run("return document.getElementById('sample').value"))
    assert shown == browser.run("return explorer.index")
    return shown


def listed(browser: Any) -> list[int]:
    """The samples in the table, in its order."""
    return [
        int(text) for text in browser.run("return [...document.querySelectorAll('#samples tbody a')].map(a => a.text)")
    ]


def test_a_browser_draws_it_without_errors_and_a_pixel_tells_its_row_of_j(
    browser: Any, page: Path, tmp_path: Path
) -> None:
    for name in ("report.html", "report_samples.js"):
        shutil.copy(page.parent / name, tmp_path / name)
    for width in (390, 1400):
        browser.open(tmp_path / "report.html", width)
        browser.run("drawAllCharts()")
        assert browser.run("return document.querySelectorAll('.chart .main-svg').length") >= 5
        assert browser.run("return document.documentElement.scrollWidth <= innerWidth")
        browser.run("document.querySelectorAll('.maps bdi').forEach(e => (e.textContent = 'a long name '.repeat(9)))")
        assert browser.run("return document.documentElement.scrollWidth <= innerWidth")
    index = browser.run("return data.explorer.samples[3].index")
    browser.run("goTo({sample: arguments[0]}); setTheme('dark'); explorer.view.choosePixel(11)", index)
    entry = browser.run("return data.explorer.samples[3]")
    assert "Row 1, column 3 (pixel 11)" in browser.text("#where")
    shown = browser.run("return [...document.querySelectorAll('#bars tr')].map(row => row.cells[3].textContent)")
    (network,) = entry["networks"]
    maps = np.frombuffer(base64.b64decode(network["maps"]), "<i2").reshape(3, 64)
    expected = maps[:, 11] / 32767 * np.array(network["limits"])
    assert [float(text.replace("−", "-")) for text in shown] == pytest.approx(expected, rel=0.005)
    assert browser.complaints() == []
    loaded = browser.run("return performance.getEntriesByType('resource').map(entry => entry.name)")
    assert all(name.startswith(("data:", "blob:", "file:")) for name in loaded)


def test_points_rows_and_classes_open_their_samples(browser: Any, page: Path, rows: Any) -> None:
    browser.open(page)
    points = browser.run("return data.charts.confidence.data[0].customdata.map(entry => entry[0])")
    browser.click_point("confidence", 0, 2)
    assert opened(browser) == points[2]
    browser.click("#samples tbody tr:nth-child(5)")
    assert opened(browser) == listed(browser)[4]
    first = browser.run("return document.querySelector('.row').dataset.sample")
    browser.click(".row a")
    assert opened(browser) == int(first)
    browser.click('[data-class="b"] figcaption a')
    assert listed(browser) == [row["index"] for row in rows if row["label"] == 1]
    bins = browser.run("return data.charts.calibration.data[1].customdata")
    browser.click_point("calibration", 1, 0)
    low, high = map(float, bins[0][0].split(".."))
    inside = [row["index"] for row in rows if low <= 100 * row["confidence"] <= high]
    assert listed(browser) == inside
    assert len(inside) == bins[0][1]
    bar = max(range(40), key=browser.run("return data.charts.norms.data[0].y").__getitem__)
    browser.click_point("norms", 0, bar)
    low, high = map(float, browser.run("return data.charts.norms.data[0].customdata")[bar].split(".."))
    assert {row["index"] for row in rows if low * 1.0001 < row["frobenius"] < high * 0.9999} <= set(listed(browser))
    assert browser.complaints() == []


def test_a_number_of_the_confusions_shows_its_samples(browser: Any, page: Path, rows: Any) -> None:
    browser.open(page)
    cells = browser.run(
        "return [...document.querySelectorAll('.confusion tbody td')].map(cell => Number(cell.textContent))"
    )
    expected = [[sum(r["label"] == i and r["prediction"] == j for r in rows) for j in range(3)] for i in range(3)]
    assert cells == [count for counts in expected for count in counts]
    i, j = next((i, j) for i in range(3) for j in range(3) if i != j and expected[i][j])
    browser.click(f".confusion tbody tr:nth-child({i + 1}) td:nth-child({j + 2}) a")
    assert listed(browser) == [row["index"] for row in rows if (row["label"], row["prediction"]) == (i, j)]
    assert f"{expected[i][j]} of 27 samples" in browser.text("#samples [role=status]")


def test_the_table_sorts_filters_and_hides_columns(browser: Any, page: Path, rows: Any) -> None:
    browser.open(page)
    by_norm = [row["index"] for row in sorted(rows, key=lambda row: -row["frobenius"])]
    browser.click("#samples th[data-key=frobenius] button")
    assert listed(browser) == by_norm
    browser.click("#samples th[data-key=frobenius] button")
    assert listed(browser) == by_norm[::-1]
    wrong = [row for row in rows if not row["correct"]]
    browser.type("#samples input[aria-label='filter by decision']", "wrong")
    assert sorted(listed(browser)) == [row["index"] for row in wrong]
    limit = sorted(row["boundary_distance"] for row in wrong)[len(wrong) // 2]
    browser.type("#samples input[aria-label='filter by distance']", f"<{limit:.3g}")
    assert sorted(listed(browser)) == [
        row["index"] for row in wrong if row["boundary_distance"] < float(f"{limit:.3g}")
    ]
    browser.click("#next")  # goes through what is listed
    assert opened(browser) in listed(browser)
    browser.click("#samples .controls button")
    assert len(listed(browser)) == 27
    browser.click("#samples summary")
    shown = (
        "return [...document.querySelectorAll('#samples th')].filter(e => e.checkVisibility()).map(e => e.dataset.key)"
    )
    before = browser.run(shown)
    browser.click("#samples .columns label:nth-of-type(6) input")
    assert browser.run(shown) == [key for key in before if key != "confidence"]
    assert browser.complaints() == []


def test_it_is_used_with_the_keyboard_alone(browser: Any, page: Path, rows: Any) -> None:
    browser.open(page)
    browser.run("document.querySelector('#samples tbody a').focus()")
    browser.press("\ue004")  # Tab: to the next sample
    browser.press("\ue007")  # Enter
    assert opened(browser) == listed(browser)[1]
    browser.run("explorer.view.maps[0].canvas.focus()")
    before = browser.run("return explorer.view.pixel")
    browser.press("\ue014" if before % 8 < 7 else "\ue012")  # right, or left at the edge
    assert abs(browser.run("return explorer.view.pixel") - before) == 1
    unnamed = """return [...document.querySelectorAll("button, input, select, a")].filter(e => e.checkVisibility()
        && !e.textContent.trim() && !e.getAttribute("aria-label") && !e.labels?.length && !e.querySelector("img[alt]")
        ).map(e => e.outerHTML)"""
    assert browser.run(unnamed) == []


def test_without_the_file_beside_it_the_page_says_what_is_missing(browser: Any, page: Path, tmp_path: Path) -> None:
    alone = shutil.copy(page, tmp_path / "report.html")
    browser.open(alone)
    browser.run("explorer.entries.delete(26)")
    browser.run("goTo({sample: 26})")
    assert "This command computes them" in browser.text("#explorer-note")
    assert browser.text("#explorer-commands code").startswith("python analyze.py")
    assert browser.text("#explorer-commands code").endswith("sample=26")
    browser.run("return new Promise(done => setTimeout(done, 300))")
    assert "report_samples.js is not beside this page" in browser.text("#beside")


def test_the_page_of_a_sample_has_its_explorer(browser: Any, small: TrainedNetwork, tmp_path: Path) -> None:
    pixels, labels = small.read_samples("test", [5])
    reading = read(small, "test sample 5", pixels[0], int(labels[0]), Question(sample=5))
    save(reading, small.class_names, tmp_path)
    browser.open(tmp_path / "report.html", 390)
    assert browser.run("return document.documentElement.scrollWidth <= innerWidth")
    browser.click("#rows tbody tr:nth-child(3)")
    assert browser.run("return document.querySelector('.classes [aria-pressed=true]').textContent") == "c"
    browser.run("explorer.view.choosePixel(11)")
    shown = browser.run("return [...document.querySelectorAll('#bars tr')].map(row => row.cells[3].textContent)")
    expected = reading.matrix[11].tolist()
    assert [float(text.replace("−", "-")) for text in shown] == pytest.approx(expected, rel=0.005, abs=1e-6)
    assert browser.complaints() == []


def test_many_classes_with_long_and_foreign_names_fit(browser: Any, tmp_path: Path) -> None:
    """A report with thirty classes on a telephone: nothing wider than the window, and every class can be found."""
    names = [f"{word} {k}" for k in range(10) for word in ("a very long class name indeed", "手写数字", "كتاب")]
    labels = np.arange(300) % 30
    predictions = np.where(np.arange(300) % 5, labels, (labels + 1) % 30)
    shown = confusion({"label": labels, "prediction": predictions}, names, 20)
    assert len(shown["names"]) == 20
    values = pa.table(
        {
            "index": range(300),
            "label": labels,
            "prediction": predictions,
            "correct": labels == predictions,
            **{m.name: np.linspace(0.1, 0.9, 300) for m in shown_in("samples")},
        }
    )
    settings = samples_table(values, names)
    page = tmp_path / "page.html"
    image, J = torch.rand(1, 8, 8), torch.randn(30, 1, 8, 8)
    entry = for_explorer([Sample.of(0, "", image, J, torch.ones(30) / 30, 0)], values.to_pylist()[:1], [])
    networks = [Network("analyze sample=", names[0] * 2, "_a")]
    explorer = explorer_settings([entry], (1, 8, 8), names, "logit", networks) | {"beside": ""}
    data = {"rows": {**settings, "noun": "rows"}, "commands": {}, "samples": settings, "explorer": explorer}
    about = {"title": names[0] * 3, "subtitle": names[1] * 20, "charts": {}, "output": "logits", "unit": "logit"}
    shown = {"shown": names[:1], "checkpoints": 1, "with_maps": 1, "gallery_of_classes": None}
    page.write_text(render("analysis/report/history.html", data=data, **about, **shown))
    browser.open(page, 390)
    assert browser.run("return document.documentElement.scrollWidth <= innerWidth")
    browser.type("#rows input[aria-label='filter by class']", "手写数字 3")
    assert browser.run("return document.querySelectorAll('#rows tbody tr').length") == 10
    assert {names.index(name) for name in settings["values"]["label"]} == set(range(30))


def test_ten_thousand_samples_are_sorted_and_opened(browser: Any, finished: AnswerFolder, tmp_path: Path) -> None:
    page = finished.file("report.html").read_text()
    start, end = page.index('id="data">') + len('id="data">'), page.index("</script>", page.index('id="data">'))
    content = json.loads(page[start:end])
    samples = content["samples"]["values"]
    content["samples"]["values"] = {key: (values * 400)[:10_000] for key, values in samples.items()}
    content["samples"]["values"]["index"] = list(range(10_000))
    (tmp_path / "report.html").write_text(page[:start] + json.dumps(content).replace("<", "\\u003c") + page[end:])
    browser.open(tmp_path / "report.html")
    assert "10,000 samples" in browser.text("#samples [role=status]")
    browser.click("#samples th[data-key=frobenius] button")
    shown = browser.run("return explorer.table.rows.slice(0, 300).map(i => explorer.table.values.frobenius[i])")
    assert set(shown) == {max(samples["frobenius"])}
    browser.click("#samples tbody tr:nth-child(3)")
    assert opened(browser) == listed(browser)[2]
