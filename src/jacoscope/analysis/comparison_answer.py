"""compare= and history=: several checkpoints on the same samples, in the terminal and in files."""

import hashlib
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table
from torch import Tensor

from jacoscope.analysis.comparison import Comparison, compare, summarise_comparison
from jacoscope.analysis.full_terminal import progress_bar
from jacoscope.analysis.reduction import MapSums, reduce_chunk
from jacoscope.analysis.single import jacobian_of
from jacoscope.analysis.stream import read_samples
from jacoscope.analysis.subject import Subject
from jacoscope.files import write_whole
from jacoscope.visuals import diverging, symmetric_limit

ROWS = {
    "accuracy": "accuracy",
    "median_frobenius": "Frobenius norm, median",
    "median_spectral": "spectral norm, median",
    "median_effective_rank": "effective rank, median",
    "median_boundary_distance": "boundary distance, median",
    "median_confidence": "confidence, median",
}


def answer_comparison(
    a: Subject, b: Subject, split: str, limit: int | None, output: str, chunk_size: int, home: Path, console: Console
) -> list[Path]:
    """Compare two networks; give the files: comparison.parquet, comparison.json, maps.png, scatter.png."""
    dataset: Any = a.split(split)
    samples = min(len(dataset), limit or len(dataset))
    with progress_bar(console, "Jacobians of both", samples) as progress:
        found = compare(a, b, split, samples, output, chunk_size, progress)
    paths = [str(subject.origin.checkpoint.path) for subject in (a, b)]
    summary = {"checkpoints": paths, "split": split, "output": output, **summarise_comparison(found.table)}
    mark = hashlib.sha256("".join(s.origin.checkpoint.digest() for s in (a, b)).encode()).hexdigest()[:8]
    folder = home / f"compare_{mark}_{split}_{output}_{samples}"
    files = {
        "comparison.parquet": _parquet(found.table),
        "comparison.json": _json(summary),
        "maps.png": _png(_maps_figure(found, a.class_names, output)),
        "scatter.png": _png(_scatter_figure(found.table, output)),
    }
    for name, content in files.items():
        write_whole(folder / name, content)
    _show(console, summary)
    return [folder / name for name in files]


def answer_history(
    subjects: Sequence[Subject],
    split: str,
    limit: int | None,
    output: str,
    chunk_size: int,
    home: Path,
    console: Console,
) -> list[Path]:
    """Follow the sensitivity over the checkpoints of a run; give the files: history.parquet, history.png."""
    dataset: Any = subjects[0].split(split)
    samples = min(len(dataset), limit or len(dataset))
    rows = []
    with progress_bar(console, "Jacobians of all", samples * len(subjects)) as progress:
        for i, subject in enumerate(subjects):
            columns = []
            for start in range(0, samples, chunk_size):
                indices = list(range(start, min(samples, start + chunk_size)))
                x, labels = read_samples(dataset, indices)
                columns.append(reduce_chunk(x, labels, *jacobian_of(subject, x), output, None)[0])
                progress(i * samples + indices[-1] + 1)
            rows.append({**_place(subject), **_of_checkpoint(columns)})
    table = pa.Table.from_pylist(rows)
    folder = home / f"history_{split}_{output}_{samples}"
    files = {"history.parquet": _parquet(table), "history.png": _png(_history_figure(rows, output))}
    for name, content in files.items():
        write_whole(folder / name, content)
    shown = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for heading in ("checkpoint", "epoch", "step", "accuracy", "Frobenius", "5 %", "95 %", "distance"):
        shown.add_column(heading, justify="left" if heading == "checkpoint" else "right")
    for row in rows:
        keys = ("frobenius_median", "frobenius_percentile_5", "frobenius_percentile_95", "boundary_distance_median")
        cells = [f"{row[key]:.3g}" for key in keys]
        shown.add_row(row["checkpoint"], str(row["epoch"]), str(row["global_step"]), f"{row['accuracy']:.2%}", *cells)
    console.print(f"\n[bold]{samples:,} {split} samples[/]; J = ∂ {output} / ∂ pixels; medians", highlight=False)
    console.print(shown)
    return [folder / name for name in files]


def _of_checkpoint(pieces: list[dict[str, Tensor]]) -> dict[str, float]:
    columns = {name: torch.cat([piece[name] for piece in pieces]).numpy() for name in pieces[0]}
    found = {"accuracy": float(columns["correct"].mean())}
    for name in ("frobenius", "spectral", "effective_rank", "boundary_distance", "confidence"):
        low, median, high = np.quantile(columns[name], [0.05, 0.5, 0.95], method="nearest")
        found |= {
            f"{name}_percentile_5": float(low),
            f"{name}_median": float(median),
            f"{name}_percentile_95": float(high),
        }
    return found


