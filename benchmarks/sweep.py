"""Two runs side by side against the same two one after another: python -m benchmarks.sweep

One after another they are timed twice: with all cores for each, as ``hydra/launcher=basic`` runs them, and with one
core for each, as much as a run has side by side.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
RUN = ["callbacks=no_jacobian", "logger=none", "trainer=cpu", "trainer.max_epochs=2", "seed=0,1"]


def seconds(folder: Path, data: Path, *launcher: str, **variables: str) -> float:
    """Time a sweep of two runs, from the command to its table."""
    environment = {k: v for k, v in os.environ.items() if k not in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")} | variables
    command = [sys.executable, str(ROOT / "train.py"), "-m", *RUN, f"paths.data_dir={data}", *launcher]
    start = time.perf_counter()
    subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> None:
    """Measure all and print the ratios."""
    from jacoscope.data import MNIST

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        MNIST(folder / "data").prepare()
        after = seconds(folder, folder / "data", "run_name=after", "hydra/launcher=basic")
        one = {"OMP_NUM_THREADS": "1"}
        after_on_one = seconds(folder, folder / "data", "run_name=after_on_one", "hydra/launcher=basic", **one)
        beside = seconds(folder, folder / "data", "run_name=beside", "hydra.launcher.n_jobs=2")
    cores = len(os.sched_getaffinity(0))
    print(f"two runs on {cores} cores side by side: {beside:.1f} s")
    print(f"one after another, {cores} cores each: {after:.1f} s, {after / beside:.2f}×")
    print(f"one after another, one core each: {after_on_one:.1f} s, {after_on_one / beside:.2f}×")


if __name__ == "__main__":
    main()
