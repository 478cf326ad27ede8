"""sweep.html: runs side by side, as one file that needs no network."""

import math
import os
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

import plotly.graph_objects as go
from markupsafe import Markup

from jacoscope.comparison import charts
from jacoscope.comparison.collect import Run, read_curves
from jacoscope.comparison.importance import importances
from jacoscope.comparison.robustness import PREFIX
from jacoscope.comparison.table import NORM, RunTable, metric_text, pareto_front, shortened, title
from jacoscope.measures import shown_in
from jacoscope.pages import render
from jacoscope.runs.result import duration
from jacoscope.sweeps.directory import DONE

CURVES = ("val/accuracy", "val/loss", "train/loss", *(measure.tag() for measure in shown_in("runs")))
MAX_CURVES = 100  # runs; more cannot be told apart
MIN_PAIRS = 4  # for a rank correlation
DIMENSION_WIDTH = 5  # rem between two axes of the parallel coordinates, at least
LONGEST = 28  # letters of a value in a table; the pointer shows all
STATUS = Markup('<span class="{0}">{0}</span>')


def sweep_page(table: RunTable, home: Path) -> str:
    """Return the page as HTML. Its text is in ``sweep.html``, beside this file.

    Args:
        table: the runs.
        home: the folder that the page will lie in; links to runs are relative to it.
    """
    whole = table.without_pruned()
    front = pareto_front(whole.runs, *whole.tradeoff) if whole.tradeoff else []
    found = importances(table.folder)
    shares = {f"importance-{metric}": charts.importance(each.shares, metric) for metric, each in found.items()}
    effects, curves = _effects(whole), _curves(table)
    done = [run for run in table.runs if run.status in DONE]
    seeds = table.over_seeds_as_text()
    return render(
        "comparison/sweep.html",
        title=f"{len(table.runs)} runs of {table.folder.resolve().name}",
        subtitle=f"by {', '.join(table.keys) or 'one setting'}",
        charts={**_overview(table, whole, front), **effects, **shares, **curves},
        table=table,
        done=done,
        pruned=len(table.runs) - len(whole.runs),
        failed=[run for run in table.runs if run.failure],
        duration=duration(sum(run.seconds or 0.0 for run in table.runs)),
        best=_best(table.main_metric, done),
        seeds=seeds and ([*seeds.settings, *seeds.results], [[_short(text) for text in row] for row in seeds.rows]),
        runs=_runs(table, home),
        front=front,
        correlation=_correlation_with_gap(whole),
        effects=list(effects),
        parallel_width=DIMENSION_WIDTH * (len(table.keys) + len(table.metrics) + 1),
        importances=found,
        curves=list(curves),
        max_curves=MAX_CURVES,
        title_of=title,
        metric_text=metric_text,
    )


def _overview(table: RunTable, whole: RunTable, front: list[Run]) -> dict[str, go.Figure]:
    """Return the charts of all runs by their names in the template. Pruned runs are in the last one only."""
    drawn = {}
    if whole.tradeoff:
        drawn["tradeoff"] = charts.scatter(whole, *whole.tradeoff, front)
    if NORM in whole.metrics and "gap" in whole.metrics:
        drawn["gap"] = charts.scatter(whole, NORM, "gap")
    if table.keys and table.metrics:
        drawn["parallel"] = charts.parallel_coordinates(table)
    return drawn


def _effects(table: RunTable) -> dict[str, go.Figure]:
    """Return the charts of the main metric, the norm and robustness against each setting."""
    if not table.metrics:
        return {}
    robustness = [name for name in table.metrics if name.startswith(PREFIX)]
    shown = dict.fromkeys(
        (table.main_metric or table.metrics[0], *([NORM] if NORM in table.metrics else []), *robustness)
    )
    keys = [key for key in table.keys if key != "seed"] or table.keys
    return {f"effect-{key}-{name}": charts.effect(table, key, name) for key in keys for name in shown}


def _curves(table: RunTable) -> dict[str, go.Figure]:
    """Return the charts of what was logged at more than one step."""
    found = {run.name: read_curves(run.path, CURVES) for run in table.runs[:MAX_CURVES]}
    drawn = {}
    for tag in CURVES:
        series = {name: curves[tag] for name, curves in found.items() if tag in curves}
        if any(len(steps) > 1 for steps, _ in series.values()):
            drawn[f"curve-{tag}"] = charts.curves(table, series, tag)
    return drawn


def _best(metric: str | None, runs: Sequence[Run]) -> Run | None:
    """Return the run in which a metric is highest."""
    measured = [run for run in runs if metric in run.metrics]
    return max(measured, key=lambda run: run.metrics[metric]) if metric and measured else None


def _correlation_with_gap(table: RunTable) -> tuple[int, float] | None:
    """Return the number of runs with a generalisation gap and a norm, and the rank correlation of the two.

    ``None`` if there are too few runs, or one of the two does not vary.
    """
    pairs = [(run.metrics[NORM], run.metrics["gap"]) for run in table.runs if {NORM, "gap"} <= run.metrics.keys()]
    pairs = [pair for pair in pairs if all(map(math.isfinite, pair))]
    if len(pairs) < MIN_PAIRS or any(len(set(values)) == 1 for values in zip(*pairs, strict=True)):
        return None
    from scipy.stats import spearmanr  # takes a second to import

    return len(pairs), float(spearmanr(pairs).statistic)


def _runs(table: RunTable, home: Path) -> tuple[list[str], list[list[str]]]:
    """Return the headings and the rows of the table of runs, with links to their directories and reports."""
    text = table.as_text()
    reports = [sorted(run.path.glob("analysis/**/report.html")) for run in table.runs]
    rows = []
    for run, (name, *values, status, time), files in zip(table.runs, text.rows, reports, strict=True):
        row = [_link(run.path, home, name, "/"), *map(_short, values), STATUS.format(status), time]
        links = Markup(" ").join(_link(file, home, file.parent.name) for file in files)
        rows.append([*row, links] if any(reports) else row)
    return [*text.settings, *text.results, *(["analysis"] if any(reports) else [])], rows


def _link(path: Path, home: Path, text: str, end: str = "") -> Markup:
    return Markup('<a href="{}">{}</a>').format(quote(os.path.relpath(path, home)) + end, text)


def _short(text: str) -> str:
    short = shortened(text, LONGEST)
    return text if short == text else Markup('<span title="{}">{}</span>').format(text, short)
