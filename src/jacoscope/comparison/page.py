"""sweep.html: what a sweep came to, as one file that needs no network."""

import os
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jacoscope.comparison import charts
from jacoscope.comparison.cells import Cells, cells_of_runs, cells_over_seeds
from jacoscope.comparison.curves import read_curves
from jacoscope.comparison.study import importances
from jacoscope.comparison.table import Table, objectives_of, pareto_front
from jacoscope.comparison.words import NORM, shortened, title, written
from jacoscope.runs.result import duration
from jacoscope.visuals.page import chart, page, section

TAGS = {"val/accuracy": "val accuracy", "val/loss": "val loss", "train/loss": "train loss", NORM: "‖J‖F of the logits"}
DIMENSION = 5  # rem between two axes of the parallel coordinates, at least
LONGEST = 28  # letters of a value in the table; the pointer shows all
MAX_CURVES = 100  # runs; more cannot be told apart
STYLE = """
.effects { display: grid; grid-template-columns: repeat(auto-fit, minmax(19rem, 1fr)); gap: 1rem; }
.effects .chart { height: 17rem; }
#chart-tradeoff { height: 27rem; }
td, th, p b { white-space: nowrap; }
h1, p, li { overflow-wrap: anywhere; }
.seeds { margin-bottom: 1.6rem; }
.failed { color: var(--wrong); }
"""


def sweep_page(table: Table, home: Path) -> str:
    """Make the page.

    Args:
        table: the runs.
        home: the folder that the page will lie in; links to runs are relative to it.
    """
    drawn: dict[str, Any] = {}
    parts = [section("What came out", _headline(table) + _seeds(table) + _rows(table, home) + _failures(table))]
    whole = table.without_pruned()
    if whole.tradeoff:
        front = pareto_front(whole.runs, *whole.tradeoff)
        drawn["tradeoff"] = charts.scatter(whole, *whole.tradeoff, front)
        parts.append(section("Accuracy against sensitivity", _tradeoff(len(front)) + chart("tradeoff")))
    if NORM in whole.metrics and "gap" in whole.metrics:
        drawn["gap"] = charts.scatter(whole, NORM, "gap")
        parts.append(section("Does the norm follow the generalisation gap?", _gap(whole) + chart("gap")))
    if whole.runs and table.keys and whole.metrics:
        metric = next((name for name in _judged_by(whole) if name in whole.metrics), whole.metrics[0])
        parts.append(section("What each setting does", _effects(whole, metric, drawn)))
    if table.keys and table.metrics:
        drawn["parallel"] = charts.parallel_coordinates(table)
        text = "<p>Each line is a run. Drag along an axis to keep the lines that pass there.</p>"
        width = DIMENSION * (len(table.keys) + len(table.metrics) + 1)
        scrolled = f'<div class="scroll"><div style="min-width: {width}rem">{chart("parallel")}</div></div>'
        parts.append(section("All settings at once", text + scrolled))
    for number, (metric, importance) in enumerate(importances(table.folder).items()):
        drawn[f"importance-{number}"] = charts.importance(importance.shares, metric)
        text = (
            f"<p>How much each setting has to do with a trial being among the best {importance.best} of "
            f"{importance.trials} by {escape(title(metric))}, as Optuna estimates it (PED-ANOVA); more trials make it "
            "surer.</p>"
        )
        parts.append(section("What matters", text + chart(f"importance-{number}")))
    if body := _curves(table, drawn):
        parts.append(section("While they trained", body))
    return page(
        title=f"{len(table.runs)} runs of {table.folder.resolve().name}",
        subtitle=f"by {', '.join(table.keys) or 'one setting'}",
        body="\n".join(parts),
        data={"charts": drawn},
        css=STYLE,
    )


def _judged_by(table: Table) -> list[str]:
    """Give what the runs were to optimise, and test accuracy before all."""
    return ["test/accuracy", *objectives_of(table.runs)]


def _headline(table: Table) -> str:
    done = [run for run in table.runs if run.status in ("finished", "pruned")]
    text = f"{len(done)} of {len(table.runs)} runs are done"
    seconds = sum(run.result.wall_seconds for run in table.runs if run.result)
    text += f"; together they took {duration(seconds) or '0 s'}."
    if pruned := sum(run.status == "pruned" for run in done):
        text += f" {pruned} of them were pruned; trade-off, gap and effects below are of the others."
    metric = next((name for name in _judged_by(table) if name in table.metrics), None)
    if metric and (measured := [run for run in done if metric in run.metrics]):
        best = max(measured, key=lambda run: run.metrics[metric])
        settings = table.settings[table.runs.index(best)]
        words = ", ".join(f"{key} {table.text(key, value)}" for key, value in settings.items())
        text += (
            f" The highest {title(metric)} is <b>{written(metric, best.metrics[metric])}</b>, of run "
            f"{escape(best.name)}{f' ({escape(words)})' if words else ''}."
        )
    return f"<p>{text}</p>"