def _place(subject: Subject) -> dict[str, Any]:
    names = ("epoch", "global_step")
    return {
        "checkpoint": subject.origin.checkpoint.path.name,
        **{name: subject.progress.get(name, -1) for name in names},
    }


def _show(console: Console, summary: dict[str, Any]) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for heading in ("", "a", "b"):
        table.add_column(heading, justify="right" if heading else "left")
    for key, label in ROWS.items():
        form = "{:.2%}" if key == "accuracy" else "{:.3g}"
        table.add_row(label, form.format(summary["a"][key]), form.format(summary["b"][key]))
    for mark, path in zip("ab", summary["checkpoints"], strict=True):
        console.print(f"{mark}           {path}", highlight=False, soft_wrap=True)
    console.print(
        f"\n[bold]{summary['samples']:,} {summary['split']} samples[/]; J = ∂ {summary['output']} / ∂ pixels",
        highlight=False,
    )
    console.print(table)
    console.print(
        f"\nThey agree on {summary['agreement']:.2%} of the samples; {summary['only_a_right']} only a has right, "
        f"{summary['only_b_right']} only b, {summary['both_wrong']} neither. b is the more sensitive one on "
        f"{summary['b_more_sensitive']:.1%} of them, by a factor of {summary['median_ratio_of_frobenius']:.3g} "
        "in the median. "
        f"Their Jacobians have a median cosine of {summary['median_cosine']:.2f}: 1 is the same direction, "
        "0 unrelated.",
        highlight=False,
    )


def _maps_figure(found: Comparison, class_names: list[str], output: str) -> Figure:
    """The mean derivative of each class's own output, network a above network b, on one scale."""
    means = [_mean_own(sums) for sums in found.maps]
    classes = min(len(class_names), 10)
    limit = symmetric_limit(torch.stack(means)[:, :classes].nan_to_num(0.0))
    figure = Figure(figsize=(1.25 * classes + 1.2, 3.3), layout="constrained", dpi=160)
    axes = np.atleast_2d(figure.subplots(2, classes, squeeze=False))
    for row, (mark, mean) in enumerate(zip("ab", means, strict=True)):
        for k in range(classes):
            axis = axes[row, k]
            shown = axis.imshow(mean[k], cmap=diverging(), vmin=-limit, vmax=limit, interpolation="nearest")
            axis.set_xticks([])
            axis.set_yticks([])
            if row == 0:
                axis.set_title(class_names[k], fontsize=10)
        axes[row, 0].set_ylabel(mark, rotation=0, labelpad=12, fontsize=12)
    figure.colorbar(shown, ax=axes.ravel().tolist(), fraction=0.02, pad=0.01).set_label(f"mean ∂ {output} / ∂ pixel")
    return figure


def _mean_own(sums: MapSums) -> Tensor:
    count = sums.count.view(-1, 1, 1)
    return (sums.own.sum(1) / count).float()


def _scatter_figure(table: pa.Table, output: str) -> Figure:
    """Each sample's norm in one network against the other."""
    a, b = (table.column(f"frobenius_{mark}").to_numpy() for mark in "ab")
    top = float(max(a.max(), b.max())) or 1.0
    figure = Figure(figsize=(5, 5), layout="constrained", dpi=160)
    axis = figure.subplots()
    axis.plot([0, top], [0, top], "--", color="0.5", linewidth=1)
    axis.scatter(a, b, s=5, alpha=0.4, linewidths=0, color="#2b6cb0", rasterized=True)
    axis.set(xlabel=f"Frobenius norm of ∂ {output} / ∂ pixels, network a", ylabel="network b", aspect="equal")
    axis.set(xlim=(0, top), ylim=(0, top))
    return figure


def _history_figure(rows: list[dict[str, Any]], output: str) -> Figure:
    """Median and middle 90 % of the norm, and the accuracy, over the steps of training."""
    steps = [row["global_step"] for row in rows]
    figure = Figure(figsize=(7, 5), layout="constrained", dpi=160)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[2, 1])
    low, median, high = (
        [row[f"frobenius_{key}"] for row in rows] for key in ("percentile_5", "median", "percentile_95")
    )
    above.fill_between(steps, low, high, alpha=0.2, color="#2b6cb0", linewidth=0, label="middle 90 %")
    above.plot(steps, median, "o-", color="#2b6cb0", label="median")
    above.set(ylabel=f"Frobenius norm of ∂ {output} / ∂ pixels", ylim=(0, None))
    above.legend(frameon=False)
    below.plot(steps, [100 * row["accuracy"] for row in rows], "o-", color="#c65a11")
    below.set(ylabel="accuracy, %", xlabel="training step")
    return figure


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _parquet(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def _json(summary: dict[str, Any]) -> bytes:
    return (json.dumps(summary, indent=2) + "\n").encode()
