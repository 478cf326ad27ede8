"""report.html: every number traced to the summary, nothing from outside, and a browser that finds no fault."""

import base64
import io
import json
import re
from collections.abc import Callable
from html import unescape
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from jacoscope.analysis.folder import AnswerFolder
from jacoscope.analysis.network import TrainedNetwork
from jacoscope.analysis.report.charts import norm_against_confidence
from jacoscope.analysis.report.numbers import Numbers, short
from jacoscope.measures import shown_in
from jacoscope.pages import load_template
from jacoscope.visuals.colors import diverging

ByHand = Callable[[int, str], "np.ndarray[Any, Any]"]
SENTENCES = "analysis/report/sentences.html"
HOSTILE = '<script>alert("x")</script>/"b'


def test_numbers_are_written_with_three_digits() -> None:
    assert [short(v) for v in (10.04, 0.98765, 1234567.0, 3)] == ["10.0", "0.988", "1,234,567", "3"]


def test_the_report_holds_the_numbers_of_the_summary_and_needs_no_network(finished: AnswerFolder) -> None:
    page = finished.file("report.html").read_text()
    assert finished.file("report.html").stat().st_size < 10_000_000
    body, _, _ = page.partition('<script type="application/json"')
    assert not re.search(r"""(src|href)=["'](?!data:|#)""", body)
    summary = finished.json("summary.json")
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


def test_no_measured_number_stands_in_the_text_untraced(finished: AnswerFolder) -> None:
    text = " ".join(re.findall(r"<(?:p|b|small)>(.*?)</(?:p|b|small)>", finished.file("report.html").read_text(), re.S))
    untraced = re.sub(r"<[^>]*>", " ", re.sub(r'<span class="n".*?</span>|scale ±[\d.e-]+', "", text))
    of_the_method = {
        "0",
        "1",
        "0.1",
        "50",
        "90",
        "100",
        "2019",
        "80",
        "95",
        "127",
    }  # J[0, 1], noise of 0.1, the middle 90 %, the attack
    assert set(re.findall(r"\b\d+(?:[.,]\d+)*", untraced)) <= of_the_method


@pytest.fixture(scope="module")
def data(finished: AnswerFolder) -> Any:
    """What the report's charts and its explorer are drawn from."""
    _, _, scripts = finished.file("report.html").read_text().partition('<script type="application/json"')
    return json.loads(scripts[scripts.index(">") + 1 : scripts.index("</script>")])


def test_the_charts_hold_the_tables(data: Any, finished: AnswerFolder) -> None:
    rows = pq.read_table(finished.file("samples.parquet")).to_pylist()
    norms = {right: [row["frobenius"] for row in rows if row["correct"] is right] for right in (True, False)}
    everything = sorted(norms[True] + norms[False])
    edges = np.linspace(everything[0], everything[-1], 41)
    for trace, right in zip(data["charts"]["norms"]["data"], (True, False), strict=True):
        assert trace["y"] == np.histogram(norms[right], edges)[0].tolist()
        assert trace["x"] == pytest.approx((edges[1:] + edges[:-1]) / 2, rel=1e-4)
    by_class = {name: chart for name, chart in data["charts"].items() if name.startswith("by-class-")}
    assert len(by_class) >= 4
    for place, chart in by_class.items():
        name, (box,) = place.removeprefix("by-class-"), chart["data"]
        for k in range(3):
            values = [row[name] for row in rows if row["label"] == k]
            expected = np.percentile(values, [5, 25, 50, 75, 95])
            drawn = [box[quantile][k] for quantile in ("lowerfence", "q1", "median", "q3", "upperfence")]
            assert drawn == pytest.approx(expected, rel=1e-4), (name, k)
    points = [
        (point[0], x, y)
        for trace in data["charts"]["confidence"]["data"]
        for point, x, y in zip(trace["customdata"], trace["x"], trace["y"], strict=True)
    ]
    for index, doubt, norm in points:
        assert 1 - doubt == pytest.approx(rows[index]["confidence"], abs=1e-4)
        assert norm == pytest.approx(rows[index]["frobenius"], rel=1e-4)
    assert sorted(index for index, _, _ in points) == list(range(27))
    high, low, mean = (trace["y"] for trace in data["charts"]["spectrum"]["data"])
    spectra = np.array([row["singular_values"] for row in rows])
    assert mean == pytest.approx(spectra.mean(0), rel=1e-5)
    assert [low, high] == [pytest.approx(np.percentile(spectra, q, axis=0), rel=1e-5) for q in (5, 95)]


def test_the_chart_of_distances_holds_the_search(data: Any, finished: AnswerFolder) -> None:
    searched = {row["index"]: row for row in pq.read_table(finished.file("adversarial.parquet")).to_pylist()}
    line, *traces = data["charts"]["distances"]["data"]
    assert line["x"] == line["y"]
    for trace, name in zip(traces, ("along_distance", "attack_distance"), strict=False):
        assert trace["customdata"] == [index for index, row in searched.items() if row[name] is not None]
        for index, x, y in zip(trace["customdata"], trace["x"], trace["y"], strict=True):
            assert (x, y) == pytest.approx((searched[index]["predicted_distance"], searched[index][name]), rel=1e-4)


