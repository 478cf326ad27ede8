"""What watching the Jacobian costs, part by part, and as a share of the default training.

    python -m benchmarks.callback [--rounds 3] [--data data] [--tiny]

Parts: a measurement is carried out step by step, by the functions that the callback calls, and each step is timed. The
first time in a process takes longer than later ones: modules are imported and kernels are prepared.

Epochs: LeNet-5 is trained on MNIST, and the callback measures in every second epoch and draws in every fourth, so that
whatever else the machine does falls on all kinds of epochs alike. Lightning's profiler times the callback's hooks in an
epoch; the rest of the epoch is what it takes without the callback. Where the machine does other work, the processor's
time is more reliable than the time that passes.
"""

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from pytorch_lightning import Callback, seed_everything
from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.profilers import Profiler
from rich.console import Console
from rich.table import Table

from benchmarks._command_line import parser
from benchmarks._config import composed
from benchmarks._machine import print_machine
from jacoscope.callbacks import JacobianCallback
from jacoscope.callbacks.jacobian.dashboard import explanation, layout
from jacoscope.callbacks.jacobian.measuring import measure, summarise, summarise_training
from jacoscope.callbacks.jacobian.sampling import ValidationSamples
from jacoscope.callbacks.jacobian.sinks import sinks_of
from jacoscope.data import ImageDataModule
from jacoscope.runs.build import build, build_all, build_network
from jacoscope.runs.config import checked_config
from jacoscope.training import ClassifierModule

GOAL = 0.05
CHECK = "check of two samples, once"
EXPLANATION = "page and layout, once"
NUMBERS = (
    "choice of validation samples",
    "numbers of validation samples",
    "numbers of training samples",
    "means, quantiles, AUROC",
    "logging of numbers",
)
PICTURES = ("histograms", "Jacobians of the probes", "drawing of pictures", "writing of pictures")


class Parts:
    """Times parts of a piece of work, each as often as it is carried out."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = defaultdict(list)

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Time what is inside."""
        start = time.perf_counter()
        yield
        self.seconds[name].append(time.perf_counter() - start)

    def first(self, name: str) -> float:
        """Return the seconds of the first time."""
        return self.seconds[name][0]

    def later(self, name: str) -> float:
        """Return the median of all times but the first."""
        return median(self.seconds[name][1:])


def measure_parts(config: dict[str, Any], data: ImageDataModule, rounds: int, folder: str) -> Parts:
    """Compute measurements as the callback does, step by step.

    Args:
        config: the composed config.
        data: the images.
        rounds: measurements after the first.
        folder: for TensorBoard's files.
    """
    callback: JacobianCallback = build(config, "callbacks.jacobian")
    module = classifier(config)
    sinks = sinks_of([TensorBoardLogger(folder)])
    loader = data.val_dataloader()
    batches = [data.on_after_batch_transfer(batch, 0) for batch in loader]
    of_training = [data.on_after_batch_transfer(data.splits["train"][list(range(128))], 0)[0]] * 4
    parts = Parts()
    for number in range(1 + rounds):
        with parts.timed(CHECK):
            callback.differentiate.check(module, batches[0][0])
        with parts.timed("choice of validation samples"):
            kept = ValidationSamples(callback.max_samples, loader, rank=0, processes=1)
            for x, labels in batches:
                callback.probes.add_from(x, labels, kept.add(x, labels))
            samples = kept.own_share()
            callback.probes.gather()
        with parts.timed("numbers of validation samples"):
            measured = measure(module, samples, callback.differentiate, callback.outputs)
        with parts.timed("numbers of training samples"):
            callback.training.clear()
            for x in of_training:
                callback.training.add(x, processes=1)
            trained_on = measure(module, callback.training.all(), callback.differentiate, callback.outputs)
        with parts.timed("means, quantiles, AUROC"):
            scalars = summarise(measured, data.class_names, callback.max_classes)
            scalars |= summarise_training(trained_on, scalars)
        with parts.timed("histograms"):
            for key, values in measured.values.items():
                for sink in sinks:
                    sink.log_histogram(f"jacobian_distribution/{key}", values[values.isfinite()], number)
        with parts.timed("Jacobians of the probes"):
            portrait = callback.probes.portrait(module, callback.differentiate, callback.outputs)
        with parts.timed("drawing of pictures"):
            pictures = list(callback.album.pictures(number + 1, measured, portrait, data.class_names))
        with parts.timed("writing of pictures"):
            for tag, picture in pictures:
                for sink in sinks:
                    sink.log_picture(tag, picture, number)
        with parts.timed(EXPLANATION):
            for sink in sinks:
                sink.log_text(
                    "jacobian/how_to_read", explanation(callback.max_samples, callback.differentiate.strategy)
                )
                sink.log_layout(layout(callback.outputs, list(scalars)))
        with parts.timed("logging of numbers"):
            for sink in sinks:
                sink.log_scalars(scalars, number)
    return parts


