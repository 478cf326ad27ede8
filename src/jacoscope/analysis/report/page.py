"""Write report.html. Its text is in the template ``report.html``, beside this file."""

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from PIL import Image

from jacoscope.analysis.report import charts
from jacoscope.analysis.report.numbers import Numbers
from jacoscope.analysis.report.robustness import RobustnessSection
from jacoscope.analysis.report.samples import Sample
from jacoscope.files import write_whole
from jacoscope.measures import SINGULAR, shown_in
from jacoscope.pages import render
from jacoscope.visuals import WORDS, Pixels, Scale, diverging, heatmap
from jacoscope.visuals.heatmaps import paint_images

ROWS = 6  # samples of each list that are shown with all their maps
MEAN_MAPS = 20  # classes whose mean maps are shown
LISTS = ("most_sensitive", "confident_errors")


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
    about: Mapping[str, str],
) -> None:
    """Write the report.

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
        samples: those for the explorer, in its order, and the first :data:`ROWS` of each list of :data:`LISTS` in the
            summary.
        about: what was analysed and how, a line for each entry.

    Raises:
        UserError: if the file cannot be written.
    """
    n, unit, samples = Numbers(summary), SINGULAR[summary["output"]], list(samples)
    by_class = {f"by-class-{name}": chart for name, chart in charts.by_class(table, class_names).items()}
    drawn = {
        "norms": charts.norm_histogram(table),
        "confidence": charts.norm_against_confidence(table, class_names),
        "spectrum": charts.spectrum(summary),
        **by_class,
        **({} if adversarial is None else {"distances": charts.distances(adversarial)}),
        **(robustness.charts if robustness else {}),
    }
    page = render(
        "analysis/report/report.html",
        title=f"{network} on {summary['samples']:,} {summary['split']} images",
        subtitle=f"How every {unit} depends on every pixel · {source}",
        charts=drawn,
        data={"explorer": _explorer(samples, table, class_names, unit)},
        n=n,
        unit=unit,
        measures_by_class={name: chart.layout.yaxis.title.text for name, chart in by_class.items()},
        class_columns=shown_in("classes"),
        listed_measures=shown_in("samples"),
        means=None if maps is None else mean_maps(maps, class_names),
        lists={name: _rows(summary[name][:ROWS], samples, class_names) for name in LISTS},
        about=about,
        robustness=robustness,
    )
    write_whole(path, page.encode())


def _explorer(samples: Sequence[Sample], table: pa.Table, class_names: Sequence[str], unit: str) -> dict[str, Any]:
    """Return what the script needs to show the samples of the explorer."""
    chosen = [sample for sample in samples if sample.why]
    measures = {measure.name: measure.label for measure in shown_in("samples")}
    places = np.searchsorted(table.column("index").to_numpy(), [sample.index for sample in chosen])
    rows = table.take(pa.array(places)).to_pylist()
    channels, height, width = chosen[0].image.shape
    return {
        "samples": [sample.for_script(row, list(measures)) for sample, row in zip(chosen, rows, strict=True)],
        "shape": [3 if channels == 3 else 1, height, width],
        "names": list(class_names),
        "output": unit,
        "measures": measures,
        "scale": Scale(diverging(), -1.0, 1.0).table.tolist(),
        "colors": WORDS,
    }


def mean_maps(maps: Mapping[str, "np.ndarray[Any, Any]"], class_names: Sequence[str]) -> dict[str, Any]:
    """Return pictures for each class: the mean image, the mean derivative of its own output, and its mean magnitude.

    Args:
        maps: the content of maps.npz.
        class_names: one for each class.
    """
    present = np.flatnonzero(maps["count"])[:MEAN_MAPS]
    images = torch.from_numpy(maps["image"][present])
    own = torch.from_numpy(maps["own"][present]).sum(1)
    magnitudes = torch.linalg.vector_norm(torch.from_numpy(maps["own_magnitude"][present]), dim=1)
    signed, unsigned = Scale.signed(own), Scale.magnitude(magnitudes)
    drawn = zip(paint_images(images), heatmap(own, signed), heatmap(magnitudes, unsigned), strict=True)
    classes = [
        {"name": class_names[k], "image": picture(image), "own": picture(map_), "magnitude": picture(magnitude)}
        for k, (image, map_, magnitude) in zip(present.tolist(), drawn, strict=True)
    ]
    return {"classes": classes, "limit": signed.high, "top": unsigned.high, "scale": picture(signed.table[None])}


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


def picture(pixels: Pixels) -> dict[str, Any]:
    """Return pixels, ``[height, width, 3]``, as what the template's ``picture`` shows: a PNG inside a URI."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).quantize(256).save(buffer, "PNG", optimize=True)
    height, width, _ = pixels.shape
    uri = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
    return {"uri": uri, "width": width, "height": height}
