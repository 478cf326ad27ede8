"""Several networks on the same samples: two compared, or the checkpoints of a run in the order of training."""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
from rich.console import Console

from jacoscope.analysis.comparison import ComparisonTable, summarise_comparison
from jacoscope.analysis.earlier import read_arrays
from jacoscope.analysis.finite import finite_rows, left_out
from jacoscope.analysis.folder import AnswerFolder
from jacoscope.analysis.full import FullAnalysis
from jacoscope.analysis.parts import as_parquet
from jacoscope.analysis.request import Request
from jacoscope.analysis.several_folders import FOLLOWED, HISTORY_SCHEMA
from jacoscope.analysis.side_by_side import as_png, history_figure, maps_figure, scatter_figure
from jacoscope.analysis.split_folder import MAPS, TABLE, SplitFolder
from jacoscope.analysis.statistics import quantiles
from jacoscope.analysis.stream import Where, chunk_size_for, stream
from jacoscope.analysis.subject import Subject
from jacoscope.analysis.terminal import progress_bar
from jacoscope.errors import UserError
from jacoscope.files import write_whole
from jacoscope.measures import SINGULAR

MAPS_SHOWN = 8  # checkpoints whose maps are drawn, evenly spread


def compare(
    folder: AnswerFolder, subjects: Sequence[Subject], request: Request, where: Where, console: Console
) -> None:
    """Put two networks side by side, on the samples of the first one's data.

    Raises:
        UserError: if a checkpoint has just been replaced, the folder cannot be written or the disk is full; what is
            done is kept.
    """
    for subject, digest in zip(subjects, folder.manifest.question["compare"], strict=True):
        subject.origin.checkpoint.require(digest)
    dataset: Any = subjects[0].split(request.split)
    samples = min(len(dataset), request.limit or len(dataset))
    a, b = (subject.origin for subject in subjects)
    chunk_size = chunk_size_for(a.config["images"], request.chunk_size)
    parts = folder.file(f"parts_of_{chunk_size}")
    work = ComparisonTable((a, b), request.split, samples, chunk_size, parts, request.named_output)
    names = (_name(subjects[0], subjects[1]), _name(subjects[1], subjects[0]))
    with folder.stage("comparison", True):
        with progress_bar(console, "Jacobians of both", samples) as progress:
            stream(work, subjects, where, progress)
        work.parts.merge(folder.file("comparison.parquet"), work.schema)
        table = finite_rows(folder.file("comparison.parquet"))
        summary = {
            "checkpoints": [str(origin.checkpoint.path) for origin in (a, b)],
            "split": request.split,
            "output": request.named_output,
            **summarise_comparison(folder.file("comparison.parquet")),
        }
        if a.keeps_maps:
            sums = work.parts.sums()
            rows = [
                (f"{mark}: {name}", _mean_own(sums[f"own_{mark}"].numpy(), sums[f"count_{mark}"].numpy()))
                for mark, name in zip("ab", names, strict=True)
            ]
            about = f", {len(table):,} {request.split} samples"
            _draw_maps(folder, rows, subjects[0].class_names, request.named_output, about)
        write_whole(folder.file("scatter.png"), as_png(scatter_figure(table, names, request.named_output)))
        write_whole(folder.file("comparison.json"), (json.dumps(summary, indent=2) + "\n").encode())
    work.parts.clear()


def follow(
    folder: AnswerFolder,
    tables: Sequence[SplitFolder],
    subjects: Sequence[Subject],
    request: Request,
    where: Where,
    console: Console,
) -> None:
    """Follow the sensitivity over the checkpoints of a run.

    Each checkpoint gets a table of its own, as ``analyze.py checkpoint=FILE`` makes it, so that an interrupted
    history goes on where it stopped and finished tables are used again.

    Args:
        folder: for what is said of all of them.
        tables: for each checkpoint's own table.
        subjects: the checkpoints.
        request: the question.
        where: to compute.
        console: for the progress.

    Raises:
        UserError: if there is only one checkpoint, or a folder cannot be written.
    """
    by_name = sorted(zip(subjects, tables, strict=True), key=lambda pair: pair[0].origin.checkpoint.path.name)
    distinct = {_step(subject): (subject, table) for subject, table in reversed(by_name)}  # best.ckpt before last.ckpt
    if len(distinct) == 1:
        (step,) = distinct
        raise UserError(
            f"history=true follows several checkpoints, and this run has one, of step {step}. "
            "Train with callbacks=[default,every_epoch] to keep one of each epoch"
        )
    with folder.stage("history", True):
        rows, maps = [], []
        for step in sorted(distinct):
            subject, table = distinct[step]
            FullAnalysis(table, subject).run(console, where)
            rows.append(_row(subject, table))
            if subject.origin.keeps_maps:
                maps.append((f"step {step}", _own_maps(table)))
        about, output = f"{rows[0]['samples']:,} {request.split} samples", request.named_output
        if maps:
            shown = np.linspace(0, len(maps) - 1, min(len(maps), MAPS_SHOWN)).round().astype(int)
            evenly = [maps[i] for i in shown]
            _draw_maps(folder, evenly, subjects[0].class_names, output, f" through training, {about}")
        write_whole(folder.file("history.png"), as_png(history_figure(rows, about, output)))
        write_whole(folder.file("history.parquet"), as_parquet(pa.Table.from_pylist(rows, HISTORY_SCHEMA)))


def table_only(request: Request) -> Request:
    """Give the request for a checkpoint's table, without anything else."""
    return replace(request, history=False, report=False, attack=0, save_jacobians=False, output_dir=None)


def _row(subject: Subject, table: SplitFolder) -> dict[str, Any]:
    columns = finite_rows(table.file(TABLE), ["correct", *FOLLOWED])
    row = {
        "checkpoint": subject.origin.checkpoint.path.name,
        "epoch": subject.progress.get("epoch", -1),
        "global_step": _step(subject),
        "samples": len(columns),
        "left_out": left_out(table.file(TABLE))["samples"],
        "accuracy": float(columns["correct"].to_numpy().mean()),
    }
    for name in FOLLOWED:
        low, median, high = quantiles(columns[name].to_numpy(), [0.05, 0.5, 0.95])
        row |= {f"{name}_percentile_5": low, f"{name}_median": median, f"{name}_percentile_95": high}
    return row


def _draw_maps(folder: AnswerFolder, rows: Sequence[Any], class_names: list[str], output: str, about: str) -> None:
    title = f"mean derivative of each class's own {SINGULAR[output]}{about}"
    figure = maps_figure(rows, class_names, title, f"mean ∂ {SINGULAR[output]} / ∂ pixel")
    write_whole(folder.file("maps.png"), as_png(figure))


def _own_maps(table: SplitFolder) -> Any:
    return read_arrays(table.file(MAPS))["own"].sum(1)


def _mean_own(total: Any, count: Any) -> Any:
    with np.errstate(invalid="ignore"):
        return (total.sum(1) / count.reshape(-1, 1, 1)).astype(np.float32)


def _step(subject: Subject) -> int:
    return subject.progress.get("global_step", -1)


def _name(subject: Subject, other: Subject) -> str:
    """The run, and the checkpoint's own name where that is what tells it from the other."""
    mine, theirs = subject.origin.checkpoint, other.origin.checkpoint
    return mine.path.stem if mine.home == theirs.home else mine.home.resolve().name
