"""Write what a sweep made of a paper: ``paper.md``, ``paper.png`` and a table in the terminal."""

import io
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich import box
from rich.console import Console
from rich.table import Table

from jacoscope.comparison.paper import Comparison, Paper
from jacoscope.files import write_whole
from jacoscope.pages import LIGHT

HEADINGS = ("", "metric", "paper", "ours, mean ± deviation", "seeds", "difference")
WIDE = 10  # values that span this factor are drawn on logarithmic axes


def show_paper(paper: Paper, folder: Path, console: Console) -> None:
    """Print a paper's table beside ours, and write it with its figure into the folder of the sweep."""
    write_whole(folder / "paper.md", as_markdown(paper).encode())
    drawn = bool(paper.comparisons or paper.pairs)
    if drawn:
        write_whole(folder / "paper.png", as_picture(paper))
    console.print(f"\n{paper.reported['title']}", style="bold", markup=False)
    if paper.comparisons:
        grid = Table(*HEADINGS, box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
        for comparison in paper.comparisons:
            grid.add_row(*comparison.cells())
        console.print(grid)
    for line in [*paper.verdicts(), *(f"departure: {text}" for text in paper.departures())]:
        console.print(line, markup=False)
    console.print(f"[bold]paper[/bold] {folder / 'paper.md'}{' and paper.png' if drawn else ''}", soft_wrap=True)


def as_markdown(paper: Paper) -> str:
    """Return table, verdicts and departures as Markdown."""
    lines = [f"## {paper.reported['title']}", "", f"`python train.py -m experiment={paper.name}`", ""]
    if paper.comparisons:
        lines += [f"| {' | '.join(HEADINGS)} |", "| --- | --- | ---: | ---: | ---: | ---: |"]
        lines += [f"| {' | '.join(comparison.cells())} |" for comparison in paper.comparisons]
        lines += [""]
    lines += [*paper.verdicts(), "", f"The paper's figures: {paper.reported['figures']}.", "", "Departures:", ""]
    return "\n".join([*lines, *(f"- {text}" for text in paper.departures())]) + "\n"


def as_picture(paper: Paper) -> bytes:
    """Return a PNG: ours against the paper's for each metric, or the two metrics that are correlated."""
    by_metric: dict[str, list[Comparison]] = {}
    for comparison in paper.comparisons:
        if comparison.theirs is not None:
            by_metric.setdefault(comparison.metric.title, []).append(comparison)
    figure = Figure(figsize=(5.2 * max(1, len(by_metric)), 4.6), layout="constrained", dpi=150)
    FigureCanvasAgg(figure)
    for number, (title, found) in enumerate(by_metric.items()):
        _draw_comparisons(figure.add_subplot(1, len(by_metric), number + 1), title, found)
    if not by_metric:
        _draw_pairs(figure.add_subplot(), paper)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _draw_comparisons(axis: Axes, title: str, found: list[Comparison]) -> None:
    theirs, ours = [float(each.theirs or 0) for each in found], [each.mean for each in found]
    low, high = min(*theirs, *ours), max(*theirs, *ours)
    if low > 0 and high > WIDE * low:
        axis.set_xscale("log")
        axis.set_yscale("log")
    axis.axline((low, low), (high, high), color=LIGHT["soft"], linewidth=1)
    axis.errorbar(theirs, ours, [each.deviation or 0.0 for each in found], fmt="o", color=LIGHT["right"], capsize=3)
    for each, x, y in zip(found, theirs, ours, strict=True):
        if len(found) <= WIDE:
            axis.annotate(each.row, (x, y), xytext=(6, -10), textcoords="offset points", fontsize=8)
    axis.set_xlabel("paper")
    axis.set_ylabel("ours, mean ± standard deviation")
    axis.set_title(title, fontsize=10)


def _draw_pairs(axis: Axes, paper: Paper) -> None:
    about = paper.reported["correlation"]
    x, y = zip(*paper.pairs, strict=True)
    axis.scatter(x, y, color=LIGHT["right"], s=18)
    axis.set_xscale("log")
    axis.set_xlabel(about["x"]["title"])
    axis.set_ylabel(about["y"]["title"])
