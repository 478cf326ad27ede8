"""report.html, put together: one file that needs no network."""

from collections.abc import Mapping
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

import pyarrow as pa

from jacoscope.analysis.derivatives import jacobians_one_by_one, of_output
from jacoscope.analysis.report import charts, sections
from jacoscope.analysis.report.explorer import explorer_data
from jacoscope.analysis.report.numbers import Numbers
from jacoscope.analysis.report.pictures import color_table
from jacoscope.analysis.stream import read_samples
from jacoscope.analysis.subject import Subject
from jacoscope.files import write_whole
from jacoscope.measures import SINGULAR
from jacoscope.visuals.page import chart, page, section

ROWS = 6  # samples shown with all their maps, of each kind


def write_report(
    path: Path,
    subject: Subject,
    summary: dict[str, Any],
    table: pa.Table,
    maps: Mapping[str, Any] | None,
    adversarial: pa.Table | None,
    about: dict[str, str],
) -> None:
    """Write the report.

    Args:
        path: the HTML file.
        subject: the network and its data.
        summary: the content of summary.json.
        table: the content of samples.parquet.
        maps: the content of maps.npz, if maps were kept.
        adversarial: predicted and found distances, if they were searched.
        about: what was analysed and how, a line for each entry.

    Raises:
        UserError: if plotly is not installed, or the file cannot be written.
    """
    n = Numbers(summary)
    output, names = summary["output"], subject.class_names
    drawn: dict[str, Any] = {
        "norms": charts.norm_histogram(table),
        "confidence": charts.norm_against_confidence(table, names),
        "spectrum": charts.spectrum(summary),
    }
    parts = [
        section("In short", sections.headline(n) + sections.left_out_text(n) + sections.reading_guide(output)),
        section(
            "How sensitive, and where it is wrong",
            sections.norms_text(n) + chart("norms") + sections.confidence_text(n) + chart("confidence"),
        ),
        section("By class", sections.class_text(n) + _by_class(table, names) + sections.class_table(n)),
    ]
    if maps is not None:
        parts.append(section("What each class looks for", sections.mean_maps(dict(maps), names, output)))
    parts += _sample_sections(subject, n, names)
    parts.append(section("The spectrum of J", sections.spectrum_text(n) + chart("spectrum")))
    if adversarial is not None:
        drawn["distances"] = charts.distances(adversarial)
        parts.append(section("Predicted and found distances", sections.distance_text(n) + chart("distances")))
    data = {
        "charts": drawn,
        "byClass": charts.by_class(table, names),
        "samples": explorer_data(subject, summary["split"], output, summary, table),
        "shape": [3 if subject.shape[0] == 3 else 1, *subject.shape[1:]],
        "names": names,
        "output": SINGULAR[output],
        "colors": color_table(),
    }
    parts.insert(1, _explorer(output))
    parts.append(section("What was analysed, and how", _about(about)))
    written = page(
        title=f"{_name(subject)} on {summary['samples']:,} {summary['split']} images",
        subtitle=f"How every {SINGULAR[output]} depends on every pixel · {_run(subject)}",
        body="\n".join(parts),
        data=data,
        script=_asset("report.js"),
        css=_asset("report.css"),
    )
    write_whole(path, written.encode())


def _sample_sections(subject: Subject, n: Numbers, names: list[str]) -> list[str]:
    kinds = (
        ("The most sensitive samples", "most_sensitive", "<p>The samples with the largest Frobenius norms.</p>"),
        (
            "Errors made with confidence",
            "confident_errors",
            "<p>Wrong, and sure of it: the errors with the largest confidence.</p>",
        ),
    )
    parts = []
    for title, key, text in kinds:
        rows = n.value(key)[:ROWS]
        if not rows:
            parts.append(section(title, "<p>There are none.</p>"))
            continue
        x, _ = read_samples(subject.split(n.value("split")), [row["index"] for row in rows])
        read = (
            (of_output(J, logits, n.value("output"))[0], logits[0].softmax(0))
            for J, logits in jacobians_one_by_one(subject, x)
        )
        parts.append(section(title, text + sections.derivative_rows(n, key, x, read, names)))
    return parts


def _by_class(table: pa.Table, names: list[str]) -> str:
    options = "".join(
        f'<option value="{key}">{escape(each["layout"]["yaxis"]["title"]["text"])}</option>'
        for key, each in charts.by_class(table, names).items()
    )
    return f'<label class="pick">Show <select id="measure">{options}</select></label>{chart("by-class")}'


def _explorer(output: str) -> str:
    return section(
        "Explore",
        f"<p>Choose a sample and a class. Point at a pixel, or touch it, to read its row of J: the derivative of every "
        f"class’s {SINGULAR[output]} with respect to that pixel. The arrow keys move from pixel to pixel.</p>"
        + _asset("explorer.html"),
    )


def _about(about: dict[str, str]) -> str:
    rows = "".join(f"<tr><th>{escape(key)}</th><td>{escape(value)}</td></tr>" for key, value in about.items())
    traced = (
        "Every measured number in the sentences, in the table of classes and beside the samples stands in "
        "summary.json, which is computed from the tables samples.parquet, a row for each sample, and "
        "adversarial.parquet; point at a number to see where. They lie beside this file. Charts are drawn from the "
        "tables, pictures from Jacobians computed again."
    )
    return f'<div class="scroll"><table class="about">{rows}</table></div><p class="note">{traced}</p>'


def _name(subject: Subject) -> str:
    return str(subject.origin.config["model"]["_target_"]).rpartition(".")[2]


def _run(subject: Subject) -> str:
    checkpoint = subject.origin.checkpoint
    return f"run {checkpoint.home.resolve().name}" if checkpoint.run else checkpoint.path.name


def _asset(name: str) -> str:
    return (files("jacoscope.analysis.report") / name).read_text(encoding="utf-8")
