"""sweep.html: runs side by side, as one file that needs no network."""

import io
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import plotly.graph_objects as go
from markupsafe import Markup
from PIL import Image

from jacoscope.commands import typed
from jacoscope.comparison import charts
from jacoscope.comparison.collect import Run, Training, read_training
from jacoscope.comparison.importance import importances
from jacoscope.comparison.robustness import PREFIX
from jacoscope.comparison.table import RunTable, are_numbers, pareto_front
from jacoscope.comparison.text import NORM, is_share, metric_text, title
from jacoscope.measures import shown_in
from jacoscope.pages import named, render, shortened
from jacoscope.runs.keys import as_typed
from jacoscope.runs.result import duration
from jacoscope.sweeps.directory import DONE
from jacoscope.visuals.colors import KINDS
from jacoscope.visuals.sheet import png_uri

if TYPE_CHECKING:
    from jacoscope.intervals import RankCorrelation

CURVES = ("val/accuracy", "val/loss", "train/loss", *(measure.tag() for measure in shown_in("runs")))
MAX_CURVES = 100  # runs; more cannot be told apart
MIN_PAIRS = 4  # for a rank correlation
PICTURE_WIDTH = 900  # pixels of a run's picture, at most
PICTURE_BYTES = 6_000_000  # of all pictures in the page
LONGEST = 28  # letters of a value in a table; the pointer shows all


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
    trained = {run.name: read_training(run.path, CURVES) for run in table.runs[:MAX_CURVES]}
    effects, curves = _effects(whole), _curves(table, trained)
    done = [run for run in table.runs if run.status in DONE]
    seeds = table.over_seeds_as_text()
    return render(
        "comparison/sweep.html",
        title=f"{len(table.runs)} runs of {table.folder.resolve().name}",
        subtitle=f"by {', '.join(table.keys) or 'one setting'}",
        charts={**_overview(whole, front), **effects, **shares, **curves},
        data={"runs": _runs(table), "about": _about(table, home, _pictures(trained)), "kinds": KINDS},
        table=table,
        done=done,
        pruned=len(table.runs) - len(whole.runs),
        failed=[run for run in table.runs if run.failure],
        duration=duration(sum(run.seconds or 0.0 for run in table.runs)),
        best=_best(table.main_metric, done),
        seeds=seeds
        and (
            [Markup(named(text)) for text in [*seeds.settings, *seeds.results]],
            [[_short(text) for text in row] for row in seeds.rows],
        ),
        front=front,
        correlation=_correlation_with_gap(whole),
        effects=list(effects),
        importances=found,
        curves=list(curves),
        max_curves=MAX_CURVES,
        title_of=lambda metric: Markup(named(title(metric))),
        metric_text=metric_text,
    )


def _overview(whole: RunTable, front: list[Run]) -> dict[str, go.Figure]:
    """Return the charts of all runs that were not pruned by their names in the template."""
    drawn = {}
    if whole.tradeoff:
        drawn["tradeoff"] = charts.scatter(whole, *whole.tradeoff, front)
    if NORM in whole.metrics and "gap" in whole.metrics:
        drawn["gap"] = charts.scatter(whole, NORM, "gap")
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


def _curves(table: RunTable, trained: dict[str, Training]) -> dict[str, go.Figure]:
    """Return the charts of what was logged at more than one step."""
    drawn = {}
    for tag in CURVES:
        series = {name: training.curves[tag] for name, training in trained.items() if tag in training.curves}
        if any(len(steps) > 1 for steps, _ in series.values()):
            drawn[f"curve-{tag}"] = charts.curves(table, series, tag)
    return drawn


def _best(metric: str | None, runs: Sequence[Run]) -> Run | None:
    """Return the run in which a metric is highest."""
    measured = [run for run in runs if metric in run.metrics]
    return max(measured, key=lambda run: run.metrics[metric]) if metric and measured else None


