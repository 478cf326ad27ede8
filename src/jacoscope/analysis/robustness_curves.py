"""Robustness curves: of one network, as a stage of the answer about a split, and of several networks side by side."""

import csv
import io
import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from rich.console import Console

from jacoscope.analysis.arrays import DAMAGED
from jacoscope.analysis.figures import rendered
from jacoscope.analysis.folder import AnswerFolder, computed_by, drawn_by, short_digest, shown_from
from jacoscope.analysis.network import TrainedNetwork
from jacoscope.analysis.question import Question
from jacoscope.analysis.robustness.figure import curves_figure
from jacoscope.analysis.robustness.perturbations import CORRUPTIONS
from jacoscope.analysis.robustness.settings import Robustness
from jacoscope.analysis.robustness.summary import metrics, summarise_robustness
from jacoscope.analysis.robustness.table import CHUNK, RobustnessTable, robustness_columns
from jacoscope.analysis.streaming import Devices, Parts, chunk_size_for, stream
from jacoscope.analysis.tables import arrow_schema, as_parquet, holds_table
from jacoscope.analysis.terminal import progress_bar
from jacoscope.errors import UserError
from jacoscope.files import write_whole

STAGE, FIGURE_STAGE = "robustness", "robustness_figure"
TABLE, CURVES, SUMMARY, FIGURE = "robustness.parquet", "robustness.csv", "robustness.json", "robustness.png"
PARTS = ("perturbations", "table", "summary")
FILES = (TABLE, SUMMARY, CURVES, FIGURE)

COMPUTES = (
    "intervals.py",
    *(f"analysis/{name}.py" for name in ("attack", "summary", *(f"robustness/{part}" for part in PARTS))),
)
"""Files that decide the numbers."""


class _TimeIsUpError(Exception):
    """``robustness.max_minutes`` are over."""


def robustness_asked(question: Question) -> dict[str, Any] | None:
    """Return what the stage is asked for; ``None`` where no curves are."""
    if question.robustness is None:
        return None
    return {"settings": question.robustness.decides, "computed_by": computed_by(COMPUTES)}


def figure_asked(folder: AnswerFolder) -> dict[str, str]:
    """Return what the figure is made from: the other files, and the code that draws it."""
    return folder.made(STAGE) | {"drawn_by": drawn_by()}


def measure(
    folder: AnswerFolder, question: Question, network: TrainedNetwork, devices: Devices, console: Console
) -> None:
    """Measure the robustness of a network and write the table, the summary and the curves.

    Every part of 100 samples is kept once it is done. When the time is up, the samples that are done make the answer,
    and the stage counts as not done, so that the same command continues.

    Raises:
        UserError: if an attack fails on the network, no sample has a finite Jacobian, or the folder cannot be written.
    """
    settings = question.robustness
    assert settings is not None
    work = robustness_table(folder, question, network)
    asked = robustness_asked(question) or {}
    with folder.stage(STAGE, asked, (TABLE, SUMMARY, CURVES)):
        minutes = f" for at most {settings.max_minutes:g} min" if settings.max_minutes else ""
        with progress_bar(console, f"Robustness{minutes}", work.samples) as show, _until_time_is_up():
            stream(work, [network], devices, _watched(show, settings.max_minutes))
        missing = work.parts.missing()
        done = missing[0] * work.chunk_size if missing else work.samples
        if done < work.samples:
            asked["stopped_after"] = done
            console.print(
                f"The time is up after {done:,} of {work.samples:,} samples. The same command continues",
                highlight=False,
            )
        _write_table(work, folder.file(TABLE), done)
        about = {
            "split": question.split,
            "strategy": work.strategy,
            "checkpoint": str(network.spec.checkpoint.path),
            "checkpoint_sha256": folder.manifest.question["checkpoint_sha256"],
            "asked_samples": work.samples,
            "settings": settings.decides,
        }
        summary = about | summarise_robustness(folder.file(TABLE), settings)
        summary["metrics"] = metrics(summary)
        write_whole(folder.file(SUMMARY), (json.dumps(summary, indent=2, allow_nan=False) + "\n").encode())
        write_whole(folder.file(CURVES), curves_csv({"": summary}))
    for parts in folder.path.glob("parts_robustness_*"):
        if done == work.samples or parts != work.folder:  # of other settings
            shutil.rmtree(parts, ignore_errors=True)


