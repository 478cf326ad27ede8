"""How time and peak memory grow with the batch and with the number of outputs, ours and the best-known peers."""

import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import matplotlib as mpl
import torch
from matplotlib import pyplot as plt
from torch import Tensor, nn
from torch.func import jacrev, vmap

from benchmarks._machine import in_new_process, machine, peak_memory
from jacoscope.jacobians import jacobian
from jacoscope.models import LeNet5

Point = tuple[int, int]
"""Samples of a batch, and outputs."""
BATCHES: list[Point] = [(batch, 10) for batch in (1, 4, 16, 64, 256)]
OUTPUTS: list[Point] = [(64, outputs) for outputs in (2, 5, 10, 25, 50, 100)]
TINY: list[Point] = [(1, 2), (2, 3)]


def _vmap_jacrev(model: nn.Module, x: Tensor, chunk_size: int | None = None) -> Tensor:
    return vmap(jacrev(lambda sample: model(sample[None])[0]), chunk_size=chunk_size)(x)  # type: ignore[no-any-return]


WAYS: dict[str, Callable[[nn.Module, Tensor], Tensor]] = {
    "jacoscope": jacobian,
    "vmap(jacrev)": _vmap_jacrev,
    "vmap(jacrev), chunks of 64": lambda model, x: _vmap_jacrev(model, x, 64),
}


def plot_growth(path: Path, tiny: bool = False) -> None:
    """Measure, and draw two rows of plots: time above, peak memory below.

    Args:
        path: of the picture.
        tiny: measure two small points of each curve.
    """
    mpl.use("Agg")
    figure, axes = plt.subplots(2, 2, figsize=(10, 7), layout="constrained", sharex="col")
    curves = [(BATCHES, "batch size (10 outputs)"), (OUTPUTS, "outputs (batch 64)")]
    for column, (points, label) in enumerate(curves):
        points = TINY if tiny else points
        where = [point[column] for point in points]
        for name in WAYS:
            times, peaks = zip(*in_new_process(measure, name, points, torch.get_num_threads()), strict=True)
            axes[0, column].plot(where, [1e3 * seconds for seconds in times], "o-", label=name)
            axes[1, column].plot(where, [max(peak, 0.1) for peak in peaks], "o-", label=name)
        result = [batch * outputs * 784 * 4 / 2**20 for batch, outputs in points]
        axes[1, column].plot(where, result, "k:", label="the result alone")
        axes[1, column].set_xlabel(label)
        for axis in axes[:, column]:
            axis.set_xscale("log")
            axis.set_yscale("log")
            axis.grid(alpha=0.3)
    axes[0, 0].set_ylabel("time, ms")
    axes[1, 0].set_ylabel("additional peak memory, MiB")
    figure.legend(*axes[1, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    figure.suptitle("Jacobians of LeNet-5, the result included · {processor}, {capability}".format_map(machine()))
    figure.savefig(path, dpi=120)
    plt.close(figure)


def measure(name: str, points: list[Point], threads: int) -> list[tuple[float, float]]:
    """Return seconds and MiB beyond the start, for each point; the points go from small to large."""
    torch.set_num_threads(threads)
    way = WAYS[name]
    way(LeNet5(num_classes=points[0][1]).requires_grad_(False), torch.rand(1, 1, 28, 28))
    before, found = peak_memory(), []
    for batch, outputs in points:
        model, x = LeNet5(num_classes=outputs).requires_grad_(False), torch.rand(batch, 1, 28, 28)
        seconds = []
        for _ in range(5):
            start = time.perf_counter()
            way(model, x)
            seconds.append(time.perf_counter() - start)
        found.append((median(seconds), peak_memory() - before))
    return found
