"""report.html: every number traced to the summary, nothing from outside, and a browser that finds no fault."""

import base64
import json
import re
import shutil
from collections.abc import Callable, Iterator
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from jacoscope.analysis.report.charts import norm_against_confidence
from jacoscope.analysis.report.numbers import Numbers, short
from jacoscope.analysis.report.sections import class_text, confidence_text
from jacoscope.analysis.split_folder import SplitFolder

HOSTILE = '<script>alert("x")</script>/"b'


def test_numbers_are_written_with_three_digits() -> None:
    assert [short(v) for v in (10.04, 0.98765, 1234567.0, 3)] == ["10.0", "0.988", "1,234,567", "3"]


def test_the_report_holds_the_numbers_of_the_summary_and_needs_no_network(finished: SplitFolder) -> None:
    page = finished.file("report.html").read_text()
    assert finished.file("report.html").stat().st_size < 10_000_000
    body, _, _ = page.partition('<script type="application/json"')
    assert not re.search(r"""(src|href)=["'](?!data:)""", body)
    summary = finished.summary()
    traced = re.findall(r'data-from="([^"]+)"[^>]*>([^<]*)</span>', body)
    assert len(traced) > 30
    for path, text in traced:
        value: Any = summary
        for key in unescape(path).split("/"):
            value = value[int(key) if isinstance(value, list) else key]
        if text == "–":
            assert value is None, path
            continue
        shown = float(text.replace(",", "").replace(" %", "").replace("−", "-"))
        scale = 100 if "%" in text else 1
        assert shown == pytest.approx(value * scale, rel=0.006, abs=0.51 if scale == 100 else 0.006), path


def test_no_measured_number_stands_in_the_sentences_untraced(finished: SplitFolder) -> None:
    sentences = " ".join(re.findall(r"<p>(.*?)</p>", finished.file("report.html").read_text(), re.DOTALL))
    untraced = re.sub(r"<[^>]*>", " ", re.sub(r'<span class="n".*?</span>', "", sentences))
    of_the_method = {"0", "1", "0.1", "50", "90", "100", "2019"}  # J[0, 1], noise of 0.1, the middle 90 %, the attack
    assert set(re.findall(r"\b\d+(?:[.,]\d+)*", untraced)) <= of_the_method


def test_the_explorer_holds_the_derivatives(
    finished: SplitFolder, by_hand: "Callable[[int, str], np.ndarray[Any, Any]]"
) -> None:
    _, _, scripts = finished.file("report.html").read_text().partition('<script type="application/json"')
    samples = json.loads(scripts[scripts.index(">") + 1 : scripts.index("</script>")])["samples"]
    for entry in samples[::7]:
        maps = np.frombuffer(base64.b64decode(entry["maps"]), "<i2").reshape(3, 64)
        rebuilt = maps / 32767 * np.array(entry["limits"])[:, None]
        expected = by_hand(entry["index"], "logits")
        np.testing.assert_allclose(rebuilt, expected, atol=1e-4 * np.abs(expected).max())


def test_names_of_the_users_are_shown_as_they_are_and_never_run() -> None:
    group = {"samples": 5, "frobenius": 2.0, "boundary_distance": 0.5}
    numbers = Numbers({"by_class": {HOSTILE: group, "b": {**group, "frobenius": 1.0}}})
    text = class_text(numbers)
    assert "<script" not in text
    assert "2.00" in text
    assert "–" not in text  # each number was found, whatever the name


def test_the_words_follow_the_numbers() -> None:
    def related(rho: float) -> str:
        return confidence_text(Numbers({"correlation_with_confidence": {"frobenius": {"spearman": rho}}}))

    assert "clearly falls with confidence" in related(-0.4)
    assert "strongly rises with confidence" in related(0.7)
    assert "hardly related to confidence" in related(0.02)


def test_sure_decisions_are_spread_by_the_doubt_that_is_left() -> None:
    confidence = np.array([1.0, 1 - 2.0**-20, 0.6, 0.4], np.float32)
    columns = {"index": range(4), "label": [0] * 4, "prediction": [0, 0, 1, 0], "frobenius": np.ones(4, np.float32)}
    table = pa.table({**columns, "confidence": confidence, "correct": [True, True, False, True]})
    chart = norm_against_confidence(table, ["a", "b"])
    right, wrong = (trace["x"] for trace in chart["data"])
    assert right == pytest.approx([2.0**-24, 2.0**-20, 0.6], rel=1e-4)  # on the axis even where float32 says 1
    assert wrong == pytest.approx([0.4])
    axis = chart["layout"]["xaxis"]
    for doubt, named in zip(axis["tickvals"], axis["ticktext"], strict=True):
        assert float(named.removesuffix(" %")) / 100 == pytest.approx(1 - doubt, abs=1e-12)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    webdriver = pytest.importorskip("selenium.webdriver")
    binary, driver = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
    if not binary or not driver:
        pytest.skip("no Chromium with a driver on this machine")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=390,900"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    chromium = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield chromium
    chromium.quit()


def test_a_browser_draws_it_without_errors_and_a_pixel_tells_its_row_of_j(
    browser: Any, finished: SplitFolder, tmp_path: Path
) -> None:
    page = shutil.copy(finished.file("report.html"), tmp_path / "report.html")  # alone, away from its neighbours
    browser.get(page.as_uri())
    assert browser.execute_script("return document.querySelectorAll('.chart .main-svg').length") >= 5
    assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth")
    browser.execute_script("choose(3); state.pixel = 11; draw(); setTheme('dark')")
    entry = browser.execute_script("return data.samples[3]")
    assert "Row 1, column 3 (pixel 11)" in browser.find_element("id", "where").text
    shown = [row.find_elements("tag name", "td")[3].text for row in browser.find_elements("css selector", "#bars tr")]
    maps = np.frombuffer(base64.b64decode(entry["maps"]), "<i2").reshape(3, 64)
    expected = maps[:, 11] / 32767 * np.array(entry["limits"])
    assert [float(text.replace("−", "-")) for text in shown] == pytest.approx(expected, rel=0.005)
    assert browser.get_log("browser") == []
