"""What came out of a whole split, in the terminal."""

from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from jacoscope.analysis.finite import in_words

SHOWN = ("frobenius", "spectral", "nuclear", "effective_rank", "boundary_distance")
LABELS = {
    "frobenius": "Frobenius norm",
    "spectral": "spectral norm",
    "nuclear": "nuclear norm",
    "l1_operator": "L1 operator norm",
    "linf_operator": "L∞ operator norm",
    "stable_rank": "stable rank",
    "effective_rank": "effective rank",
    "boundary_distance": "boundary distance",
    "margin": "margin",
    "confidence": "confidence",
}


def show_summary(console: Console, summary: dict[str, Any], output: str, split: str) -> None:
    """Print the summary as tables."""
    accuracy = f"{summary['accuracy']:.2%}"
    console.print(
        f"\n[bold]{summary['samples']:,} {split} samples, accuracy {accuracy} ({summary['errors']} errors)[/]; "
        f"J = ∂ {output} / ∂ pixels",
        highlight=False,
    )
    console.print(_overall(summary))
    console.print(in_words(summary["left_out"]), highlight=False)
    console.print(_by_class(summary))


def _overall(summary: dict[str, Any]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("")
    for heading in ("median", "5 %", "95 %", "max", "right", "wrong", "AUROC"):
        table.add_column(heading, justify="right")
    for name in (*SHOWN, "confidence"):
        numbers = summary["measures"][name]
        cells = [numbers["median"], numbers["percentile_5"], numbers["percentile_95"], numbers["max"]]
        cells += [summary["correct"][name], summary["wrong"][name], summary["auroc_of_errors"].get(name)]
        table.add_row(LABELS[name], *map(_short, cells))
    caption = "right, wrong: means; AUROC: how well it tells wrong from right, 0.5 is chance"
    if infinite := summary["measures"]["boundary_distance"]["infinite"]:
        caption += f"; means leave out {infinite:,} infinite boundary distances"
    table.caption = caption
    table.caption_justify = "left"
    return table


def _by_class(summary: dict[str, Any]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for heading in ("class", "samples", "accuracy", "Frobenius", "spectral", "rank", "distance"):
        table.add_column(heading, justify="left" if heading == "class" else "right")
    for name, group in summary["by_class"].items():
        accuracy = "–" if group["accuracy"] is None else f"{group['accuracy']:.2%}"
        cells = [_short(group[key]) for key in ("frobenius", "spectral", "effective_rank", "boundary_distance")]
        table.add_row(escape(name), f"{group['samples']:,}", accuracy, *cells)
    return table


def _short(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"
