"""Where a machine has several GPUs, runs side by side do not all compute on the first."""

import os
from functools import cache
from pathlib import Path
from typing import IO

from omegaconf import DictConfig, OmegaConf

from jacoscope.runs.lock import take_lock

_kept: list[IO[str]] = []  # open, and thereby locked, as long as the process lives


def spread_over_gpus(cfg: DictConfig, sweep: Path) -> None:
    """Let this process see one of the GPUs alone, where its run needs no more.

    The n-th process at a sweep gets the n-th GPU, and the first again after the last. ``CUDA_VISIBLE_DEVICES`` says
    which there are, else torch counts them, without starting CUDA. A process keeps its GPU for all its runs: CUDA
    never looks again.

    Args:
        cfg: of the run.
        sweep: the sweep's directory.
    """
    accelerator, devices = (str(OmegaConf.select(cfg, f"trainer.{key}")) for key in ("accelerator", "devices"))
    if accelerator in ("auto", "gpu", "cuda") and devices == "1":
        _see_one(sweep)


@cache
def _see_one(sweep: Path) -> None:
    import torch

    visible = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(torch.cuda.device_count())))).split(",")
    if len(visible) > 1:
        os.environ["CUDA_VISIBLE_DEVICES"] = visible[place(sweep) % len(visible)]


def place(folder: Path) -> int:
    """Take the lowest number that no other living process has taken in ``folder``, for as long as this one lives."""
    number = 0
    while True:
        file = (folder / f".place-{number}").open("a")
        if take_lock(file.fileno()):
            _kept.append(file)
            return number
        file.close()
        number += 1