def test_the_explorer_holds_the_derivatives(
    data: Any, finished: AnswerFolder, small: TrainedNetwork, by_hand: ByHand
) -> None:
    rows = pq.read_table(finished.file("samples.parquet")).to_pylist()
    for entry in data["explorer"]["samples"][::7]:
        row, (network,) = rows[entry["index"]], entry["networks"]
        maps = np.frombuffer(base64.b64decode(network["maps"]), "<i2").reshape(3, 64)
        rebuilt = maps / 32767 * np.array(network["limits"])[:, None]
        expected = by_hand(entry["index"], "logits")
        np.testing.assert_allclose(rebuilt, expected, atol=1e-4 * np.abs(expected).max())
        image, label = small.split("test")[entry["index"]]
        assert base64.b64decode(entry["image"]) == image.numpy().tobytes()
        assert (entry["label"], network["prediction"]) == (int(label), row["prediction"])
        assert network["measures"]["frobenius"] == pytest.approx(np.linalg.norm(expected), rel=1e-4)
        assert network["measures"]["boundary_distance"] == pytest.approx(row["boundary_distance"], rel=1e-4)
        p = np.exp(np.array(row["logits"])) / np.exp(row["logits"]).sum()
        assert network["probabilities"] == pytest.approx(p, rel=1e-4)


def test_the_pictures_of_the_classes_show_their_means(
    finished: AnswerFolder, small: TrainedNetwork, by_hand: ByHand
) -> None:
    page = finished.file("report.html").read_text()
    labels = [int(label) for _, label in (small.split("test")[i] for i in range(27))]
    own = {k: np.mean([by_hand(i, "logits")[k] for i in range(27) if labels[i] == k], 0) for k in range(3)}
    everything, scale = np.concatenate(list(own.values())), np.rint(np.asarray(diverging().colors) * 255)
    for k, name in enumerate("abc"):
        image = np.mean([small.split("test")[i][0].numpy() for i in range(27) if labels[i] == k], 0)
        drawn = picture_of(page, f"mean image of class {name}")[..., 0]
        np.testing.assert_allclose(drawn, image[0], atol=1)
        drawn = picture_of(page, f"mean derivative, class {name}").reshape(-1, 3).astype(int)
        place = np.abs(drawn[:, None] - scale).sum(2).argmin(1)  # that of the nearest colour
        clear = np.abs(own[k]) > 0.1 * np.abs(everything).max()
        assert (place[clear] > len(scale) // 2).tolist() == (own[k][clear] > 0).tolist()


def picture_of(page: str, alt: str) -> "np.ndarray[Any, Any]":
    (encoded,) = re.findall(rf'src="data:image/png;base64,([^"]+)"[^>]*alt="{alt}"', page)
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(encoded))).convert("RGB"))


def test_samples_are_shown_with_what_the_table_says_of_them(finished: AnswerFolder) -> None:
    page = finished.file("report.html").read_text()
    rows = pq.read_table(finished.file("samples.parquet")).to_pylist()
    by_norm = sorted(rows, key=lambda row: -row["frobenius"])[:6]
    sure = [row for row in rows if not row["correct"] and row["confidence"] > (1 + 1 / 3) / 2]
    errors = sorted(sure, key=lambda row: -row["confidence"])[:6]
    shown = re.findall(r'<div class="row" data-sample="(\d+)">.*?<small>(.*?)</small>', page, re.S)
    assert [int(index) for index, _ in shown] == [row["index"] for row in by_norm + errors]
    for (_, text), row in zip(shown, by_norm + errors, strict=True):
        index, *numbers = re.findall(r"data-from[^>]*>([^<]*)<", text.replace("−", "-"))
        assert int(index) == row["index"]
        names = [measure.name for measure in shown_in("samples")]
        assert {"frobenius", "boundary_distance"} <= set(names)
        assert [float(number) for number in numbers] == pytest.approx([row[name] for name in names], rel=0.006)


def test_names_of_the_users_are_shown_as_they_are_and_never_run() -> None:
    group = {"samples": 5, "frobenius": 2.0, "boundary_distance": 0.5}
    numbers = Numbers({"by_class": {HOSTILE: group, "b": {**group, "frobenius": 1.0}}})
    text = str(load_template(SENTENCES).module.classes_differ(numbers))
    assert "<script" not in text
    assert "2.00" in text
    assert "–" not in text  # each number was found, whatever the name


def test_the_words_follow_the_numbers() -> None:
    def related(rho: float) -> str:
        numbers = Numbers({"correlation_with_confidence": {"frobenius": {"spearman": rho}}})
        return " ".join(str(load_template(SENTENCES).module.confidence_matters(numbers)).split())

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
