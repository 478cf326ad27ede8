"""All samples of a split for the page's script: the table of numbers, and the file of pictures beside the page."""

import io
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from jacoscope.measures import shown_in
from jacoscope.pages import as_json
from jacoscope.visuals.heatmaps import paint_images, shrink
from jacoscope.visuals.sheet import png_uri

LISTED = 20_000
"""Samples in the table, at most: all wrong decisions as far as they fit, then an even spread of the right ones."""
PICTURE_BYTES = 8_000_000
"""Of the pictures of all listed samples, before they are compressed."""
BATCH = 500
TABLE_OF_SAMPLES = {"noun": "samples", "link": "index", "as": "sample", "height": "26rem"}
"""Settings of ``table.js``."""

ReadImages = Callable[[list[int]], Tensor]
"""Returns the pixels of samples by their indices, ``[batch, C, H, W]`` in [0, 1]."""


def listed_places(index: NDArray[Any], correct: NDArray[Any], explored: Collection[int]) -> NDArray[Any]:
    """Return the places of the samples that a page lists, ascending.

    Args:
        index: of all samples, ``[samples]``.
        correct: which of the decisions are right, ``[samples]``.
        explored: indices of samples that are listed in any case.
    """
    if len(index) <= LISTED:
        return np.arange(len(index))
    always = np.flatnonzero(np.isin(index, list(explored)))
    wrong = np.flatnonzero(~correct)[:LISTED]
    return np.unique(np.concatenate([always, wrong, spread(np.flatnonzero(correct), LISTED - len(wrong))]))


def spread(places: NDArray[Any], most: int) -> NDArray[Any]:
    """Return at most ``most`` of some places, evenly spread.

    >>> spread(np.arange(10), 4).tolist()
    [0, 3, 6, 9]
    """
    room = min(len(places), most)
    return places[np.linspace(0, len(places) - 1, room).round().astype(int)] if room else places[:0]


def samples_table(rows: pa.Table, class_names: Sequence[str]) -> dict[str, Any]:
    """Return the columns and values of the table of samples, as ``table.js`` reads them.

    Args:
        rows: those of samples.parquet that are listed, without lists.
        class_names: one for each class.
    """
    measures = [measure for measure in shown_in("samples") if measure.name != "confidence"]
    columns = [
        {"key": "picture", "title": "", "kind": "picture"},
        {"key": "index", "title": "sample", "kind": "number"},
        {"key": "label", "title": "class", "kind": "text"},
        {"key": "prediction", "title": "predicted", "kind": "text"},
        {"key": "decision", "title": "decision", "kind": "text"},
        {"key": "confidence", "title": "confidence", "kind": "percent"},
        *({"key": m.name, "title": m.heading, "kind": "number", "empty": "∞"} for m in measures),
    ]
    values: dict[str, list[Any]] = {
        "index": rows["index"].to_pylist(),
        "label": [class_names[k] for k in rows["label"].to_pylist()],
        "prediction": [class_names[k] for k in rows["prediction"].to_pylist()],
        "decision": ["right" if right else "wrong" for right in rows["correct"].to_pylist()],
    }
    for name in ("confidence", *(measure.name for measure in measures)):
        values[name] = [float(f"{value:.5g}") for value in rows[name].to_pylist()]  # infinite ones are null in the page
    return {"columns": columns, "values": values, **TABLE_OF_SAMPLES}


def file_beside(indices: list[int], entries: Iterable[Mapping[str, Any]], read_images: ReadImages) -> bytes:
    """Return the script beside the page, with pictures of all listed samples and the maps of some.

    Args:
        indices: of the samples that are listed.
        entries: samples with maps that are not in the page itself, as :func:`for_explorer` returns them.
        read_images: reads the pictures.
    """
    content = {"samples": list(entries), "pictures": _pictures(indices, read_images)}
    return f"addSamples({as_json(content)});\n".encode()


def _pictures(indices: list[int], read_images: ReadImages) -> dict[str, Any]:
    """Return small pictures of samples, side by side in one PNG."""
    parts = [_small(read_images(indices[i : i + BATCH]), len(indices)) for i in range(0, len(indices), BATCH)]
    painted = np.concatenate([paint_images(part) for part in parts])
    count, height, width, _ = painted.shape
    columns = int(np.ceil(np.sqrt(count)))
    padded = np.zeros((-(-count // columns) * columns, height, width, 3), np.uint8)
    padded[:count] = painted
    sheet = padded.reshape(-1, columns, height, width, 3).swapaxes(1, 2).reshape(-1, columns * width, 3)
    is_grey = bool((sheet[..., :1] == sheet).all())
    buffer = io.BytesIO()
    Image.fromarray(sheet[..., 0] if is_grey else sheet).save(buffer, "PNG")
    uri = png_uri(buffer.getvalue())
    return {"uri": uri, "index": indices, "size": [height, width], "columns": columns}


def _small(images: Tensor, count: int) -> Tensor:
    """Shrink images so far that ``count`` of them fit :data:`PICTURE_BYTES`."""
    channels = 3 if images.shape[1] == 3 else 1
    return shrink(images, max(8, int((PICTURE_BYTES / (count * channels)) ** 0.5)))


def confusion(rows: Mapping[str, NDArray[Any]], class_names: Sequence[str], most: int) -> dict[str, Any]:
    """Return how often each class is taken for which, and the most frequent mistakes.

    Args:
        rows: ``label`` and ``prediction`` of all samples.
        class_names: one for each class.
        most: classes that are shown; of more, those with the most mistakes.

    >>> rows = {"label": np.array([0, 0, 1]), "prediction": np.array([0, 1, 1])}
    >>> confusion(rows, "ab", 20)["counts"], confusion(rows, "ab", 20)["mistakes"]
    ([[1, 1], [0, 1]], [{'label': 'a', 'prediction': 'b', 'count': 1}])
    """
    classes = len(class_names)
    pairs, counts = np.unique(rows["label"] * classes + rows["prediction"], return_counts=True)
    labels, predictions = pairs // classes, pairs % classes
    wrong = labels != predictions
    mistakes = np.bincount(labels[wrong], counts[wrong], classes) + np.bincount(
        predictions[wrong], counts[wrong], classes
    )
    shown = np.sort(np.argsort(-mistakes, kind="stable")[:most])
    position = {int(k): place for place, k in enumerate(shown)}
    matrix = np.zeros((len(shown), len(shown)), int)
    for label, prediction, count in zip(labels.tolist(), predictions.tolist(), counts.tolist(), strict=True):
        if label in position and prediction in position:
            matrix[position[label], position[prediction]] = count
    order = np.flatnonzero(wrong)[np.argsort(-counts[wrong], kind="stable")[:8]]
    return {
        "names": [class_names[k] for k in shown.tolist()],
        "counts": matrix.tolist(),
        "most": int((matrix - np.diag(np.diag(matrix))).max(initial=0)),
        "mistakes": [
            {"label": class_names[labels[i]], "prediction": class_names[predictions[i]], "count": int(counts[i])}
            for i in order.tolist()
        ],
    }
