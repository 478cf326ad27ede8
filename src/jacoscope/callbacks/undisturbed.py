"""Measuring a module in the middle of its training, without leaving a trace."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from pytorch_lightning import LightningModule


@contextmanager
def undisturbed(module: LightningModule) -> Iterator[None]:
    """Evaluation mode and eager execution inside; random numbers and every submodule's mode as before outside."""
    flags = {part: part.training for part in module.modules()}
    devices = [module.device.index or 0] if module.device.type == "cuda" else []
    try:
        for part in flags:
            part.training = False
        with torch.random.fork_rng(devices), _eager(module):
            yield
    finally:
        for part, flag in flags.items():
            part.training = flag


def _eager(module: LightningModule) -> Any:
    """Where something is compiled, run it as it was written: function transforms do not see through compiled code."""
    compiled = getattr(module, "_compiler_ctx", None) is not None  # Lightning's mark on a compiled module
    compiled = compiled or any(hasattr(part, "_orig_mod") for part in module.modules())
    # Not entered in vain: it imports the compiler, which takes seconds.
    return torch.compiler.set_stance("force_eager") if compiled else nullcontext()
