"""Write what a sweep made of a paper: ``paper.md``, ``paper.png`` and a table in the terminal."""

import io
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich import box
from rich.console import Console
from rich.table import Table

from jacoscope.commands import typed
from jacoscope.comparison.paper import Comparison, Paper
from jacoscope.files import write_whole
from jacoscope.pages import LIGHT

HEADINGS = ("", "metric", "paper", "ours, mean ± deviation", "seeds", "difference")
WIDE = 10  # values that span this factor are drawn on logarithmic axes


def show_paper(paper: Paper, folder: Path, console: Console) -> None:
    """Print a paper's table beside ours, and write it with its figure into the folder of the sweep.

    Files of these names that jacoscope has not written are kept.
    """
    text, picture = folder / "paper.md", folder / "paper.png"
    heading = _heading(paper).encode()
    is_ours = text.is_file() and text.read_bytes().startswith(heading)
    written = is_ours or not (text.exists() or picture.exists())
    drawn = bool(paper.comparisons or paper.pairs)
    if written:
        write_whole(text, as_markdown(paper).encode())
    if written and drawn:
        write_whole(picture, as_picture(paper))
    console.print(f"\n{paper.reported['title']}", style="bold", markup=False)
    if paper.comparisons:
        grid = Table(*HEADINGS, box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
        for comparison in paper.comparisons:
            grid.add_row(*comparison.cells())
        console.print(grid)
    for line in [*paper.verdicts(), *(f"departure: {text}" for text in paper.departures())]:
        console.print(line, markup=False, soft_wrap=True)
    if written:
        console.print(f"[bold]paper[/bold] {text}{' and paper.png' if drawn else ''}", soft_wrap=True)
    else:
        refusal = f"{text} is not written: {folder} holds a paper.md or paper.png that is not of jacoscope. Rename it"
        console.print(refusal, markup=False, soft_wrap=True)


def _heading(paper: Paper) -> str:
    return f"## {paper.reported['title']}"


def as_markdown(paper: Paper) -> str:
    """Return table, verdicts and departures as Markdown."""
    lines = [_heading(paper), "", f"`{typed('train')} -m experiment={paper.name}`", ""]
    if paper.comparisons:
        lines += [f"| {' | '.join(HEADINGS)} |", "| --- | --- | ---: | ---: | ---: | ---: |"]
        lines += [f"| {' | '.join(comparison.cells())} |" for comparison in paper.comparisons]
        lines += [""]
    lines += [*paper.verdicts(), "", f"The paper's figures: {paper.reported['figures']}.", "", "Departures:", ""]
    return "\n".join([*lines, *(f"- {text}" for text in paper.departures())]) + "\n"


def as_picture(paper: Paper) -> bytes:
    """Return a PNG: the paper's figures and ours for each metric, or the two metrics that are correlated."""
    by_metric: dict[str, list[Comparison]] = {}
    for comparison in paper.comparisons:
        by_metric.setdefault(comparison.metric.title, []).append(comparison)
    rows = max(map(len, by_metric.values()), default=8)
    figure = Figure(figsize=(1.4 + 4.2 * max(1, len(by_metric)), 1.4 + 0.36 * rows), layout="constrained", dpi=150)
    FigureCanvasAgg(figure)
    for number, (title, found) in enumerate(by_metric.items()):
        _draw_comparisons(figure.add_subplot(1, len(by_metric), number + 1), title, found, names=number == 0)
    if not by_metric:
        _draw_pairs(figure.add_subplot(), paper)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _draw_comparisons(axis: Axes, title: str, found: list[Comparison], names: bool) -> None:
    places, means = range(len(found)), [each.mean for each in found]
    theirs = [(each.theirs, place) for each, place in zip(found, places, strict=True) if each.theirs is not None]
    x, y = [value for value, _ in theirs], [place for _, place in theirs]
    axis.scatter(x, y, s=60, facecolors="none", edgecolors=LIGHT["wrong"], label="paper")
    deviations = [each.deviation or 0.0 for each in found]
    axis.errorbar(means, places, xerr=deviations, fmt="o", color=LIGHT["right"], capsize=3, markersize=4, label="ours")
    values = [*means, *x]
    if min(values) > 0 and max(values) > WIDE * min(values):
        axis.set_xscale("log")
    axis.set_yticks(places, [each.row for each in found] if names else [])
    axis.invert_yaxis()
    axis.margins(y=0.5 / len(found))
    axis.grid(axis="y", color=LIGHT["line"], linewidth=0.6)
    axis.set_axisbelow(True)
    axis.set_xlabel(_label(title))
    if names:
        axis.legend(loc="best", fontsize=8)


def _draw_pairs(axis: Axes, paper: Paper) -> None:
    about = paper.reported["correlation"]
    x, y = zip(*paper.pairs, strict=True)
    axis.scatter(x, y, color=LIGHT["right"], s=18)
    axis.set_xscale("log")
    axis.set_xlabel(_label(about["x"]["title"]))
    axis.set_ylabel(_label(about["y"]["title"]))


def _label(title: str) -> str:
    return title.replace("‖J‖_F", r"$\Vert J \Vert_F$")
