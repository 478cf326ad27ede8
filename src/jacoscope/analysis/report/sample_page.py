"""The page of one sample: its explorer, its pictures, and its numbers for each class."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from jacoscope.analysis.report.explorer import Network, explorer_settings
from jacoscope.analysis.report.numbers import short
from jacoscope.analysis.report.samples import Sample, for_explorer
from jacoscope.measures import SINGULAR, shown_in
from jacoscope.pages import render
from jacoscope.visuals.numbers import number_text
from jacoscope.visuals.sheet import png_uri

Row = Mapping[str, Any]


def sample_page(
    record: Row,
    image: Tensor,
    J: Tensor,
    probabilities: Tensor,
    label: int | None,
    class_names: Sequence[str],
    pictures: Mapping[str, bytes],
) -> bytes:
    """Return the page of one sample.

    Args:
        record: the content of reading.json.
        image: pixels in [0, 1], ``[C, H, W]``.
        J: the Jacobian, ``[classes, C, H, W]``.
        probabilities: ``[classes]``.
        label: the true class, if it is known.
        class_names: one for each class.
        pictures: PNG files by the sentence that stands below them.
    """
    unit = SINGULAR[record["output"]]
    sample = Sample.of(0, record["what"], image, J, probabilities, label)
    numbers = {name: float("inf") if value is None else value for name, value in record["measures"].items()}
    row = {"label": label, "prediction": int(probabilities.argmax()), **numbers}
    entry = for_explorer([sample], [row], [measure.name for measure in shown_in("samples")])
    classes = {
        "columns": [
            {"key": "class", "title": "class", "kind": "text"},
            {"key": "probability", "title": "probability", "kind": "percent"},
            {"key": "logit", "title": "logit", "kind": "number"},
            {"key": "strongest", "title": "strongest pixels (row, column): derivative", "kind": "text"},
        ],
        "values": {
            "class": list(class_names),
            "probability": list(record["probabilities"].values()),
            "logit": list(record["logits"].values()),
            "strongest": [
                "; ".join(f"({e['row']}, {e['column']}): {number_text(e['value'], '+.2g')}" for e in entries[:3])
                for entries in record["strongest_pixels"].values()
            ],
        },
        **{"noun": "classes", "link": "class", "as": "class"},
    }
    return render(
        "analysis/report/sample.html",
        title=record["what"],
        subtitle=f"How every {unit} depends on every pixel",
        charts={},
        data={
            "explorer": explorer_settings([entry], tuple(image.shape), class_names, unit, [Network("")]),
            "rows": classes,
        },
        record=record,
        unit=unit,
        short=lambda value: "–" if value is None else short(value),
        pictures=[(png_uri(content), caption) for caption, content in pictures.items()],
    ).encode()
