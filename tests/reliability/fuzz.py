"""All readers of files that others made, to be tested with arbitrary bytes: by hypothesis, and by hand with atheris.

pip install atheris
python -m tests.reliability picture -max_total_time=120
"""

import io
import json
import struct
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
import yaml
from hypothesis import strategies as st
from PIL import Image
from torch.utils.tensorboard import SummaryWriter

from jacoscope.analysis.image import read_picture
from jacoscope.checkpoints import read_checkpoint
from jacoscope.comparison.collect import Run, read_training, runs_below
from jacoscope.data import TorchvisionSource
from jacoscope.errors import UserError
from jacoscope.runs.result import Result
from jacoscope.sweeps.directory import SweepDirectory

from .damage import png_that_lies
from .tiny import idx

RESULT = Result("finished", {"seed": 0, "model": {"a": 1}}, 0, "2026-01-01T00:00:00+00:00", {"val/loss": 0.5})
SWEEP = {"command": ["seed=0,1"], "jobs": [{"number": 0, "overrides": ["seed=0"]}], "started": "", "study": None}
RAW = Path("FashionMNIST/raw")


@dataclass(frozen=True)
class Reader:
    """A function that reads a file.

    Attributes:
        file: the path of the file, in a folder made by ``surround``.
        whole: contents that it can read.
        read: reads it.
        require: raises if what was read cannot have come from that content.
        surround: makes the other files of the folder.
    """

    file: Path
    whole: Callable[[], Sequence[bytes]]
    read: Callable[[Path], Any]
    require: Callable[[bytes, Any], None]
    surround: Callable[[Path], None] = lambda folder: None


def survives(reader: Reader, folder: Path, content: bytes) -> bool:
    """Whether it can read the content. It must return the right value, or refuse in a message that names the place."""
    path = folder / reader.file
    path.write_bytes(content)
    try:
        value = reader.read(folder)
    except UserError as refusal:
        assert str(path.parent) in str(refusal), refusal  # noqa: PT017
        return False
    reader.require(content, value)
    return True


def surrounded(reader: Reader, folder: Path) -> Path:
    """Make a folder with everything that the reader needs."""
    (folder / reader.file).parent.mkdir(parents=True, exist_ok=True)
    reader.surround(folder)
    return folder


# IDX.


def _fashion(folder: Path) -> None:
    for part, count in (("train", 4), ("t10k", 2)):
        (folder / RAW / f"{part}-images-idx3-ubyte").write_bytes(idx(np.zeros((count, 3, 2), np.uint8)))
        (folder / RAW / f"{part}-labels-idx1-ubyte").write_bytes(idx(np.zeros(count, np.uint8)))


def _read_fashion(folder: Path) -> torch.Tensor:
    source = TorchvisionSource("FashionMNIST", folder)
    source.prepare()
    return source.load().train.images


def _are_its_pixels(content: bytes, images: torch.Tensor) -> None:
    sizes = struct.unpack(">4I", content[:16])[1:]
    assert tuple(images.squeeze(1).shape) == sizes
    assert images.numpy().tobytes() == content[16:]


# Pictures.


def _pictures() -> list[bytes]:
    grey = Image.fromarray(np.random.default_rng(0).integers(0, 255, (9, 7), np.uint8))
    kinds = [(grey, "PNG"), (grey, "BMP"), (grey, "GIF"), (grey, "TIFF"), (grey, "PPM"), (grey, "JPEG"), (grey, "WEBP")]
    kinds += [(grey.convert("P"), "PNG"), (grey.convert("RGBA"), "PNG"), (grey.convert("I;16"), "PNG")]
    kinds += [(grey.convert("F"), "TIFF"), (grey.convert("CMYK"), "JPEG")]
    found = []
    for picture, kind in kinds:
        buffer = io.BytesIO()
        picture.save(buffer, kind)
        found.append(buffer.getvalue())
    return [*found, png_that_lies(7, 9), png_that_lies(60_000, 60_000)]


def _are_pixels(content: bytes, pixels: torch.Tensor) -> None:
    assert pixels.shape == (1, 5, 5)
    assert ((pixels >= 0) & (pixels <= 1)).all()


# Records.


def _is_a_result(content: bytes, result: Result) -> None:
    assert result.status in ("running", "finished", "interrupted", "failed")
    assert isinstance(result.config, dict)
    assert isinstance(result.seed, int)
    assert all(isinstance(value, float) for value in result.metrics.values())


