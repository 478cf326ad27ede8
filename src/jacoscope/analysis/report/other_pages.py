"""The pages of single samples, of two networks, and of the checkpoints of a run, with the parts of the report."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pyarrow as pa
from torch import Tensor

from jacoscope.analysis.figures import bin_edges
from jacoscope.analysis.report.numbers import short
from jacoscope.analysis.report.page import explorer_settings
from jacoscope.analysis.report.samples import Sample
from jacoscope.measures import MEASURES, SINGULAR, shown_in
from jacoscope.pages import LIGHT, figure, plain, render
from jacoscope.visuals.sheet import png_uri

Row = Mapping[str, Any]
LISTED = 20_000
"""Samples of a comparison in its table, at most."""
POINTS = 2000
"""Samples in the scatter plot of a comparison where both networks are right; all others are shown."""


def sample_page(
    record: Row,
    image: Tensor,
    J: Tensor,
    probabilities: Tensor,
    label: int | None,
    class_names: Sequence[str],
    pictures: Mapping[str, bytes],
) -> bytes:
    """Return the page of one sample.

    Args:
        record: the content of reading.json.
        image: pixels in [0, 1], ``[C, H, W]``.
        J: the Jacobian, ``[classes, C, H, W]``.
        probabilities: ``[classes]``.
        label: the true class, if it is known.
        class_names: one for each class.
        pictures: PNG files by the sentence that stands below them.
    """
    unit = SINGULAR[record["output"]]
    sample = Sample.of(0, record["what"], image, J, probabilities, label)
    row = {"label": label, "prediction": int(probabilities.argmax()), **_numbers(record["measures"])}
    entry = sample.for_script(row, [measure.name for measure in shown_in("samples")])
    classes = {
        "columns": [
            {"key": "class", "title": "class", "kind": "text"},
            {"key": "probability", "title": "probability", "kind": "percent"},
            {"key": "logit", "title": "logit", "kind": "number"},
            {"key": "strongest", "title": "strongest pixels (row, column): derivative", "kind": "text"},
        ],
        "values": {
            "class": list(class_names),
            "probability": list(record["probabilities"].values()),
            "logit": list(record["logits"].values()),
            "strongest": [
                "; ".join(f"({e['row']}, {e['column']}): {e['value']:+.2g}".replace("-", "−") for e in entries[:3])
                for entries in record["strongest_pixels"].values()
            ],
        },
        **{"noun": "classes", "link": "class", "as": "class"},
    }
    return render(
        "analysis/report/sample.html",
        title=record["what"],
        subtitle=f"How every {unit} depends on every pixel",
        charts={},
        data={
            "explorer": {"samples": [entry], **explorer_settings(tuple(image.shape), class_names, unit)},
            "rows": classes,
        },
        record=record,
        unit=unit,
        short=lambda value: "–" if value is None else short(value),
        pictures=[(png_uri(content), caption) for caption, content in pictures.items()],
    ).encode()


def comparison_page(
    summary: Row, table: pa.Table, names: tuple[str, str], class_names: Sequence[str], maps: bytes | None, commands: Row
) -> bytes:
    """Return the page of two networks on the same samples.

    Args:
        summary: the content of comparison.json.
        table: the content of comparison.parquet, without rows that are not finite.
        names: of the networks.
        class_names: one for each class.
        maps: the content of maps.png.
        commands: that analyse one sample, with its number added, by ``a`` and ``b``.
    """
    columns = {name: table[name].to_numpy() for name in table.column_names}
    both = columns["correct_a"].astype(bool) & columns["correct_b"].astype(bool)
    wrong = np.flatnonzero(~both)[:LISTED]
    kept = np.sort(np.concatenate([wrong, _evenly(np.flatnonzero(both), LISTED - len(wrong))]))
    values: dict[str, list[Any]] = {
        "index": columns["index"][kept].tolist(),
        "label": [class_names[k] for k in columns["label"][kept]],
        "prediction_a": [class_names[k] for k in columns["prediction_a"][kept]],
        "prediction_b": [class_names[k] for k in columns["prediction_b"][kept]],
        "right": [_who(a, b) for a, b in zip(columns["correct_a"][kept], columns["correct_b"][kept], strict=True)],
    }
    for name in ("frobenius_a", "frobenius_b", "cosine"):
        values[name] = [float(f"{value:.4g}") for value in columns[name][kept].tolist()]
    titles = {
        **{"index": "sample", "label": "class", "prediction_a": "predicted by a", "prediction_b": "predicted by b"},
        **{"right": "right", "frobenius_a": "Frobenius a", "frobenius_b": "Frobenius b", "cosine": "cosine"},
    }
    texts = ("label", "prediction_a", "prediction_b", "right")
    rows = {
        "columns": [{"key": k, "title": t, "kind": "text" if k in texts else "number"} for k, t in titles.items()],
        "values": values,
        **{"noun": "samples", "link": "index", "as": "sample", "height": "26rem"},
    }
    return render(
        "analysis/report/comparison.html",
        title=f"{names[0]} and {names[1]}",
        subtitle=f"{summary['samples']:,} {summary['split']} samples, ∂ {summary['output']} / ∂ pixels",
        charts={"norms": _norms(columns, both), "cosines": _cosines(columns)},
        data={"rows": rows, "commands": dict(commands)},
        summary=summary,
        names=names,
        measures=shown_in("networks"),
        listed=len(kept),
        short=lambda value: "–" if value is None else short(value),
        maps=maps and png_uri(maps),
    ).encode()


def history_page(rows: Sequence[Row], title: str, about: str, output: str, maps: bytes | None, commands: Row) -> bytes:
    """Return the page of the checkpoints of a run.

    Args:
        rows: of history.parquet.
        title: the headline.
        about: what was analysed.
        output: what is differentiated.
        maps: the content of maps.png.
        commands: that analyse a checkpoint, by its name.
    """
    measures = shown_in("networks")
    steps = [row["global_step"] for row in rows]
    drawn = {measure.name: _over_steps(rows, steps, measure.name, measure.label) for measure in measures}
    drawn["accuracy"] = _over_steps(rows, steps, "accuracy", "accuracy")
    columns = [
        {"key": "checkpoint", "title": "checkpoint", "kind": "text"},
        {"key": "epoch", "title": "epoch", "kind": "number"},
        {"key": "global_step", "title": "step", "kind": "number"},
        {"key": "accuracy", "title": "accuracy", "kind": "percent"},
        *({"key": f"{m.name}_median", "title": m.heading, "kind": "number", "empty": "∞"} for m in measures),
    ]
    return render(
        "analysis/report/history.html",
        title=title,
        subtitle=about,
        charts=drawn,
        data={
            "rows": {
                "columns": columns,
                "values": {str(column["key"]): [row[str(column["key"])] for row in rows] for column in columns},
                **{"noun": "checkpoints", "link": "checkpoint", "as": "checkpoint"},
            },
            "commands": dict(commands),
        },
        output=output,
        maps=maps and png_uri(maps),
    ).encode()


def _norms(columns: Mapping[str, "np.ndarray[Any, Any]"], both: "np.ndarray[Any, Any]") -> go.Figure:
    groups = (
        ("both right", _evenly(np.flatnonzero(both), POINTS), "right", 4),
        ("not both right", np.flatnonzero(~both), "wrong", 6),
    )
    traces = [
        go.Scatter(
            x=[float(f"{value:.4g}") for value in columns["frobenius_a"][rows].tolist()],
            y=[float(f"{value:.4g}") for value in columns["frobenius_b"][rows].tolist()],
            customdata=columns["index"][rows].tolist(),
            meta={"click": "sample"},
            mode="markers",
            name=f"{name} ({len(rows):,} shown)",
            marker={"size": size, "color": LIGHT[color]},
            opacity=0.6,
            hovertemplate="sample %{customdata}: a %{x:.3g}, b %{y:.3g}<extra></extra>",
        )
        for name, rows, color, size in groups
        if len(rows)
    ]
    ends = [
        max(columns[f"frobenius_{mark}"].min() for mark in "ab"),
        min(columns[f"frobenius_{mark}"].max() for mark in "ab"),
    ]
    if ends[0] < ends[1]:
        line = {"dash": "dash", "width": 1, "color": LIGHT["ink"]}
        ends = [float(end) for end in ends]
        traces.append(go.Scatter(x=ends, y=ends, mode="lines", line=line, name="equally sensitive", hoverinfo="skip"))
    label = MEASURES["frobenius"].axis()
    return figure(*traces, xaxis={"title": {"text": f"{label}, a"}}, yaxis={"title": {"text": f"{label}, b"}})


def _cosines(columns: Mapping[str, "np.ndarray[Any, Any]"]) -> go.Figure:
    counts, edges = np.histogram(columns["cosine"], bin_edges(columns["cosine"]))
    bars = go.Bar(
        x=[float(f"{middle:.4g}") for middle in (edges[1:] + edges[:-1]) / 2],
        y=counts.tolist(),
        customdata=[f"{low:.6g}..{high:.6g}" for low, high in pairwise(edges.tolist())],
        meta={"click": "cosine"},
        marker_color=LIGHT["right"],
        hovertemplate="cosine %{customdata}: %{y} samples<extra></extra>",
    )
    xaxis = {"title": {"text": "cosine<br>(1: the same direction, 0: unrelated)"}}
    return figure(bars, bargap=0.02, xaxis=xaxis, yaxis={"title": {"text": "samples"}})


def _over_steps(rows: Sequence[Row], steps: Sequence[int], name: str, title: str) -> go.Figure:
    """Return a measure over the steps of training: its median with the middle 90 % of the samples, or the accuracy."""
    is_share = name == "accuracy"
    form = ".2%" if is_share else ".3g"
    edge: dict[str, Any] = {
        "x": steps,
        "mode": "lines",
        "line": {"width": 0, "color": LIGHT["right"]},
        "hoverinfo": "skip",
    }
    band = (
        []
        if is_share
        else [
            go.Scatter(y=[row[f"{name}_percentile_95"] for row in rows], **edge),
            go.Scatter(y=[row[f"{name}_percentile_5"] for row in rows], fill="tonexty", **edge),
        ]
    )
    line = go.Scatter(
        x=steps,
        y=[row[name if is_share else f"{name}_median"] for row in rows],
        customdata=[row["checkpoint"] for row in rows],
        meta={"click": "checkpoint"},
        mode="lines+markers",
        line_color=LIGHT["right"],
        hovertemplate=f"%{{customdata}}, step %{{x}}: %{{y:{form}}}<extra></extra>",
    )
    yaxis = {"title": {"text": plain(title)}, **({"tickformat": ".1%"} if is_share else {})}
    return figure(*band, line, showlegend=False, xaxis={"title": {"text": "step"}}, yaxis=yaxis)


def _evenly(places: "np.ndarray[Any, Any]", most: int) -> "np.ndarray[Any, Any]":
    """Return an even choice of some places."""
    room = min(len(places), most)
    return places[np.linspace(0, len(places) - 1, room).round().astype(int)] if room else places[:0]


def _who(a: Any, b: Any) -> str:
    return ("both" if b else "a alone") if a else ("b alone" if b else "neither")


def _numbers(measures: Mapping[str, float | None]) -> dict[str, float]:
    return {name: float("inf") if value is None else value for name, value in measures.items()}
