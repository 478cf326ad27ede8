"""Sweeps that torchrun was asked to start: one process is enough, since each run starts its own."""

import os
import sys

from jacoscope.errors import UserError
from jacoscope.sweeps.job import DISTRIBUTED

MARK = "TORCHELASTIC_"  # of all that torchrun alone tells its processes


def be_the_only_process() -> None:
    """Where torchrun started several processes with one sweep, let the first carry it out and the others leave.

    The first forgets torchrun: its runs train in as many processes as ``trainer.devices`` says, started by Lightning.

    Raises:
        UserError: if there are processes on other machines, which those runs would not reach.
    """
    if not any(name.startswith(MARK) for name in os.environ):
        return
    if os.environ["LOCAL_WORLD_SIZE"] != os.environ["WORLD_SIZE"]:
        raise UserError(
            "torchrun over several machines starts single runs only. For a sweep over several machines start one "
            "process, with hydra/launcher=slurm or hydra/launcher=ray"
        )
    if os.environ["RANK"] != "0":
        sys.exit()
    for name in list(os.environ):
        if name in DISTRIBUTED or name.startswith(MARK):
            del os.environ[name]
