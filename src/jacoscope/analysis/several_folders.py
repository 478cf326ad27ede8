"""The folders of compare= and history=: which networks they put side by side, and what is shown of them."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from jacoscope.analysis.earlier import holds_table
from jacoscope.analysis.finite import in_words
from jacoscope.analysis.folder import AnswerFolder
from jacoscope.analysis.origin import Origin
from jacoscope.analysis.request import Request
from jacoscope.errors import UserError

COMPARED = ("comparison.parquet", "comparison.json", "maps.png", "scatter.png")
HISTORY = ("history.parquet", "history.png", "maps.png")
MEASURES = {
    "accuracy": "accuracy",
    "median_frobenius": "Frobenius norm, median",
    "median_spectral": "spectral norm, median",
    "median_effective_rank": "effective rank, median",
    "median_boundary_distance": "boundary distance, median",
    "median_confidence": "confidence, median",
}


FOLLOWED = ("frobenius", "spectral", "effective_rank", "boundary_distance", "confidence")
HISTORY_SCHEMA = pa.schema(
    [("checkpoint", pa.string())]
    + [(name, pa.int64()) for name in ("epoch", "global_step", "samples", "left_out")]
    + [("accuracy", pa.float64())]
    + [(f"{name}_{what}", pa.float64()) for name in FOLLOWED for what in ("percentile_5", "median", "percentile_95")]
)


def comparison_folder(request: Request, sources: Sequence[Origin]) -> AnswerFolder:
    """Give the folder of a comparison, in the analyses of the first network unless the user named one.

    Raises:
        UserError: if the networks take different images or have different classes.
    """
    a, b = (source.config["images"] for source in sources)
    for key in ("shape", "classes"):
        if a[key] != b[key]:
            raise UserError(
                f"compare: the networks differ in images.{key}, {a[key]} and {b[key]}: "
                "only networks of the same images and classes can be put side by side"
            )
    return _folder(request, sources, "compare", COMPARED)


def history_folder(request: Request, sources: Sequence[Origin]) -> AnswerFolder:
    """Give the folder of a history, in the run's analyses unless the user named one."""
    return _folder(request, sources, "history", HISTORY)


def show_comparison(console: Console, folder: AnswerFolder) -> None:
    """Print what comparison.json says."""
    summary = json.loads(folder.file("comparison.json").read_text())
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for heading in ("", "a", "b"):
        table.add_column(heading, justify="right" if heading else "left")
    for key, label in MEASURES.items():
        table.add_row(label, *(_cell(summary[mark][key], share=key == "accuracy") for mark in "ab"))
    for mark, path in zip("ab", summary["checkpoints"], strict=True):
        console.print(f"{mark}           {path}", highlight=False, markup=False, soft_wrap=True)
    console.print(
        f"\n[bold]{summary['samples']:,} {summary['split']} samples[/]; J = ∂ {summary['output']} / ∂ pixels",
        highlight=False,
    )
    console.print(table)
    console.print(in_words(summary["left_out"]), highlight=False)
    console.print(
        f"They agree on {summary['agreement']:.2%} of the samples; {summary['only_a_right']} only a has right, "
        f"{summary['only_b_right']} only b, {summary['both_wrong']} neither.\n"
        f"b is the more sensitive one on {summary['b_more_sensitive']:.1%} of them; in the median its Frobenius norm "
        f"is {summary['median_ratio_of_frobenius']:.3g} times that of a.\n"
        f"The cosine between their Jacobians (1: same direction, 0: unrelated) is {summary['median_cosine']:.2f} in "
        f"the median, {summary['cosine_percentile_5']:.2f} to {summary['cosine_percentile_95']:.2f} on the middle "
        "90 %.",
        highlight=False,
        soft_wrap=True,
    )


def show_history(console: Console, folder: AnswerFolder) -> None:
    """Print what history.parquet says."""
    question = folder.manifest.question
    file = folder.file("history.parquet")
    if not holds_table(file, HISTORY_SCHEMA, range(len(question["history"]) + 1)):
        raise ValueError(f"{file.name} is not what was written")
    rows = pq.read_table(file).to_pylist()
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for heading in (
        "checkpoint",
        "epoch",
        "step",
        "accuracy",
        "Frobenius",
        "5 %",
        "95 %",
        "distance",
        "rank",
    ):
        table.add_column(heading, justify="left" if heading == "checkpoint" else "right")
    keys = ("frobenius_median", "frobenius_percentile_5", "frobenius_percentile_95", "boundary_distance_median")
    for row in rows:
        cells = [_cell(row["accuracy"], share=True), *(_cell(row[key]) for key in (*keys, "effective_rank_median"))]
        counts = [f"{row[key]:,}" for key in ("epoch", "global_step")]
        table.add_row(row["checkpoint"], *counts, *cells)
    samples = rows[0]["samples"] + rows[0]["left_out"]  # the same ones of each checkpoint
    left_out = any(row["left_out"] for row in rows)
    why = "; samples whose Jacobian is NaN or infinite are left out" if left_out else ""
    console.print(
        f"\n[bold]{samples:,} {question['split']} samples[/]; J = ∂ {question['output']} / ∂ pixels; medians{why}",
        highlight=False,
    )
    console.print(table)


def _folder(request: Request, sources: Sequence[Origin], what: str, names: Sequence[str]) -> AnswerFolder:
    digests = [source.checkpoint.digest() for source in sources]
    question = {
        what: digests,
        "config": [source.config for source in sources],
        "split": request.split,
        "output": request.named_output,
        "limit": request.limit,
    }
    if request.output_dir is not None:
        path = Path(request.output_dir).expanduser()
    else:
        limit = f"_first_{request.limit}" if request.limit else ""
        mark = f"{hashlib.sha256(json.dumps(question).encode()).hexdigest()[:8]}_" if what == "compare" else ""
        path = sources[0].checkpoint.home / "analysis" / f"{what}_{mark}{request.split}_{request.named_output}{limit}"
    drawn = [name for name in names if name != "maps.png" or sources[0].keeps_maps]
    return AnswerFolder(path, question, drawn, is_the_users=request.output_dir is not None)


def _cell(value: float | None, *, share: bool = False) -> str:
    return "–" if value is None else f"{value:.2%}" if share else f"{value:.3g}"
