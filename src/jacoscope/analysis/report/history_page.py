"""The page of the checkpoints of a run."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import plotly.graph_objects as go

from jacoscope.analysis.report.explorer import BESIDE
from jacoscope.analysis.report.listing import ReadImages
from jacoscope.analysis.report.networks import SamplesOfNetworks
from jacoscope.files import write_whole
from jacoscope.measures import SINGULAR, shown_in
from jacoscope.pages import LIGHT, band, figure, plain, render

Row = Mapping[str, Any]


def write_history(
    path: Path,
    rows: Sequence[Row],
    samples: SamplesOfNetworks,
    *,
    title: str,
    about: str,
    output: str,
    shape: tuple[int, ...],
    gallery: Mapping[str, Any] | None,
    commands: Mapping[str, str],
    read_images: ReadImages,
) -> None:
    """Write the page, and beside it the pictures of its samples.

    Args:
        path: the HTML file.
        rows: of history.parquet.
        samples: at the checkpoints whose maps are shown.
        title: the headline.
        about: what was analysed.
        output: what is differentiated.
        shape: of an image, ``(C, H, W)``.
        gallery: the pictures of each class, if maps were kept.
        commands: that analyse a checkpoint, by its name.
        read_images: reads pixels of samples by their indices.

    Raises:
        UserError: if a file cannot be written.
    """
    measures, unit = shown_in("networks"), SINGULAR[output]
    steps = [row["global_step"] for row in rows]
    drawn = {measure.name: _over_steps(rows, steps, measure.name, measure.label) for measure in measures}
    drawn["accuracy"] = _over_steps(rows, steps, "accuracy", "accuracy")
    first, last = samples.networks[0].suffix, samples.networks[-1].suffix
    right = samples.correct[:, samples.listed()].sum(0).tolist()
    between = (("right", f"right, of {len(samples.networks)}", right),)
    page = render(
        "analysis/report/history.html",
        title=title,
        subtitle=about,
        charts=drawn,
        data={
            "rows": _checkpoints(rows),
            "commands": dict(commands),
            "samples": samples.table(between, (f"prediction{last}", f"frobenius{first}", f"frobenius{last}")),
            "explorer": samples.explorer(shape, unit),
        },
        output=output,
        unit=unit,
        shown=[network.title for network in samples.networks],
        checkpoints=len(rows),
        with_maps=samples.count_kept(),
        gallery_of_classes=gallery,
    )
    write_whole(path, page.encode())
    write_whole(path.parent / BESIDE, samples.beside(read_images))


def _checkpoints(rows: Sequence[Row]) -> dict[str, Any]:
    """Return the table of checkpoints, as ``table.js`` reads it."""
    columns = [
        {"key": "checkpoint", "title": "checkpoint", "kind": "text"},
        {"key": "epoch", "title": "epoch", "kind": "number"},
        {"key": "global_step", "title": "step", "kind": "number"},
        {"key": "accuracy", "title": "accuracy", "kind": "percent"},
        *(
            {"key": f"{m.name}_median", "title": m.heading, "kind": "number", "empty": "∞"}
            for m in shown_in("networks")
        ),
    ]
    values = {str(column["key"]): [row[str(column["key"])] for row in rows] for column in columns}
    return {
        "columns": columns,
        "values": values,
        "noun": "checkpoints",
        "link": "checkpoint",
        "as": "checkpoint",
    }


def _over_steps(rows: Sequence[Row], steps: Sequence[int], name: str, title: str) -> go.Figure:
    """Return a measure over the steps of training: its median with the middle 90 % of the samples, or the accuracy."""
    is_share = name == "accuracy"
    form = ".2%" if is_share else ".3g"
    low, high = ([row.get(f"{name}_percentile_{percent}") for row in rows] for percent in (5, 95))
    around = [] if is_share else band(steps, low, high, LIGHT["right"])
    line = go.Scatter(
        x=steps,
        y=[row[name if is_share else f"{name}_median"] for row in rows],
        customdata=[row["checkpoint"] for row in rows],
        meta={"click": "checkpoint"},
        mode="lines+markers",
        line_color=LIGHT["right"],
        hovertemplate=f"%{{customdata}}, step %{{x}}: %{{y:{form}}}<extra></extra>",
    )
    yaxis = {"title": {"text": plain(title)}, **({"tickformat": ".1%"} if is_share else {})}
    return figure(*around, line, showlegend=False, xaxis={"title": {"text": "step"}}, yaxis=yaxis)
