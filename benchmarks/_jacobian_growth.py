"""How time and peak memory grow with the batch and with the number of outputs, ours and the best-known peers."""

import subprocess
import sys
from pathlib import Path

import matplotlib as mpl
from matplotlib import pyplot as plt
from rich.console import Console

BATCHES = [1, 4, 16, 64, 256]
OUTPUTS = [2, 5, 10, 25, 50, 100]
WAYS = {
    "jacoscope": "jacobian(model, x)",
    "vmap(jacrev)": "vmap(jacrev(lambda s: model(s[None])[0]))(x)",
    "vmap(jacrev), chunks of 64": "vmap(jacrev(lambda s: model(s[None])[0]), chunk_size=64)(x)",
}
# Each curve is a process of its own, from small to large: the high-water mark of memory never goes down again.
PROGRAM = """
import resource, sys, time, torch
from torch.func import jacrev, vmap
from jacoscope.jacobians import jacobian
from jacoscope.models import LeNet5
torch.set_num_threads(int(sys.argv[1]))
before = None
for point in sys.argv[2:]:
    batch, outputs = map(int, point.split(","))
    model = LeNet5(num_classes=outputs).requires_grad_(False)
    if before is None:
        x = torch.rand(1, 1, 28, 28)
        {way}
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    x = torch.rand(batch, 1, 28, 28)
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        {way}
        seconds.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(sorted(seconds)[2], peak / 1024)
"""


def plot_growth(out: Path, console: Console, threads: int) -> None:
    """Measure, and draw two rows of plots into `out/jacobian_growth.png`."""
    mpl.use("Agg")
    figure, axes = plt.subplots(2, 2, figsize=(10, 7), layout="constrained", sharex="col")
    for column, (points, label) in enumerate(
        [([(b, 10) for b in BATCHES], "batch size (10 outputs)"), ([(64, k) for k in OUTPUTS], "outputs (batch 64)")]
    ):
        for name, way in WAYS.items():
            found = _measure(way, points, threads)
            where = [point[column] for point in points]
            axes[0, column].plot(where, [1e3 * seconds for seconds, _ in found], "o-", label=name)
            axes[1, column].plot(where, [max(peak, 0.1) for _, peak in found], "o-", label=name)
        result = [batch * outputs * 784 * 4 / 2**20 for batch, outputs in points]
        axes[1, column].plot(where, result, "k:", label="the result alone")
        axes[1, column].set_xlabel(label)
        for axis in axes[:, column]:
            axis.set_xscale("log")
            axis.set_yscale("log")
            axis.grid(alpha=0.3)
    axes[0, 0].set_ylabel("time, ms")
    axes[1, 0].set_ylabel("additional peak memory, MiB")
    axes[0, 0].legend()
    axes[1, 0].legend()
    figure.suptitle("Jacobians of LeNet-5, the result included")
    path = out / "jacobian_growth.png"
    figure.savefig(path, dpi=120)
    console.print(f"written: {path}")


def _measure(way: str, points: list[tuple[int, int]], threads: int) -> list[tuple[float, float]]:
    """Seconds and MiB beyond the start, for each batch size and number of outputs."""
    program = PROGRAM.format(way=way)
    arguments = [sys.executable, "-c", program, str(threads), *(f"{batch},{outputs}" for batch, outputs in points)]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True)
    return [(float(seconds), float(peak)) for seconds, peak in map(str.split, done.stdout.splitlines())]
