"""What analyze.py prints: progress while it computes, the answer to each question, and where its files are."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from jacoscope.analysis.robustness.figure import curve_label, norm_of, panels
from jacoscope.analysis.robustness.perturbations import NORMS
from jacoscope.analysis.robustness.summary import distances_in_words, verdict
from jacoscope.measures import shown_in


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:,.0f} samples/s" if task.speed else "")


@contextmanager
def progress_bar(console: Console, what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show a bar with rate and time left; yields a function to call with the number of samples that are done."""
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    with bar:
        task = bar.add_task(what, total=total)

        def show(done: int) -> None:
            bar.update(task, completed=done)

        yield show


def show_files(console: Console, files: Sequence[Path]) -> None:
    """Print where the files of an answer are."""
    folder = files[0].parent
    shown = folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder
    names = ", ".join(file.name for file in files)
    console.print(f"saved in    {shown}: {names}", highlight=False, markup=False, soft_wrap=True)


def show_summary(console: Console, summary: dict[str, Any]) -> None:
    """Print summary.json as tables: all samples, then each class."""
    accuracy = f"{summary['accuracy']:.2%}"
    _head(console, summary, f"accuracy {accuracy} ({summary['errors']} errors)")
    overall = text_table("", "median", "5 %", "95 %", "max", "right", "wrong", "AUROC")
    for measure in shown_in("terminal"):
        numbers = summary["measures"][measure.name]
        cells = [numbers["median"], numbers["percentile_5"], numbers["percentile_95"], numbers["max"]]
        cells += [
            group.get(measure.name) for group in (summary["correct"], summary["wrong"], summary["auroc_of_errors"])
        ]
        overall.add_row(measure.label, *map(number, cells))
    overall.caption = "right, wrong: means; AUROC: how well it tells wrong from right, 0.5 is chance"
    if infinite := summary["measures"]["boundary_distance"]["infinite"]:
        overall.caption += f"; means leave out {infinite:,} infinite boundary distances"
    overall.caption_justify = "left"
    classes = text_table("class", "samples", "accuracy", *(measure.heading for measure in shown_in("classes")))
    for name, group in summary["by_class"].items():
        means = [number(group[measure.name]) for measure in shown_in("classes")]
        classes.add_row(escape(name), f"{group['samples']:,}", share(group["accuracy"]), *means)
    console.print(overall)
    console.print(left_out_in_words(summary["left_out"]), highlight=False)
    console.print(classes)


def show_comparison(console: Console, summary: dict[str, Any]) -> None:
    """Print comparison.json."""
    for mark, path in zip("ab", summary["checkpoints"], strict=True):
        console.print(f"{mark}           {path}", highlight=False, markup=False, soft_wrap=True)
    _head(console, summary)
    table = text_table("", "a", "b")
    table.add_row("accuracy", *(share(summary[mark]["accuracy"]) for mark in "ab"))
    for measure in shown_in("networks"):
        medians = [number(summary[mark][f"median_{measure.name}"]) for mark in "ab"]
        table.add_row(f"{measure.label}, median", *medians)
    console.print(table)
    console.print(left_out_in_words(summary["left_out"]), highlight=False)
    console.print(
        f"They agree on {summary['agreement']:.2%} of the samples. Only a is right on {summary['only_a_right']}, "
        f"only b on {summary['only_b_right']}, neither on {summary['both_wrong']}.\n"
        f"b is more sensitive than a on {summary['b_more_sensitive']:.1%} of them; the median ratio of the Frobenius "
        f"norms, b to a, is {summary['median_ratio_of_frobenius']:.3g}.\n"
        f"The cosine between their Jacobians (1: same direction, 0: unrelated) is {summary['median_cosine']:.2f} in "
        f"the median, {summary['cosine_percentile_5']:.2f} to {summary['cosine_percentile_95']:.2f} on the middle "
        "90 %.",
        highlight=False,
        soft_wrap=True,
    )


def show_history(console: Console, rows: Sequence[dict[str, Any]], about: dict[str, Any]) -> None:
    """Print history.parquet.

    Args:
        console: to print on.
        rows: one for each checkpoint.
        about: ``split`` and ``output``.
    """
    left_out = "; samples whose Jacobian is NaN or infinite are left out" if any(r["left_out"] for r in rows) else ""
    samples = rows[0]["samples"] + rows[0]["left_out"]  # the same ones of each checkpoint
    strategies = " and ".join(sorted({row["strategy"] for row in rows}))
    _head(console, {**about, "samples": samples, "strategy": strategies}, more=f"; medians{left_out}")
    measures = shown_in("networks", "classes")
    table = text_table("checkpoint", "epoch", "step", "accuracy", *(measure.heading for measure in measures))
    for row in rows:
        counts = [f"{row[key]:,}" for key in ("epoch", "global_step")]
        medians = [number(row[f"{measure.name}_median"]) for measure in measures]
        table.add_row(row["checkpoint"], *counts, share(row["accuracy"]), *medians)
    console.print(table)


