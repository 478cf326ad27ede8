"""An epoch of the default training against a bare PyTorch loop and against the usual per-image DataLoader.

    python -m benchmarks.training [--rounds 3]

All three train the same LeNet-5 with the same optimizer, batch size and range of random affine distortions, on the
same 55,000 images, in turns, in one process. The bare loop does the same work on tensors in memory without Lightning;
the usual way reads PIL images one by one through torchvision's dataset and transforms, without and with two workers.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torchvision
from hydra import compose, initialize_config_dir
from pytorch_lightning import Callback, seed_everything
from rich.console import Console
from rich.table import Table
from torch import nn
from torch.utils.data import DataLoader, Subset
from torchvision.transforms import v2

from jacoscope.data import ImageDataModule
from jacoscope.data.datamodule import to_pixels
from jacoscope.runs.config import build, build_network, checked_config
from jacoscope.training import ClassifierModule

CONFIGS = Path(__file__).parent.parent / "configs"


class EpochTimer(Callback):
    """Times what is inside Lightning's training epoch."""

    def on_train_epoch_start(self, *_: Any) -> None:
        self.start = time.perf_counter()

    def on_train_epoch_end(self, *_: Any) -> None:
        self.seconds = time.perf_counter() - self.start


def ours(config: dict[str, Any], data: ImageDataModule) -> float:
    """Time an epoch of the default training, with its logger and progress bar but no callback of ours."""
    timer = EpochTimer()
    module = ClassifierModule(
        build_network(config), build(config["loss"]), build(config["optimizer"]), build(config["scheduler"]), 10
    )
    callbacks = [build(config["callbacks"]["progress"]), timer]
    logger = [build(node) for node in config["logger"].values()]
    build(config["trainer"], callbacks=callbacks, logger=logger, enable_checkpointing=False).fit(module, data)
    return timer.seconds


def steps(config: dict[str, Any], batches: Any) -> float:
    """Time a bare loop over batches of pixels and labels, with the metrics that ours has."""
    network = build_network(config).train().to(memory_format=torch.channels_last)
    loss = nn.CrossEntropyLoss()
    optimizer = build(config["optimizer"])(network.parameters())
    start = time.perf_counter()
    correct, total, seen = torch.zeros(()), torch.zeros(()), 0
    for x, y in batches:
        logits = network(x)
        value = loss(logits, y)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        total += value.detach() * len(y)
        correct += (logits.argmax(1) == y).sum()
        seen += len(y)
    assert seen == 55_000
    return time.perf_counter() - start


def bare(config: dict[str, Any], data: ImageDataModule) -> float:
    """Time a bare loop on images in memory."""
    part, augmentation = data.splits["train"], build(config["augmentation"])
    order = torch.randperm(len(part)).split(data.batch_size)
    return steps(config, ((augmentation(to_pixels(part.images[i])), part.labels[i]) for i in order))


def usual(config: dict[str, Any], data: ImageDataModule, workers: int) -> float:
    """Time a bare loop on a DataLoader that opens, distorts and converts image after image."""
    node = config["augmentation"]
    transform = v2.Compose(
        [
            v2.RandomAffine(node["degrees"], [node["translate"]] * 2, node["scale"], node["shear"]),
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
        ]
    )
    dataset = torchvision.datasets.MNIST(config["paths"]["data_dir"], train=True, transform=transform)
    loader = DataLoader(Subset(dataset, range(55_000)), data.batch_size, shuffle=True, num_workers=workers)
    return steps(config, loader)


def main() -> None:
    """Measure all ways in turns and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="how often each is measured, in turns")
    rounds = parser.parse_args().rounds

    with initialize_config_dir(str(CONFIGS)):
        overrides = ["trainer.max_epochs=1", "trainer.limit_val_batches=0", "paths.output_dir=logs/benchmarks/training"]
        config = checked_config(compose("train", overrides))
    data = build(config["data"])
    data.prepare_data()
    data.setup()
    ways: dict[str, Callable[[], float]] = {
        "bare loop, images in memory": partial(bare, config, data),
        "jacoscope (Lightning)": partial(ours, config, data),
        "bare loop, PIL DataLoader": partial(usual, config, data, 0),
        "bare loop, PIL DataLoader, 2 workers": partial(usual, config, data, 2),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    console = Console()
    for number in range(rounds):
        for name, way in ways.items():
            seed_everything(number, verbose=False)
            seconds[name].append(way())
            console.print(f"round {number + 1}  {name}: {seconds[name][-1]:.2f} s")

    table = Table("", "s / epoch, median", "min – max", "ratio to the bare loop")
    base = statistics.median(next(iter(seconds.values())))
    for name, values in seconds.items():
        median = statistics.median(values)
        table.add_row(name, f"{median:.2f}", f"{min(values):.2f} – {max(values):.2f}", f"{median / base:.2f}")
    console.print(table)
    console.print(f"LeNet-5, 55,000 images, batches of {data.batch_size}, {torch.get_num_threads()} threads")


if __name__ == "__main__":
    main()
