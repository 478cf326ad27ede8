"""The machine that is measured: what it is, and new processes on it."""

import multiprocessing
import platform
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import ParamSpec, TypeVar

import torch

P = ParamSpec("P")
T = TypeVar("T")


def machine() -> dict[str, str | int]:
    """Return the processor, the vector instructions that PyTorch uses of it, the threads and the version of PyTorch.

    To measure a newer processor as an older one, set two variables when a benchmark is started, one for PyTorch's own
    kernels and one for oneDNN's: ``ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 python -m benchmarks.jacobian``.
    With ``ATEN_CPU_CAPABILITY=default`` PyTorch uses its kernels for any processor. JAX, which is one of the other ways
    there, has a variable of its own: ``XLA_FLAGS=--xla_cpu_max_isa=AVX2``.
    """
    return {
        "processor": _processor(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def print_machine() -> None:
    """Print the machine in one line, the first of every benchmark."""
    print(" · ".join(f"{name} {value}" for name, value in machine().items()), flush=True)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def in_new_process(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Return the result of a function, called in a process of its own.

    The largest amount of memory that a process has taken never goes down again, so each is measured in a new one. It
    is forked from a server that has imported PyTorch and has computed nothing, which saves the time of the import.

    Args:
        function: defined at the top of a module.
        args: that can be pickled.
        kwargs: likewise.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torchvision", "jacoscope.jacobians", "jacoscope.models"])
    with ProcessPoolExecutor(1, context) as pool:
        return pool.submit(function, *args, **kwargs).result()


def peak_memory() -> float:
    """Return the largest amount of memory that this process has taken so far, in MiB."""
    from resource import RUSAGE_SELF, getrusage  # not on Windows

    return getrusage(RUSAGE_SELF).ru_maxrss / 1024