def show_robustness(console: Console, summary: dict[str, Any]) -> None:
    """Print robustness.json: a table for each norm and corruption, distances, signs of masked gradients."""
    clean = summary["accuracy"]
    console.print(
        f"\n[bold]robustness, {summary['samples']:,} {summary['split']} samples[/]; accuracy as they are "
        f"{share(clean['accuracy'])} ({share(clean['low'])} to {share(clean['high'])}, 95 % interval)",
        highlight=False,
        soft_wrap=True,
    )
    for title, names in panels(summary):
        table = text_table(title, *(f"{point['size']:g}" for point in summary["curves"][names[0]]))
        for name in names:
            label = curve_label(name) if len(names) > 1 or name not in title else "accuracy"
            table.add_row(label, *(share(point["accuracy"]) for point in summary["curves"][name]))
        console.print(table)
    console.print(left_out_in_words(summary["left_out"]), highlight=False)
    for text in (distances_in_words(summary), verdict(summary)):
        console.print(text, highlight=False, markup=False, soft_wrap=True)


def show_robustness_of_several(console: Console, summaries: dict[str, dict[str, Any]]) -> None:
    """Print a row for each network, with its accuracy under each noise, attack and corruption of a middle size."""
    first = next(iter(summaries.values()))
    middle = {name: len(points) // 2 for name, points in first["curves"].items()}
    of_norms = {NORMS[key].symbol: [name for name in middle if norm_of(name) == key] for key in NORMS}
    for title, names in {**of_norms, "corruptions": [name for name in middle if norm_of(name) is None]}.items():
        columns = [f"{curve_label(name)} {first['curves'][name][middle[name]]['size']:g}" for name in names]
        table = text_table(title, "as it is", *columns)
        for network, summary in summaries.items():
            points = [summary["accuracy"], *(summary["curves"][name][middle[name]] for name in names)]
            table.add_row(escape(network), *(share(point["accuracy"]) for point in points))
        if names:
            console.print(table)
    if "median_attack_distance" in first:
        table = text_table("median distance, L2", "by DDN", "to first order")
        for network, summary in summaries.items():
            distances = (summary["median_attack_distance"], summary["median_predicted_distance"])
            table.add_row(escape(network), *map(number, distances))
        console.print(table)
    counts = " and ".join(f"{count:,}" for count in sorted({summary["samples"] for summary in summaries.values()}))
    console.print(
        f"{counts} {first['split']} samples, a middle size of each change; robustness.csv has all sizes, and the 95 % "
        "intervals",
        highlight=False,
        soft_wrap=True,
    )


def show_labelled(console: Console, label: str, text: str) -> None:
    """Print a text behind its label; all lines of the text begin below each other."""
    grid = Table.grid()
    grid.add_column(width=12)
    grid.add_column()
    grid.add_row(label, escape(text))
    console.print(grid)


def left_out_in_words(missing: dict[str, Any]) -> str:
    """Describe which samples are not finite; an empty text where all are.

    >>> left_out_in_words({"samples": 12, "first": [4, 20]})
    'Left out: 12 samples whose Jacobian is NaN or infinite (index 4, 20, …)'
    """
    if not missing["samples"]:
        return ""
    more = ", …" if missing["samples"] > len(missing["first"]) else ""
    which = ", ".join(map(str, missing["first"]))
    samples = "1 sample" if missing["samples"] == 1 else f"{missing['samples']:,} samples"
    return f"Left out: {samples} whose Jacobian is NaN or infinite (index {which}{more})"


def number(value: float | None) -> str:
    """Write a number with three digits; a dash for none."""
    return "–" if value is None else f"{value:.3g}"


def share(value: float | None) -> str:
    """Write a share in percent; a dash for none."""
    return "–" if value is None else f"{value:.2%}"


def _head(console: Console, about: dict[str, Any], result: str = "", more: str = "") -> None:
    """Print what the answer is about."""
    samples = f"[bold]{about['samples']:,} {about['split']} samples{f', {result}' if result else ''}[/]"
    strategy = f"; strategy {about['strategy']}"
    console.print(f"\n{samples}; J = ∂ {about['output']} / ∂ pixels{strategy}{more}", highlight=False)


def text_table(*headings: str) -> Table:
    """Return a table whose first column is text and whose others are numbers."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for place, heading in enumerate(headings):
        table.add_column(heading, justify="right" if place else "left")
    return table
