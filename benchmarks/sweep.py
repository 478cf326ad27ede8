"""Two runs side by side against the same two one after another: python -m benchmarks.sweep"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
RUN = ["callbacks=no_jacobian", "logger=none", "trainer=cpu", "trainer.max_epochs=2", "seed=0,1"]


def seconds(folder: Path, data: Path, *launcher: str) -> float:
    """Time a sweep of two runs, from the command to its table."""
    environment = {k: v for k, v in os.environ.items() if k not in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    command = [sys.executable, str(ROOT / "train.py"), "-m", *RUN, f"paths.data_dir={data}", *launcher]
    start = time.perf_counter()
    subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> None:
    """Measure both and print the ratio."""
    from jacoscope.data import MNIST

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        MNIST(folder / "data").prepare()
        after = seconds(folder, folder / "data", "run_name=after", "hydra/launcher=basic")
        beside = seconds(folder, folder / "data", "run_name=beside", "hydra.launcher.n_jobs=2")
    cores, ratio = len(os.sched_getaffinity(0)), after / beside
    print(f"two runs on {cores} cores: one after another {after:.1f} s, side by side {beside:.1f} s, {ratio:.2f}×")


if __name__ == "__main__":
    main()
