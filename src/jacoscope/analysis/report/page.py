"""Write report.html, and report_samples.js beside it. Its text is in the template ``report.html``, beside this file."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from jacoscope.analysis.report import charts
from jacoscope.analysis.report.explorer import BESIDE, Network, class_gallery, explorer_settings, picture
from jacoscope.analysis.report.listing import ReadImages, confusion, file_beside, listed_places, samples_table
from jacoscope.analysis.report.numbers import Numbers
from jacoscope.analysis.report.robustness import RobustnessSection
from jacoscope.analysis.report.samples import COARSE_STEPS, STEPS, Sample, for_explorer
from jacoscope.files import write_whole
from jacoscope.measures import SINGULAR, shown_in
from jacoscope.pages import render
from jacoscope.visuals.heatmaps import Scale, heatmap, paint_images

ROWS = 6  # samples of each list that are shown with all their maps
MOST_CLASSES = 20  # classes whose mean maps are shown, and in the table of confusions
FEW_ERRORS = 10  # below this number, an AUROC is not among the headlines


def write_report(
    path: Path,
    *,
    network: str,
    source: str,
    class_names: Sequence[str],
    summary: dict[str, Any],
    table: pa.Table,
    maps: Mapping[str, "np.ndarray[Any, Any]"] | None,
    adversarial: pa.Table | None,
    robustness: RobustnessSection | None,
    samples: Iterable[Sample],
    read_images: ReadImages,
    command: str,
    about: Mapping[str, str],
) -> None:
    """Write the report, and :data:`BESIDE` beside it: pictures of all samples, and derivative maps of some.

    Args:
        path: the HTML file.
        network: the name of the network, for the headline.
        source: the run or the file that it comes from.
        class_names: one for each class.
        summary: the content of summary.json.
        table: the content of samples.parquet, without lists and rows that are not finite.
        maps: the content of maps.npz, if maps were kept.
        adversarial: predicted and found distances, if they were searched.
        robustness: what is shown about robustness, if it was measured.
        samples: those for the explorer, in its order, then all others with maps, among them the first :data:`ROWS` of
            each list of the summary that is shown.
        read_images: reads pixels of samples by their indices.
        command: computes one sample, with its number added.
        about: what was analysed and how, a line for each entry.

    Raises:
        UserError: if the file cannot be written.
    """
    n, unit, samples = Numbers(summary), SINGULAR[summary["output"]], list(samples)
    by_class = {f"by-class-{name}": chart for name, chart in charts.by_class(table, class_names).items()}
    drawn = {
        "norms": charts.norm_histogram(table),
        "confidence": charts.norm_against_confidence(table, class_names, [sample.index for sample in samples]),
        "calibration": charts.calibration(summary),
        "spectrum": charts.spectrum(summary),
        **by_class,
        **({} if adversarial is None else {"distances": charts.distances(adversarial)}),
        **(robustness.charts if robustness else {}),
    }
    measures = [measure.name for measure in shown_in("samples")]
    index, correct = table["index"].to_numpy(), table["correct"].to_numpy().astype(bool)
    rows = table.take(pa.array(listed_places(index, correct, [sample.index for sample in samples if sample.why])))
    places = {index: place for place, index in enumerate(rows["index"].to_pylist())}
    listed = rows.select(["label", "prediction", *measures]).to_pylist()

    def entries(steps: int, explored: bool) -> Iterator[dict[str, Any]]:
        for sample in samples:
            if sample.index in places and bool(sample.why) == explored:
                yield for_explorer([sample], [listed[places[sample.index]]], measures, steps)

    decisions = {name: table[name].to_numpy() for name in ("label", "prediction")}
    sure = [row for row in summary["confident_errors"] if row["confidence"] > summary["calibration"]["sure"]]
    page = render(
        "analysis/report/report.html",
        title=f"{network} on {summary['samples']:,} {summary['split']} images",
        subtitle=f"How every {unit} depends on every pixel · {source}",
        charts=drawn,
        data={
            "explorer": explorer_settings(
                list(entries(STEPS, explored=True)),
                tuple(samples[0].image.shape),
                class_names,
                unit,
                [Network(command)],
            ),
            "samples": samples_table(rows, class_names),
            "classes": _classes_table(summary),
        },
        n=n,
        unit=unit,
        classes=len(class_names),
        most_classes=MOST_CLASSES,
        few_errors=FEW_ERRORS,
        listed=len(rows),
        with_maps=len(samples),
        confusion=confusion(decisions, class_names, MOST_CLASSES),
        measures_by_class={name: chart.layout.yaxis.title.text for name, chart in by_class.items()},
        listed_measures=shown_in("samples"),
        means=None if maps is None else mean_maps(maps, class_names),
        lists={
            "most_sensitive": _rows(summary["most_sensitive"][:ROWS], samples, class_names),
            "confident_errors": _rows(sure[:ROWS], samples, class_names),
        },
        about=about,
        robustness=robustness,
    )
    beside = file_beside(list(places), entries(COARSE_STEPS, explored=False), read_images)
    write_whole(path, page.encode())
    write_whole(path.parent / BESIDE, beside)


def _classes_table(summary: dict[str, Any]) -> dict[str, Any]:
    """Return the means of each class that has samples, as ``table.js`` reads them."""
    groups = {name: group for name, group in summary["by_class"].items() if group["samples"]}
    measures = shown_in("classes")
    columns = [
        {"key": "label", "title": "class", "kind": "text"},
        {"key": "samples", "title": "samples", "kind": "number"},
        {"key": "accuracy", "title": "accuracy", "kind": "percent"},
        *({"key": m.name, "title": m.heading, "kind": "number", "empty": "–"} for m in measures),
    ]
    keys = [str(column["key"]) for column in columns[1:]]
    values = {"label": list(groups), **{key: [group[key] for group in groups.values()] for key in keys}}
    return {"columns": columns, "values": values, "noun": "classes", "link": "label", "as": "label"}


def mean_maps(maps: Mapping[str, "np.ndarray[Any, Any]"], class_names: Sequence[str]) -> dict[str, Any]:
    """Return pictures for each class: the mean image, the mean derivative of its own output, and its mean magnitude.

    Args:
        maps: the content of maps.npz.
        class_names: one for each class.
    """
    present = np.flatnonzero(maps["count"])[:MOST_CLASSES].tolist()
    magnitudes = torch.linalg.vector_norm(torch.from_numpy(maps["own_magnitude"][present]), dim=1)
    unsigned = Scale.magnitude(magnitudes)
    own = {"mean derivative": torch.from_numpy(maps["own"]).sum(1)}
    shown = class_gallery(torch.from_numpy(maps["image"]), own, present, class_names)
    for each, magnitude in zip(shown["classes"], heatmap(magnitudes, unsigned), strict=True):
        each["pictures"].append(picture(magnitude) | {"alt": f"mean magnitude, class {each['name']}"})
    return {**shown, "columns": 3, "top": unsigned.high}


def _rows(
    listed: Sequence[Mapping[str, Any]], samples: Sequence[Sample], class_names: Sequence[str]
) -> list[dict[str, Any]]:
    """Return what is shown of the samples of a list: the image and a map for each class, all on one scale."""
    by_index = {sample.index: sample for sample in samples}
    rows = []
    for entry in listed:
        sample = by_index[entry["index"]]
        scale = Scale.signed(sample.values)
        painted = heatmap(sample.values, scale)
        maps = [
            {"name": class_names[k], "probability": p, "map": picture(pixels), "own": k == entry["label"]}
            for k, p, pixels in zip(sample.classes, sample.probabilities, painted, strict=True)
        ]
        rows.append(
            {
                "index": sample.index,
                "label": class_names[entry["label"]],
                "prediction": class_names[entry["prediction"]],
                "image": picture(paint_images(sample.image.unsqueeze(0))[0]),
                "maps": maps,
                "limit": scale.high,
            }
        )
    return rows