def _stays_inside(content: bytes, sweep: SweepDirectory) -> None:
    assert all(sweep.run_path(job).parent == sweep.path for job in sweep.jobs)
    assert all(isinstance(word, str) for job in sweep.jobs for word in job.overrides)


def _two_runs(folder: Path) -> None:
    for name in "ab":
        RESULT.write(folder / name / "result.json")


def _has_two_runs(content: bytes, found: list[Run]) -> None:
    assert [run.name for run in found] == ["a", "b"]
    assert found[0].settings.keys() == found[1].settings.keys()


# Checkpoints and curves.


def _checkpoints() -> list[bytes]:
    found = []
    for zipped in (True, False):
        buffer = io.BytesIO()
        torch.save(
            {"state_dict": {"weight": torch.arange(3.0)}, "epoch": 1}, buffer, _use_new_zipfile_serialization=zipped
        )
        found.append(buffer.getvalue())
    return found


def _is_a_dictionary(content: bytes, checkpoint: Any) -> None:
    assert isinstance(checkpoint, dict)


def _events() -> list[bytes]:
    with TemporaryDirectory() as folder:
        with SummaryWriter(folder) as writer:
            for step in range(3):
                writer.add_scalar("val/loss", 1.0 / (1 + step), step, new_style=True)
        (file,) = Path(folder).iterdir()
        return [file.read_bytes()]


def _are_its_points(content: bytes, curves: dict[str, Any]) -> None:
    steps, values = curves.get("val/loss", ([], []))
    assert len(steps) == len(values)
    assert steps == sorted(set(steps))


READERS = {
    "idx": Reader(
        RAW / "train-images-idx3-ubyte",
        cache(lambda: [idx(np.arange(24, dtype=np.uint8).reshape(4, 3, 2))]),
        _read_fashion,
        _are_its_pixels,
        _fashion,
    ),
    "picture": Reader(
        Path("picture"),
        cache(_pictures),
        lambda folder: read_picture(folder / "picture", (1, 5, 5), invert=False),
        _are_pixels,
    ),
    "result": Reader(
        Path("result.json"),
        cache(lambda: [json.dumps(asdict(RESULT)).encode()]),
        lambda folder: Result.read(folder / "result.json"),
        _is_a_result,
    ),
    "sweep": Reader(
        Path("sweep.json"), cache(lambda: [json.dumps(SWEEP).encode()]), SweepDirectory.read, _stays_inside
    ),
    "overrides": Reader(
        Path("a/.hydra/overrides.yaml"),
        cache(lambda: [yaml.safe_dump(["seed=0", "model=a"]).encode(), b"- &a [x=1]\n- *a\n"]),
        runs_below,
        _has_two_runs,
        _two_runs,
    ),
    "checkpoint": Reader(
        Path("a.ckpt"), cache(_checkpoints), lambda folder: read_checkpoint(folder / "a.ckpt"), _is_a_dictionary
    ),
    "events": Reader(
        Path("tensorboard/events.out.tfevents.0"),
        cache(_events),
        lambda folder: read_training(folder, ["val/loss"]).curves,
        _are_its_points,
    ),
}


@st.composite
def damaged(draw: st.DrawFn, reader: Reader) -> bytes:
    """Draw a readable content with some bytes replaced, lost or added, such as wrong lengths."""
    content = bytearray(draw(st.sampled_from(reader.whole())))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, max(0, len(content) - 1)))
        lengths = [0, 1, 2**15, 2**31 - 1, 2**31, 2**32 - 1]
        lies = [struct.pack(f"{order}I", length) for order in "<>" for length in lengths]
        put = draw(st.one_of(st.binary(max_size=8), st.sampled_from(lies)))
        content[start : start + draw(st.sampled_from([0, 1, len(put), len(content)]))] = put
    return bytes(content)


_plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just(10**400),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@st.composite
def misfits(draw: st.DrawFn, record: dict[str, Any]) -> bytes:
    """Draw a record as JSON in which one value has another type than it should have."""
    key = draw(st.sampled_from([*record, "strange"]))
    return json.dumps({**record, key: draw(_plain)}).encode()


def contents(name: str) -> st.SearchStrategy[bytes]:
    """Return the contents that a reader is tested with."""
    kinds = [st.binary(max_size=200), damaged(READERS[name])]
    if name in ("result", "sweep"):
        kinds.append(misfits(asdict(RESULT) if name == "result" else SWEEP))
    return st.one_of(*kinds)