@dataclass
class Stopwatch:
    """The sums of the time that passes and of the processor's time between starts and stops."""

    wall: float = 0.0
    processor: float = 0.0

    def start(self) -> None:
        """Begin to count."""
        self.wall -= time.perf_counter()
        self.processor -= time.process_time()

    def stop(self) -> None:
        """Cease to count."""
        self.wall += time.perf_counter()
        self.processor += time.process_time()


class HookTimer(Profiler):
    """Times the hooks of the JacobianCallback."""

    def __init__(self) -> None:
        super().__init__()
        self.stopwatch = Stopwatch()

    def start(self, action_name: str) -> None:
        """Begin to count, if this is one of the hooks."""
        if action_name.startswith("[Callback]JacobianCallback."):
            self.stopwatch.start()

    def stop(self, action_name: str) -> None:
        """Cease to count."""
        if action_name.startswith("[Callback]JacobianCallback."):
            self.stopwatch.stop()


@dataclass
class Epoch:
    """An epoch, from its first batch to the end of its validation."""

    kind: str
    """``nothing``, ``numbers`` or ``pictures``: what the callback measured or drew."""
    whole: Stopwatch
    hooks: Stopwatch


class EpochTimer(Callback):
    """Times each epoch, and the callback's hooks in it."""

    def __init__(self, watched: JacobianCallback, profiler: HookTimer) -> None:
        self.watched, self.profiler = watched, profiler
        self.epochs: list[Epoch] = []

    def on_train_epoch_start(self, *_: Any) -> None:
        self.whole, self.profiler.stopwatch = Stopwatch(), Stopwatch()
        self.whole.start()

    def on_train_epoch_end(self, *_: Any) -> None:
        self.whole.stop()
        done, progress = len(self.epochs) + 1, self.watched.progress
        kind = "numbers" if progress.measured_epochs == done else "nothing"
        kind = "pictures" if progress.drawn_epochs == done else kind
        self.epochs.append(Epoch(kind, self.whole, self.profiler.stopwatch))


def classifier(config: dict[str, Any]) -> ClassifierModule:
    """Build the module that train.py trains."""
    seed_everything(config["seed"], verbose=False)
    return ClassifierModule(
        build_network(config), build(config, "loss"), build(config, "optimizer"), build(config, "scheduler"), 10
    )


def train(config: dict[str, Any], data: ImageDataModule, rounds: int, batches: int | None) -> list[Epoch]:
    """Train, and return the epochs but for the first, which warms up.

    Args:
        config: the composed config.
        data: the images.
        rounds: of four epochs each: two with nothing, one with numbers, one with pictures.
        batches: of an epoch; none for all.
    """
    watched = build(config, "callbacks.jacobian", every_n_epochs=2, images_every_n_epochs=4)
    profiler = HookTimer()
    timer = EpochTimer(watched, profiler)
    trainer = build(
        config,
        "trainer",
        callbacks=[watched, timer],
        logger=build_all(config, "logger"),
        profiler=profiler,
        max_epochs=4 * rounds,
        limit_train_batches=batches,
        limit_val_batches=batches,
        enable_checkpointing=False,
        enable_progress_bar=False,
    )
    trainer.fit(classifier(config), data)
    return timer.epochs[1:]