def _correlation_with_gap(table: RunTable) -> tuple[int, "RankCorrelation"] | None:
    """Return the number of runs with a generalisation gap and a norm, and the rank correlation of the two.

    ``None`` if there are too few runs, or one of the two does not vary.
    """
    pairs = [(run.metrics[NORM], run.metrics["gap"]) for run in table.runs if {NORM, "gap"} <= run.metrics.keys()]
    pairs = [pair for pair in pairs if all(map(math.isfinite, pair))]
    if len(pairs) < MIN_PAIRS:
        return None
    from jacoscope.intervals import rank_correlation  # scipy takes a second to import

    found = rank_correlation(*zip(*pairs, strict=True))
    return None if found.spearman is None else (len(pairs), found)


def _runs(table: RunTable) -> dict[str, Any]:
    """Return the table of all runs, as ``table.js`` reads it."""
    text = table.as_text()
    keys = ["run", *table.keys, *table.metrics, "status", "time"]
    numbers = {key: are_numbers([run.settings[key] for run in table.runs]) for key in table.keys}
    values: dict[str, list[Any]] = {
        "run": [run.name for run in table.runs],
        "status": [run.status for run in table.runs],
        "time": [run.seconds for run in table.runs],
    }
    values |= {key: [run.settings[key] for run in table.runs] for key in table.keys if numbers[key]}
    values |= {name: [run.metrics.get(name) for run in table.runs] for name in table.metrics}
    columns = []
    for key, heading, texts in zip(keys, text.settings + text.results, zip(*text.rows, strict=True), strict=True):
        is_number = numbers.get(key, key in table.metrics or key == "time")
        kind = "text" if not is_number else "percent" if key in table.metrics and is_share(key) else "number"
        columns.append({"key": key, "title": heading, "kind": kind})
        values.setdefault(key, list(texts))  # texts are filtered as they are shown
        values[f"{key}_text"] = list(map(str, texts))
    return {"columns": columns, "values": values, "noun": "runs", "link": "run", "as": "run", "height": "30rem"}


def _about(table: RunTable, home: Path, pictures: dict[str, str]) -> list[dict[str, Any]]:
    """Return what opens when a run is clicked on: its folder, its reports or the command for one, its picture."""
    return [
        {
            "folder": _address(run.path, home) + "/",
            "reports": [
                {"href": _address(file, home), "title": file.parent.name}
                for file in sorted(run.path.glob("analysis/**/report.html"))
            ],
            "command": f"{typed('analyze')} {as_typed('checkpoint', _near(run.path))}",
            "picture": pictures.get(run.name),
            "failure": run.failure,
        }
        for run in table.runs
    ]


def _pictures(trained: dict[str, Training]) -> dict[str, str]:
    """Return the runs' pictures of derivatives as URIs, smaller than in TensorBoard, as many as fit."""
    pictures, room = {}, PICTURE_BYTES
    for name, training in trained.items():
        if training.picture is None or room <= 0:
            continue
        try:
            picture = Image.open(io.BytesIO(training.picture)).convert("RGB")
        except (OSError, ValueError):  # someone else's file
            continue
        picture.thumbnail((PICTURE_WIDTH, 2 * PICTURE_WIDTH), Image.Resampling.LANCZOS)
        buffer = io.BytesIO()
        picture.quantize(64).save(buffer, "PNG", optimize=True)
        pictures[name] = png_uri(buffer.getvalue())
        room -= len(pictures[name])
    return pictures


def _near(path: Path) -> str:
    """Return a path as it is typed here: relative, if it is below the working folder."""
    absolute = path.absolute()
    return str(absolute.relative_to(Path.cwd()) if absolute.is_relative_to(Path.cwd()) else absolute)


def _address(path: Path, home: Path) -> str:
    return quote(os.path.relpath(path, home))


def _short(text: str) -> str:
    short = shortened(text, LONGEST)
    return text if short == text else Markup('<span title="{}">{}</span>').format(text, short)
