"""Two runs side by side against the same two one after another.

    python -m benchmarks.sweep [--rounds 3] [--epochs 4] [--tiny]

One after another they are timed in three ways, each in turn: as two commands of their own, as without a sweep; in one
process (``hydra/launcher=basic``) with all cores for each; and likewise with one core for each, as a run has side by
side. All times are of whole commands, from the start of Python to its end. Medians over the rounds. The tiny form omits
two ways, whose commands are like the others.
"""

import os
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from benchmarks._command_line import parser
from benchmarks._machine import print_machine

ROOT = Path(__file__).parents[1]
RUN = ["callbacks=no_jacobian", "logger=none", "trainer=cpu"]
TINY = [f"trainer.limit_{stage}_batches=1" for stage in ("train", "val", "test")]
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


def seconds(folder: Path, commands: list[list[str]], **variables: str) -> float:
    """Time some calls of train.py, one after another.

    Args:
        folder: the current folder of the commands.
        commands: the words behind ``python train.py``.
        variables: of the environment.

    Raises:
        CalledProcessError: if a command ends with an error.
    """
    environment = {k: v for k, v in os.environ.items() if k not in THREADS} | variables
    start = time.perf_counter()
    for words in commands:
        command = [sys.executable, str(ROOT / "train.py"), *words]
        subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main(words: Sequence[str] | None = None) -> None:
    """Measure all ways in turn and print medians and ratios."""
    from jacoscope.data import MNIST

    command_line = parser(__doc__, rounds=3)
    command_line.add_argument("--epochs", type=int, default=4, help="of each run; the fewer, the more start-up counts")
    options = command_line.parse_args(words)
    if options.tiny:
        options.rounds = options.epochs = 1
    print_machine()
    cores = len(os.sched_getaffinity(0))
    times: dict[str, list[float]] = defaultdict(list)
    with TemporaryDirectory() as name:
        folder = Path(name)
        MNIST(folder / "data").prepare()
        run = [*RUN, f"paths.data_dir={folder / 'data'}", f"trainer.max_epochs={options.epochs}"]
        run += TINY if options.tiny else []
        for number in range(options.rounds):
            sweep, basic = ["-m", *run, "seed=0,1"], "hydra/launcher=basic"
            each = f"{cores} cores each"
            ways = {
                "side by side": [[*sweep, "hydra.launcher.n_jobs=2", f"run_name=beside{number}"]],
                f"two commands, one after the other, {each}": [[*run, f"seed={seed}"] for seed in (0, 1)],
                f"one process, one after the other, {each}": [[*sweep, basic, f"run_name=all{number}"]],
                "one process, one after the other, one core each": [[*sweep, basic, f"run_name=one{number}"]],
            }
            if options.tiny:
                ways = {way: commands for way, commands in ways.items() if way == "side by side" or "one core" in way}
            for way, commands in ways.items():
                threads = {"OMP_NUM_THREADS": "1"} if "one core" in way else {}
                times[way].append(seconds(folder, commands, **threads))
    beside = median(times["side by side"])
    print(f"Two runs of {options.epochs} epochs on {cores} cores, medians of {options.rounds} rounds:")
    for way, measured in times.items():
        spread = f"{min(measured):.1f} to {max(measured):.1f}"
        print(f"{way}: {median(measured):.1f} s ({spread}), {median(measured) / beside:.2f}×")


if __name__ == "__main__":
    main()