def show_parts(console: Console, parts: Parts, epochs: int, drawn: int) -> float:
    """Print what each part costs in a run; return what first times take beyond later ones, in seconds.

    Args:
        console: for the table.
        parts: the times.
        epochs: of the run.
        drawn: of these, with pictures.
    """
    table = Table(
        *("part", "first time, ms", "later, ms", "times", "in a run, s"),
        title=f"parts of a run of {epochs} epochs, {drawn} with pictures",
        title_justify="left",
    )
    counts = {CHECK: 1, **dict.fromkeys(NUMBERS, epochs), **dict.fromkeys(PICTURES, drawn), EXPLANATION: 1}
    extra = whole = 0.0
    for name, count in counts.items():
        first, later = parts.first(name), parts.later(name)
        in_run = first + (count - 1) * later
        extra += first - later
        whole += in_run
        table.add_row(name, f"{1e3 * first:.1f}", f"{1e3 * later:.1f}", str(count), f"{in_run:.2f}")
    table.add_row("together", "", "", "", f"{whole:.2f}")
    console.print(table)
    return extra


def show_epochs(console: Console, epochs: list[Epoch], default_epochs: int, drawn: int, extra: float) -> None:
    """Print the times of epochs, and what they make of a default run.

    Args:
        console: for the table.
        epochs: the epochs.
        default_epochs: of a default run.
        drawn: of these, with pictures.
        extra: seconds that the first measurement takes beyond later ones.
    """
    table = Table("epochs", "s, median", "min – max", "processor s", "in the callback, s", "processor s")
    for kind in ("nothing", "numbers", "pictures"):
        some = [epoch for epoch in epochs if epoch.kind == kind]
        walls = [epoch.whole.wall for epoch in some]
        table.add_row(
            f"with {kind}",
            f"{median(walls):.2f}",
            f"{min(walls):.2f} – {max(walls):.2f}",
            f"{median(epoch.whole.processor for epoch in some):.2f}",
            f"{median(epoch.hooks.wall for epoch in some):.3f}",
            f"{median(epoch.hooks.processor for epoch in some):.3f}",
        )
    console.print(table)
    for what, name in (("wall", "time"), ("processor", "processor's time")):
        plain = median(getattr(epoch.whole, what) - getattr(epoch.hooks, what) for epoch in epochs)
        in_hooks = {
            kind: median(getattr(epoch.hooks, what) for epoch in epochs if epoch.kind == kind)
            for kind in ("numbers", "pictures")
        }
        cost = extra + (default_epochs - drawn) * in_hooks["numbers"] + drawn * in_hooks["pictures"]
        console.print(
            f"a default run, {default_epochs} epochs, {drawn} with pictures: {cost:.2f} s, "
            f"{cost / (default_epochs * plain):.1%} of the {name} without the callback; goal at most {GOAL:.0%}"
        )


def main(words: Sequence[str] | None = None) -> None:
    """Time the parts, then train; print a table of each, and the share of a default run."""
    given = parser(__doc__, rounds=3, data=True).parse_args(words)
    print_machine()
    console = Console(width=100)
    rounds = 1 if given.tiny else given.rounds
    with (
        TemporaryDirectory() as folder,
        composed("train", "trainer=cpu", f"paths.output_dir={folder}", f"paths.data_dir={given.data}") as cfg,
    ):
        config = checked_config(cfg)
        if given.tiny:
            config["callbacks"]["jacobian"] |= {"max_samples": 10, "train_samples": 4, "probe_indices": [0, 1]}
        default_epochs, every = (
            config["trainer"]["max_epochs"],
            config["callbacks"]["jacobian"]["images_every_n_epochs"],
        )
        drawn = len({1, default_epochs, *range(every, default_epochs + 1, every)})
        data = build(config, "data")
        data.prepare_data()
        data.setup()
        extra = show_parts(console, measure_parts(config, data, rounds, folder), default_epochs, drawn)
        epochs = train(config, data, rounds, 2 if given.tiny else None)
        show_epochs(console, epochs, default_epochs, drawn, extra)
    console.print(f"LeNet-5 on MNIST, {4 * rounds} epochs")


if __name__ == "__main__":
    main()
