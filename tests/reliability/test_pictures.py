"""Pictures of every kind: one meaning for all that reads them, and nothing but pixels."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import pytest
from PIL import EpsImagePlugin, Image
from torch import Tensor

from jacoscope.analysis.image import find_pictures, read_picture
from jacoscope.checkpoints import read_checkpoint
from jacoscope.comparison.collect import Training, read_training
from jacoscope.data import ImageFolder
from jacoscope.data.pictures import FORMATS
from jacoscope.data.torchvision_source import require_idx
from jacoscope.errors import UserError
from jacoscope.runs.result import Result

from .odd_pictures import MEGABYTE, PROGRAMS, REFUSED, SAME, grey, stored
from .test_fuzz import peak_of

Reader = Callable[[Path], Tensor]


def analysed(path: Path) -> Tensor:
    """Read it as ``analyze.py image=`` does."""
    return read_picture(path, (1, 20, 20), invert=False)


def trained_on(path: Path) -> Tensor:
    """Read it as ``data=image_folder`` does."""
    for part in ("train", "test"):
        folder = path.parent / "images" / part / "class"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "a.png").unlink(missing_ok=True)
        (folder / "a.png").symlink_to(path)
    return ImageFolder(path.parent / "images", (1, 20, 20)).load().train.images[0] / 255


READERS = {"analysed": analysed, "trained on": trained_on}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("kind", SAME)
def test_however_it_is_stored_it_is_the_same_picture(kind: str, reader: str, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(SAME[kind]())
    if kind == "TIFF of brightness and colours" and int(PIL.__version__.partition(".")[0]) < 13:
        pytest.skip("before version 13, Pillow does not read the file of this kind that it writes")
    pixels = READERS[reader](tmp_path / "a")
    assert pixels.shape == (1, 20, 20)
    stripes = [float(pixels[0, :, columns].mean()) for columns in (slice(0, 5), slice(8, 12), slice(15, 20))]
    assert stripes == pytest.approx([0, 0.4, 1], abs=0.03)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("kind", PROGRAMS)
def test_no_interpreter_is_started_for_a_picture(
    kind: str, reader: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_bytes(PROGRAMS[kind]())
    started: list[object] = []
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *given, **_: started.append(given))
    monkeypatch.setattr(subprocess, "Popen", lambda *given, **_: started.append(given))
    with pytest.raises(UserError, match="not a picture"):
        READERS[reader](tmp_path / "a")
    assert not started


@pytest.mark.parametrize("kind", REFUSED)
def test_what_says_that_it_is_large_or_nothing_is_refused_and_costs_no_memory(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(stored(grey(), kind.split()[0]))
    analysed(path)  # what is imported on the way is not held against it
    path.write_bytes(REFUSED[kind]())
    with peak_of() as peak, pytest.raises(UserError, match=r"a cannot be read as a picture"):
        analysed(path)
    assert peak() < 64 * MEGABYTE


CUT = [*((kind, {}) for kind in FORMATS), ("JPEG", {"progressive": True}), ("WEBP", {"lossless": True})]


@pytest.mark.parametrize(("kind", "options"), CUT)
def test_cut_short_it_is_the_whole_picture_or_refused(kind: str, options: dict[str, Any], tmp_path: Path) -> None:
    path, noise = tmp_path / "a", np.random.default_rng(0).integers(0, 255, (30, 30), np.uint8)
    whole = stored(Image.fromarray(noise), kind, **options)
    path.write_bytes(whole)
    pixels, refused = analysed(path), 0
    for size in range(0, len(whole), 29):
        path.write_bytes(whole[:size])
        try:
            assert analysed(path).equal(pixels)  # some formats end in bytes that nobody needs
        except UserError:
            refused += 1
    assert refused > 20


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / "pipe")
    return tmp_path / "pipe"


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("path", ["pipe", "/dev/zero"])
def test_what_could_be_read_for_ever_is_not_opened(path: str, reader: str, tmp_path: Path, pipe: Path) -> None:
    with pytest.raises(UserError, match="it is not a file"):
        READERS[reader](tmp_path / path)


READ_BESIDES = {
    "a checkpoint": read_checkpoint,
    "a record": Result.read,
    "IDX": require_idx,
}


@pytest.mark.parametrize("what", READ_BESIDES)
def test_nor_what_says_that_it_is_something_else(what: str, pipe: Path) -> None:
    for path in (pipe, Path("/dev/zero")):
        with pytest.raises(UserError, match="it is not a file"):
            READ_BESIDES[what](path)


def test_nor_curves(tmp_path: Path) -> None:
    (tmp_path / "tensorboard").mkdir()
    os.mkfifo(tmp_path / "tensorboard" / "events.out.tfevents.0")
    assert read_training(tmp_path, ["val/loss"]) == Training({})


def test_what_is_no_file_is_told_from_what_is_not_there(pipe: Path) -> None:
    for path in (pipe, Path("/dev/zero")):
        with pytest.raises(UserError, match="not a file, but a pipe or a device"):
            find_pictures(str(path))
