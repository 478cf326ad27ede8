"""Samples of a split, or pictures of the user's own, read one by one."""

import hashlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from jacoscope.analysis.picture import find_pictures, in_blocks, looks_inverted, read_picture
from jacoscope.analysis.request import Request
from jacoscope.analysis.single import read_single
from jacoscope.analysis.single_files import save_reading
from jacoscope.analysis.single_terminal import show_reading
from jacoscope.analysis.stream import read_samples
from jacoscope.analysis.subject import Subject
from jacoscope.analysis.terminal import show_files
from jacoscope.errors import UserError

Folder = Callable[[str], Path]


def answer_samples(request: Request, subject: Subject, folder: Folder, console: Console) -> None:
    """Read samples of a split.

    Args:
        request: the question.
        subject: the network and its data.
        folder: gives the folder for the results of a name.
        console: to print on.

    Raises:
        UserError: if there is no such sample, then none is read; or one has no finite Jacobian.
    """
    dataset: Any = subject.split(request.split)
    indices = request.indices or []
    for index in indices:
        if not 0 <= index < len(dataset):
            raise UserError(
                f"sample={index} is out of range: the {request.split} split has samples 0 to {len(dataset) - 1}"
            )
    for index in indices:
        pixels, labels = read_samples(dataset, [index])
        title = f"{request.split} sample {index}"
        reading = read_single(subject, title, pixels[0], int(labels[0]), request.named_output)
        name = f"{request.split}_sample_{index}_{request.named_output}"
        files = save_reading(reading, subject.class_names, folder(name))
        show_reading(console, reading, subject.class_names)
        show_files(console, files)


def answer_pictures(request: Request, subject: Subject, folder: Folder, console: Console) -> None:
    """Read pictures of the user's own; the arguments are those of :func:`answer_samples`.

    Raises:
        UserError: if one of them cannot be read; then none is.
    """
    assert request.image is not None
    images = subject.origin.config["images"]
    paths = find_pictures(request.image)
    pictures = [read_picture(path, subject.shape, request.invert) for path in paths]
    for path, name, pixels in zip(paths, _names(paths), pictures, strict=True):
        reading = read_single(subject, path.name, pixels, None, request.named_output)
        inverted = "_inverted" if request.invert else ""
        home = folder(f"image_{name}{inverted}_{request.named_output}")
        files = save_reading(reading, subject.class_names, home)
        console.print(f"\nwhat the network saw of {escape(str(path))} ({pixels.shape[2]}×{pixels.shape[1]}):")
        console.print(in_blocks(pixels), highlight=False)
        if looks_inverted(pixels, sum(images["mean"]) / len(images["mean"])):
            hint = "It looks like dark ink on light paper; the network learnt light on dark: type invert=true"
            console.print(hint, highlight=False, soft_wrap=True)
        show_reading(console, reading, subject.class_names)
        show_files(console, files)


def _names(paths: list[Path]) -> list[str]:
    """Name each picture by its file, with a mark of its whole path where several would have the same name."""
    stems = Counter(path.stem for path in paths)
    return [
        path.stem if stems[path.stem] == 1 else f"{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:6]}"
        for path in paths
    ]