def draw(folder: AnswerFolder) -> None:
    """Draw the figure of the curves that :func:`measure` has found.

    Raises:
        UserError: if the folder cannot be written, or holds something else.
    """
    with folder.stage(FIGURE_STAGE, figure_asked(folder), [FIGURE]), shown_from(folder.path):
        summary = folder.json(SUMMARY)
        title = f"{summary['samples']:,} {summary['split']} samples"
        write_whole(folder.file(FIGURE), rendered(curves_figure({"": summary}, title)))


def robustness_table(folder: AnswerFolder, question: Question, network: TrainedNetwork) -> RobustnessTable:
    """Describe the table that is to be computed."""
    assert question.robustness is not None
    dataset: Any = network.split(question.split)
    among = min(len(dataset), question.limit or len(dataset))
    samples = min(among, question.robustness.samples)
    chunk_size = chunk_size_for(network.spec, CHUNK)
    return RobustnessTable(
        (network.spec,),
        question.split,
        samples,
        chunk_size,
        folder.file(f"parts_robustness_{short_digest(robustness_asked(question))}"),
        "logits",
        network.usable_strategy(question.strategy),
        question.robustness,
        among,
    )


def is_sound(folder: AnswerFolder) -> bool:
    """Return whether an earlier robustness.parquet has the columns of what its stage was asked for."""
    try:
        settings = Robustness.from_config(folder.manifest.done[STAGE]["asked"]["settings"])
    except (UserError, *DAMAGED):
        return False
    if settings is None:
        return False
    return holds_table(folder.file(TABLE), arrow_schema(robustness_columns(settings)), range(1, settings.samples + 1))


def curves_csv(summaries: dict[str, dict[str, Any]]) -> bytes:
    """Return the points of all curves as CSV, a row for each.

    Args:
        summaries: contents of robustness.json by the names of the networks; with an empty name there is no such column.
    """
    buffer = io.StringIO()
    named = ["network"] if any(summaries) else []
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([*named, "change", "parameter", "size", "samples", "right", "accuracy", "low", "high"])
    for name, summary in summaries.items():
        clean = [("none", "", summary["accuracy"])]
        points = [(change, _parameter(change), point) for change, curve in summary["curves"].items() for point in curve]
        for change, parameter, point in clean + points:
            numbers = [point["right"], *(f"{point[key]:.6g}" for key in ("accuracy", "low", "high"))]
            own = [change, parameter, f"{point['size']:g}", summary["samples"], *numbers]
            writer.writerow([*([name] if named else []), *own])
    return buffer.getvalue().encode()


def _parameter(change: str) -> str:
    return CORRUPTIONS[change].parameter if change in CORRUPTIONS else "eps"


def _write_table(work: RobustnessTable, path: Path, samples: int) -> None:
    """Merge the parts of the first samples of the draw, and name the samples by their index in the split."""
    if samples == 0:
        raise UserError("robustness.max_minutes: no part was done in that time. The same command continues")
    Parts(work.folder, samples, work.chunk_size).merge(path, work.schema)
    rows = pq.read_table(path)
    rows = rows.set_column(0, rows.schema.field(0), [work.drawn[:samples]])
    write_whole(path, as_parquet(rows))


def _watched(show: Callable[[int], None], minutes: float | None) -> Callable[[int], None]:
    """Return a function of the number of samples done that shows it, and ends the work when the time is up."""
    end = time.monotonic() + 60 * minutes if minutes else None
    first: list[int] = []

    def watch(done: int) -> None:
        show(done)
        first.append(done)
        if end is not None and done > first[0] and time.monotonic() > end:
            raise _TimeIsUpError

    return watch


@contextmanager
def _until_time_is_up() -> Iterator[None]:
    with suppress(_TimeIsUpError):
        yield
