"""What watching the Jacobian costs: epochs of the default training with and without JacobianCallback.

    python -m benchmarks.callback [--rounds 2] [--epochs 5]

Both train the same LeNet-5 on the same data with the same logger, in turns, in one process. An epoch is measured from
its first batch to its end, with its validation: the time that passes, and the processor's time, which is to be trusted
where the machine does other work besides. Pictures are drawn after the first and the last epoch and every
fifth, so that short trainings as here have more of them than long ones.
"""

import argparse
import logging
import statistics
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from pytorch_lightning import Callback, seed_everything
from rich.console import Console
from rich.table import Table

from jacoscope.runs.config import build, build_network, checked_config
from jacoscope.training import ClassifierModule

CONFIGS = Path(__file__).parent.parent / "configs"
GOAL = 1.05


class EpochTimer(Callback):
    """Times each epoch from within; the last of the callbacks, so that it sees the work of all."""

    def __init__(self) -> None:
        self.seconds: list[tuple[float, float]] = []

    def on_train_epoch_start(self, *_: Any) -> None:
        self.start = time.perf_counter(), time.process_time()

    def on_train_epoch_end(self, *_: Any) -> None:
        self.seconds.append((time.perf_counter() - self.start[0], time.process_time() - self.start[1]))


def train(config: dict[str, Any], data: Any, watched: bool) -> list[tuple[float, float]]:
    """Train from scratch; give the seconds of each epoch, and the processor's."""
    seed_everything(config["seed"], verbose=False)
    module = ClassifierModule(
        build_network(config), build(config["loss"]), build(config["optimizer"]), build(config["scheduler"]), 10
    )
    timer = EpochTimer()
    callbacks = [build(config["callbacks"]["jacobian"])] if watched else []
    logger = [build(node) for node in config["logger"].values()]
    trainer = build(
        config["trainer"],
        callbacks=[*callbacks, timer],
        logger=logger,
        enable_checkpointing=False,
        enable_progress_bar=False,
    )
    trainer.fit(module, data)
    return timer.seconds


def main() -> None:
    """Train in turns; print the times and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2, help="how often each is trained, in turns")
    parser.add_argument("--epochs", type=int, default=5, help="epochs of each training")
    parser.add_argument("--data", default="data", help="the folder of data sets")
    args = parser.parse_args()

    warnings.filterwarnings("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    epochs: dict[bool, list[tuple[float, float]]] = {False: [], True: []}
    console = Console()
    with tempfile.TemporaryDirectory() as folder:
        overrides = [f"trainer.max_epochs={args.epochs}", f"paths.output_dir={folder}", f"paths.data_dir={args.data}"]
        with initialize_config_dir(str(CONFIGS)):
            config = checked_config(compose("train", overrides))
        data = build(config["data"])
        data.prepare_data()
        data.setup()
        for number in range(args.rounds):
            for watched in (False, True):
                seconds = train(config, data, watched)
                epochs[watched] += seconds
                name = "with" if watched else "without"
                console.print(
                    f"round {number + 1}, {name}: {', '.join(f'{wall:.2f} ({cpu:.2f})' for wall, cpu in seconds)} s"
                )

    table = Table("", "s / epoch, mean", "median", "min – max", "processor, mean")
    for watched, values in epochs.items():
        wall, cpu = zip(*values, strict=True)
        name = "with JacobianCallback" if watched else "without"
        spread = f"{min(wall):.2f} – {max(wall):.2f}"
        mean, median = f"{statistics.mean(wall):.2f}", f"{statistics.median(wall):.2f}"
        table.add_row(name, mean, median, spread, f"{statistics.mean(cpu):.2f}")
    console.print(table)
    wall_ratio, cpu_ratio = (sum(v[k] for v in epochs[True]) / sum(v[k] for v in epochs[False]) for k in (0, 1))
    console.print(f"ratio of all epochs: time {wall_ratio:.3f}, processor {cpu_ratio:.3f}; goal at most {GOAL}")
    console.print(f"LeNet-5 on MNIST, {args.epochs} epochs each time, {torch.get_num_threads()} threads")


if __name__ == "__main__":
    main()
