"""Damaged and forged files, for the commands of :mod:`test_bad_input`."""

import json
import os
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from .tiny import idx, write


class Evil:
    """An object that runs a command when it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch evil_was_run",)


def png_of(width: int, height: int, pixels: bytes, *more: tuple[bytes, bytes]) -> bytes:
    """Return a PNG of 8-bit greys, packed, with more chunks, each a name and a content."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), *more, (b"IDAT", pixels), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*one) for one in chunks)


def png_that_lies(width: int, height: int) -> bytes:
    """A PNG of a few bytes that says it has so many pixels."""
    return png_of(width, height, zlib.compress(b"\0"))


def prepare(folder: Path) -> None:
    """Write, into a folder with a finished run ``done``, everything that the table of bad inputs names."""
    raw = Path("data") / "FashionMNIST" / "raw"
    images, labels = raw / "train-images-idx3-ubyte", raw / "train-labels-idx1-ubyte"
    for name in ("short", "no_idx", "too_many", "few_labels", "high_labels", "no_images", "one", "cut_to_nothing"):
        write(folder / name)
    _change(folder / "short" / images, lambda content: content[:5000])
    _change(folder / "no_idx" / images, lambda content: b"PK\x03\x04" + content[4:])
    _change(
        folder / "too_many" / images, lambda content: struct.pack(">4I", 0x803, 4_000_000_000, 28, 28) + content[16:]
    )
    _change(folder / "few_labels" / labels, lambda content: idx(np.zeros(7, np.uint8)))
    _change(folder / "high_labels" / labels, lambda content: content[:-1] + b"\xc8")
    _change(folder / "no_images" / images, lambda content: idx(np.zeros((0, 28, 28), np.uint8)))
    _change(folder / "no_images" / labels, lambda content: idx(np.zeros(0, np.uint8)))
    _change(folder / "one" / images, lambda content: idx(np.zeros((1, 28, 28), np.uint8)))
    _change(folder / "one" / labels, lambda content: idx(np.zeros(1, np.uint8)))
    _change(folder / "cut_to_nothing" / images, lambda content: b"")

    whole = folder / "pictures"
    for part in ("train", "test"):
        for name in ("cat", "dog"):
            (whole / part / name).mkdir(parents=True)
            for number in range(4):
                Image.new("L", (8, 8), 60 * number).save(whole / part / name / f"{number}.png")
    spoilt = {
        "no_picture": b"not a picture",
        "half_picture": (whole / "train" / "cat" / "3.png").read_bytes()[:45],
        "bomb": png_that_lies(60_000, 60_000),
        "no_pixels": png_that_lies(0, 0),
    }
    for name, content in spoilt.items():
        shutil.copytree(whole, folder / name)
        (folder / name / "train" / "cat" / "spoilt.png").write_bytes(content)
        (folder / f"{name}.png").write_bytes(content)
    shutil.copytree(whole, folder / "loop")
    (folder / "loop" / "train" / "cat" / "again").symlink_to(folder / "loop" / "train", target_is_directory=True)
    shutil.copytree(whole, folder / "empty_class")
    (folder / "empty_class" / "train" / "eel").mkdir()
    shutil.copytree(whole, folder / "other_classes")
    (folder / "other_classes" / "test" / "dog").rename(folder / "other_classes" / "test" / "cow")

    runs = folder / "logs" / "train" / "runs"
    names = ("torn", "evil", "cut", "no_record", "half_record", "wrong_record", "no_record_at_all", "unknown_settings")
    for name in (*names, "unreadable_settings", "link_in_a_circle", "folder_as_checkpoint"):
        shutil.copytree(runs / "done", runs / name)
    for name in ("torn", "evil", "no_record_at_all", "unknown_settings", "unreadable_settings"):
        (runs / name / "result.json").unlink()
    shutil.rmtree(runs / "unknown_settings" / ".hydra")
    (runs / "unreadable_settings" / ".hydra" / "config.yaml").write_text("a: ${b")
    for name in ("best", "last"):
        for run in ("link_in_a_circle", "folder_as_checkpoint"):
            _change(runs / run / "result.json", lambda content: content.replace(b"finished", b"interrupted"))
            (runs / run / "checkpoints" / f"{name}.ckpt").unlink()
        (runs / "link_in_a_circle" / "checkpoints" / f"{name}.ckpt").symlink_to(f"{name}.ckpt")
        (runs / "folder_as_checkpoint" / "checkpoints" / f"{name}.ckpt").mkdir()
    for name in ("last", "previous"):
        _change(runs / "torn" / "checkpoints" / f"{name}.ckpt", lambda content: content[: len(content) // 2])
        torch.save({"state_dict": Evil()}, runs / "evil" / "checkpoints" / f"{name}.ckpt")
    _change(runs / "cut" / "checkpoints" / "last.ckpt", lambda content: content[: len(content) // 2])
    (runs / "no_record" / "result.json").write_text("")
    _change(runs / "half_record" / "result.json", lambda content: content[: len(content) // 2])
    (runs / "wrong_record" / "result.json").write_text(json.dumps({"status": "finished", "metrics": []}))
    torch.save({"state_dict": Evil()}, folder / "evil.ckpt")
    (folder / "empty.ckpt").write_bytes(b"")

    (folder / "good.png").write_bytes((whole / "train" / "cat" / "1.png").read_bytes())
    for name, file in (("mine", "reading.json"), ("mine", "summary.json"), ("theirs", "analysis.json")):
        (folder / name).mkdir(exist_ok=True)
        (folder / name / file).write_text("{}")
    (folder / "circle").symlink_to("circle")
    (folder / "linked").mkdir()
    (folder / "linked" / "heatmap.png").symlink_to(folder / "not_there.png")
    (folder / "parts" / "parts_of_mine").mkdir(parents=True)

    configs = folder / "more" / "experiment"
    configs.mkdir(parents=True)
    (configs / "not_yaml.yaml").write_text("# @package _global_\nseed: [1\n")
    (configs / "binary.yaml").write_bytes(bytes(range(256)))
    (configs / "list.yaml").write_text("# @package _global_\n- seed: 1\n")
    (configs / "headless.yaml").write_text("seed: 1\n")
    (configs / "misspelt.yaml").write_text("# @package _global_\noptimiser: {lr: 1}\n")
    (configs / "no_image_key.yaml").write_text("# @package _global_\nimages: {clases: 9}\n")
    (configs / "no_path.yaml").write_text("# @package _global_\npaths: {log_dirr: elsewhere}\n")
    (configs / "no_callback.yaml").write_text("# @package _global_\ncallbacks: {checkpont: {monitor: null}}\n")
    (configs / "cycle.yaml").write_text("# @package _global_\nseed: ${run_name}\nrun_name: ${seed}\n")


def _change(path: Path, change: Callable[[bytes], bytes]) -> None:
    path.write_bytes(change(path.read_bytes()))
