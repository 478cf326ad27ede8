"""Curves of a run that trains while one reads them."""

import threading
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from jacoscope.comparison.collect import read_training


def write(folder: Path, values: list[float], suffix: str) -> Path:
    """Write an event file, and give its path."""
    with SummaryWriter(str(folder), filename_suffix=suffix) as writer:
        for step, value in enumerate(values):
            writer.add_scalar("val/loss", value, step)
    return next(folder.glob(f"*{suffix}"))


def test_files_that_come_and_go_while_they_are_read_take_nothing_of_the_others(tmp_path: Path) -> None:
    folder = tmp_path / "tensorboard"
    write(folder, [3, 2, 1], ".stays")
    fleeting = write(tmp_path / "elsewhere", [3, 2, 1], ".goes")
    content, over = fleeting.read_bytes(), threading.Event()

    def come_and_go() -> None:
        while not over.is_set():
            (folder / fleeting.name).write_bytes(content)
            (folder / fleeting.name).unlink()

    thread = threading.Thread(target=come_and_go)
    thread.start()
    try:
        for _ in range(200):
            assert read_training(tmp_path, ["val/loss"]).curves == {"val/loss": ([0, 1, 2], [3, 2, 1])}
    finally:
        over.set()
        thread.join()
