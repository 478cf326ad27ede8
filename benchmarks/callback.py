"""What watching the Jacobian costs: epochs of the default training without, with numbers alone, and with pictures.

    python -m benchmarks.callback [--rounds 3]

One training of LeNet-5 on MNIST; its epochs take turns, so that whatever else the machine does falls on all three
alike. An epoch is measured from its first batch to the end of its validation, and the callback's hooks on their own
besides: they are a few hundredths of an epoch, which may be less than two epochs differ by anyway. The processor's
time is to be trusted where the machine does other work. A default run draws pictures after its first and last epoch
and every fifth, so its cost follows from the three kinds.
"""

import argparse
import logging
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from pytorch_lightning import Callback, LightningModule, Trainer, seed_everything
from rich.console import Console
from rich.table import Table

from jacoscope.callbacks import JacobianCallback
from jacoscope.runs.config import build, build_network, checked_config
from jacoscope.training import ClassifierModule

CONFIGS = Path(__file__).parent.parent / "configs"
GOAL = 0.05
KINDS = ("without", "numbers", "pictures")


class Stopwatch:
    """Sums up the time that passes and the processor's time while something runs."""

    def __init__(self) -> None:
        self.wall = self.processor = 0.0
        self.running = False

    def start(self) -> None:
        """Begin to count."""
        self.wall -= time.perf_counter()
        self.processor -= time.process_time()

    def stop(self) -> None:
        """Cease to count."""
        self.wall += time.perf_counter()
        self.processor += time.process_time()

    def timed(self, hook: Callable[..., Any]) -> Callable[..., Any]:
        """Give a hook whose time is counted; once, if it calls another such hook."""

        def measured(*args: Any, **kwargs: Any) -> Any:
            if self.running:
                return hook(*args, **kwargs)
            self.running = True
            self.start()
            try:
                return hook(*args, **kwargs)
            finally:
                self.stop()
                self.running = False

        return measured


class InTurns(Callback):
    """Lets a JacobianCallback work in some epochs only, and times each epoch and what the callback does in it."""

    def __init__(self, watching: JacobianCallback) -> None:
        self.watching = watching
        self.epochs: list[tuple[str, Stopwatch, Stopwatch]] = []
        """Kind of each epoch, the time that it took, and that of the hooks within it."""
        self.hooks = [name for name in vars(JacobianCallback) if name.startswith("on_")]
        self.originals = {name: getattr(watching, name) for name in self.hooks}

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Begin an epoch of the kind whose turn it is."""
        kind = KINDS[(trainer.current_epoch - 1) % len(KINDS)]  # the first warms up, with everything
        whole, within = Stopwatch(), Stopwatch()
        self.epochs.append((kind, whole, within))
        self.watching.images_every_n_epochs = int(kind == "pictures")
        for name in self.hooks:
            setattr(self.watching, name, within.timed(self.originals[name]))
        trainer.callbacks = [self] if kind == "without" else [self.watching, self]  # type: ignore[attr-defined]
        whole.start()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """End the epoch."""
        self.epochs[-1][1].stop()


def train(rounds: int, data_dir: str, folder: str) -> tuple[list[tuple[str, Stopwatch, Stopwatch]], int]:
    """Train in turns; give kind and times of each epoch, and how many epochs a default run has."""
    with initialize_config_dir(str(CONFIGS)):
        config = checked_config(compose("train", [f"paths.output_dir={folder}", f"paths.data_dir={data_dir}"]))
    seed_everything(config["seed"], verbose=False)
    module = ClassifierModule(
        build_network(config), build(config["loss"]), build(config["optimizer"]), build(config["scheduler"]), 10
    )
    turns = InTurns(build(config["callbacks"]["jacobian"]))
    trainer = build(
        {**config["trainer"], "max_epochs": 1 + rounds * len(KINDS)},
        callbacks=[turns.watching, turns],
        logger=[build(node) for node in config["logger"].values()],
        enable_checkpointing=False,
        enable_progress_bar=False,
    )
    trainer.fit(module, build(config["data"]))
    return turns.epochs[1:], config["trainer"]["max_epochs"]


def main() -> None:
    """Train in turns; print the times, and what they make of a default run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="epochs of each kind")
    parser.add_argument("--data", default="data", help="the folder of data sets")
    args = parser.parse_args()

    warnings.filterwarnings("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        epochs, default_epochs = train(args.rounds, args.data, folder)

    console = Console()
    table = Table("epochs", "s, median", "min – max", "processor s", "in the callback, s", "processor s")
    within: dict[str, dict[str, float]] = {}
    plain: dict[str, float] = {}
    for kind in KINDS:
        runs = [(whole, inner) for name, whole, inner in epochs if name == kind]
        walls = [whole.wall for whole, _ in runs]
        within[kind] = {what: median(getattr(inner, what) for _, inner in runs) for what in ("wall", "processor")}
        if kind == "without":
            plain = {what: median(getattr(whole, what) for whole, _ in runs) for what in ("wall", "processor")}
        table.add_row(
            kind,
            f"{median(walls):.2f}",
            f"{min(walls):.2f} – {max(walls):.2f}",
            f"{median(whole.processor for whole, _ in runs):.2f}",
            f"{within[kind]['wall']:.3f}",
            f"{within[kind]['processor']:.3f}",
        )
    console.print(table)
    drawn = len({1, default_epochs} | set(range(5, default_epochs + 1, 5)))
    for what, name in (("wall", "time"), ("processor", "processor's time")):
        cost = (default_epochs - drawn) * within["numbers"][what] + drawn * within["pictures"][what]
        share = cost / (default_epochs * plain[what])
        console.print(
            f"a default run, {default_epochs} epochs, {drawn} with pictures: {100 * share:.1f} % of the {name}, "
            f"goal at most {100 * GOAL:.0f} %"
        )
    console.print(f"LeNet-5 on MNIST, {args.rounds} epochs of each kind, {torch.get_num_threads()} threads")


if __name__ == "__main__":
    main()