def _seeds(table: Table) -> str:
    cells = cells_over_seeds(table)
    if cells is None:
        return ""
    rows = [[_value(text) for text in row] for row in cells.rows]
    return f'<p>Mean ± standard deviation over seeds:</p><div class="seeds">{_grid(cells, rows)}</div>'


def _rows(table: Table, home: Path) -> str:
    cells = cells_of_runs(table)
    reports = [sorted(run.path.glob("analysis/**/report.html")) for run in table.runs]
    rows = []
    for run, texts, found in zip(table.runs, cells.rows, reports, strict=True):
        name, *values, status, time = texts
        links = " ".join(_link(os.path.relpath(report, home), report.parent.name) for report in found)
        row = [
            _link(f"{os.path.relpath(run.path, home)}/", name),
            *map(_value, values),
            f'<span class="{status}">{status}</span>',
            time,
        ]
        rows.append([*row, links] if any(reports) else row)
    return _grid(cells, rows, ["analysis"] if any(reports) else [])


def _grid(cells: Cells, rows: list[list[str]], more: Sequence[str] = ()) -> str:
    """Give a table that scrolls in a box of its own where it is wider than the window."""
    head = "".join(f"<th>{escape(name)}</th>" for name in (*cells.settings, *cells.results, *more))
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="scroll wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _value(text: str) -> str:
    short = shortened(text, LONGEST)
    return escape(text) if short == text else f'<span title="{escape(text, quote=True)}">{escape(short)}</span>'


def _link(path: str, text: str) -> str:
    return f'<a href="{escape(quote(path), quote=True)}">{escape(text)}</a>'


def _failures(table: Table) -> str:
    lines = [f"<li>run {escape(run.name)} failed: {escape(run.failure)}</li>" for run in table.runs if run.failure]
    return f'<ul class="failed">{"".join(lines)}</ul>' if lines else ""


def _tradeoff(front: int) -> str:
    best = (
        "The one in a ring is the best in both."
        if front == 1
        else f"No run beats any of the {front} in rings in one without losing in the other."
    )
    return (
        f"<p>Each point is a run: up is more accurate, left is less sensitive, by the mean Frobenius norm of "
        f"∂logits/∂pixels on validation images. {best}</p>"
    )


def _gap(table: Table) -> str:
    pairs = [(run.metrics[NORM], run.metrics["gap"]) for run in table.runs if {NORM, "gap"} <= run.metrics.keys()]
    text = (
        "<p>The gap is the accuracy on training images, without augmentation, less that on test images. Novak et al. "
        '(2018, <a href="https://arxiv.org/abs/1802.08760">arXiv:1802.08760</a>) found, over thousands of fully-'
        "connected networks, that a small norm goes with good generalisation."
    )
    if len(pairs) >= 4:
        text += f" Here the rank correlation of the two is <b>{spearman(pairs):+.2f}</b>, over {len(pairs)} runs."
    return text + "</p>"


def spearman(pairs: list[tuple[float, float]]) -> float:
    """Give the rank correlation of pairs, by Spearman; ties get the mean of their ranks; 0 where one side is constant.

    >>> spearman([(1, 1), (2, 4), (3, 9)]), spearman([(1, 3), (2, 2), (3, 1)]), spearman([(1, 5), (2, 5)])
    (1.0, -1.0, 0.0)
    """

    def ranks(values: list[float]) -> list[float]:
        return [sum(v < value for v in values) + (sum(v == value for v in values) + 1) / 2 for value in values]

    a, b = ranks([x for x, _ in pairs]), ranks([y for _, y in pairs])
    mean = (len(pairs) + 1) / 2
    covariance = sum((x - mean) * (y - mean) for x, y in zip(a, b, strict=True))
    variances = [sum((value - mean) ** 2 for value in side) for side in (a, b)]
    return float(covariance / (variances[0] * variances[1]) ** 0.5) if all(variances) else 0.0


def _effects(table: Table, metric: str, drawn: dict[str, Any]) -> str:
    shown = [metric] + ([NORM] if NORM in table.metrics and metric != NORM else [])
    places: list[str] = []
    for key in [key for key in table.keys if key != "seed"] or table.keys:
        for name in shown:
            place = f"effect-{len(places)}"
            drawn[place] = charts.effect(table, key, name)
            places.append(chart(place))
    text = "<p>Every run by one setting at a time, and the mean over all others.</p>"
    return f'{text}<div class="effects">{"".join(places)}</div>'


def _curves(table: Table, drawn: dict[str, Any]) -> str:
    found = {run.name: read_curves(run.path, list(TAGS)) for run in table.runs[:MAX_CURVES]}
    places: list[str] = []
    for tag in TAGS:
        series = {name: curves[tag] for name, curves in found.items() if tag in curves}
        if any(len(steps) > 1 for steps, _ in series.values()):
            place = f"curve-{len(places)}"
            drawn[place] = charts.curves(table, series, tag)
            places.append(chart(place))
    few = f"<p>The first {MAX_CURVES} runs.</p>" if len(table.runs) > MAX_CURVES else ""
    return f'{few}<div class="effects">{"".join(places)}</div>' if places else ""
