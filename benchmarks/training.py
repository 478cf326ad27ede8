"""An epoch of the default training, and a training step with the Jacobian's norm in its loss, each beside other ways.

    python -m benchmarks.training [--rounds 3] [--data data] [--tiny]

Epochs: all ways train the same LeNet-5 with the same optimizer, batch size and range of random affine distortions, on
the same 55,000 images. The bare loop does the same work on tensors in memory without Lightning; the usual way reads PIL
images one by one through torchvision's dataset and transforms, without and with two workers.

Steps: of LeNet-5 on batches of 100 images, with cross-entropy alone, and with ‖J‖_F² of all ten logits added to it,
estimated by one random projection or exact. All ways share the forward pass of the logits with the loss, and those to
the same penalty are checked against each other.

In both tables the ways take turns in one process.
"""

import argparse
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import torch
import torchvision
from pytorch_lightning import Callback, seed_everything
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset
from torchvision.transforms import v2

from benchmarks._command_line import parser
from benchmarks._config import composed
from benchmarks._machine import print_machine
from jacoscope.data import ImageDataModule
from jacoscope.data.datamodule import to_pixels
from jacoscope.jacobians import jacobian
from jacoscope.penalties import ForwardPass, JacobianPenalty
from jacoscope.runs.build import build, build_all, build_network
from jacoscope.runs.config import checked_config
from jacoscope.training import ClassifierModule

BATCH = 100  # of the steps
GOALS = "1.8 for one projection, 12 for the exact norm"
WEIGHT = 0.01  # of the penalty

Objective = Callable[[nn.Module, Tensor, Tensor], Tensor]
"""From a network, images and classes to what is minimised."""


class EpochTimer(Callback):
    """Times what is inside Lightning's training epoch."""

    def on_train_epoch_start(self, *_: Any) -> None:
        self.start = time.perf_counter()

    def on_train_epoch_end(self, *_: Any) -> None:
        self.seconds = time.perf_counter() - self.start


def lightning_epoch(config: dict[str, Any], data: ImageDataModule, batches: int | None) -> float:
    """Time an epoch of the default training, with its logger and progress bar but no callback of ours."""
    timer = EpochTimer()
    module = ClassifierModule(
        build_network(config), build(config, "loss"), build(config, "optimizer"), build(config, "scheduler"), 10
    )
    trainer = build(
        config,
        "trainer",
        callbacks=[build(config, "callbacks.progress"), timer],
        logger=build_all(config, "logger"),
        enable_checkpointing=False,
        max_epochs=1,
        limit_train_batches=batches,
        limit_val_batches=0,
    )
    trainer.fit(module, data)
    return timer.seconds


def bare_epoch(config: dict[str, Any], batches: Iterable[tuple[Tensor, Tensor]]) -> float:
    """Time a bare loop over batches of pixels and labels, with the metrics that ours has."""
    network = build_network(config).train().to(memory_format=torch.channels_last)
    loss = nn.CrossEntropyLoss()
    optimizer = build(config, "optimizer")(network.parameters())
    start = time.perf_counter()
    correct, total = torch.zeros(()), torch.zeros(())
    for x, y in batches:
        logits = network(x)
        value = loss(logits, y)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        total += value.detach() * len(y)
        correct += (logits.argmax(1) == y).sum()
    return time.perf_counter() - start


def epoch_in_memory(config: dict[str, Any], data: ImageDataModule, batches: int | None) -> float:
    """Time a bare loop on images in memory."""
    part, augmentation = data.splits["train"], build(config, "augmentation")
    order = torch.randperm(len(part)).split(data.batch_size)[:batches]
    return bare_epoch(config, ((augmentation(to_pixels(part.images[i])), part.labels[i]) for i in order))


def epoch_of_pictures(config: dict[str, Any], data: ImageDataModule, batches: int | None, workers: int) -> float:
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
    images = range(len(data.splits["train"]) if batches is None else batches * data.batch_size)
    return bare_epoch(config, DataLoader(Subset(dataset, images), data.batch_size, shuffle=True, num_workers=workers))


def plain(network: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Compute the loss alone."""
    return nn.functional.cross_entropy(network(x), y)


def by_jacoscope(network: nn.Module, x: Tensor, y: Tensor, projections: int | None) -> Tensor:
    """Compute loss and penalty with a forward pass that they share."""
    penalty = JacobianPenalty(WEIGHT, projections)
    at = ForwardPass.of(network, x)
    return nn.functional.cross_entropy(at.logits, y) + WEIGHT * penalty.at(at, generator=seeded())


def by_jacobian(network: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Compute the whole Jacobian by the public function."""
    J, logits = jacobian(network, x, create_graph=True, return_outputs=True)
    return with_penalty(logits, y, J.square().sum())


def by_projection(network: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Compute one random projection, written plainly."""
    leaf = x.detach().requires_grad_()
    logits = network(leaf)
    v = nn.functional.normalize(torch.randn(logits.shape, generator=seeded()), dim=1)
    (gradient,) = torch.autograd.grad(logits, leaf, v, create_graph=True)
    return with_penalty(logits, y, logits.shape[1] * gradient.square().sum())


def by_torch_func(network: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Compute the whole Jacobian as PyTorch's tutorial says."""

    def of_one(sample: Tensor) -> tuple[Tensor, Tensor]:
        logits = network(sample.unsqueeze(0)).squeeze(0)
        return logits, logits

    J, logits = torch.func.vmap(torch.func.jacrev(of_one, has_aux=True))(x)
    return with_penalty(logits, y, J.square().sum())


def by_backward_passes(network: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Compute the whole Jacobian by one backward pass for each logit."""
    leaf = x.detach().requires_grad_()
    logits = network(leaf)
    rows = [torch.autograd.grad(logits[:, k].sum(), leaf, create_graph=True)[0] for k in range(logits.shape[1])]
    return with_penalty(logits, y, torch.stack(rows).square().sum())


def with_penalty(logits: Tensor, y: Tensor, squares: Tensor) -> Tensor:
    """Return the loss with the penalty of a batch whose ‖J‖_F² sum to ``squares``."""
    return nn.functional.cross_entropy(logits, y) + WEIGHT * squares / (2 * len(y))


def seeded() -> torch.Generator:
    """Return a generator, the same at every call, so that all ways have the same random directions."""
    return torch.Generator().manual_seed(0)


STEPS: dict[str, Objective] = {
    "plain step": plain,
    "one projection, jacoscope": partial(by_jacoscope, projections=1),
    "one projection, autograd.grad": by_projection,
    "exact, jacoscope": partial(by_jacoscope, projections=None),
    "exact, jacobian(create_graph=True)": by_jacobian,
    "exact, vmap(jacrev)": by_torch_func,
    "exact, autograd.grad, output by output": by_backward_passes,
}


class Steps:
    """Training steps of a network of its own.

    Args:
        config: names network and optimizer.
        objective: what is minimised.
    """

    def __init__(self, config: dict[str, Any], objective: Objective) -> None:
        torch.manual_seed(0)
        self.network = build_network(config).train().to(memory_format=torch.channels_last)
        self.optimizer = build(config, "optimizer")(self.network.parameters())
        self.objective = objective

    def backward(self, x: Tensor, y: Tensor) -> None:
        """Compute the gradients."""
        self.optimizer.zero_grad()
        self.objective(self.network, x, y).backward()

    def seconds(self, x: Tensor, y: Tensor, count: int) -> float:
        """Time a step, the mean of so many."""
        start = time.perf_counter()
        for _ in range(count):
            self.backward(x, y)
            self.optimizer.step()
        return (time.perf_counter() - start) / count


def check_gradients(ways: dict[str, Steps], x: Tensor, y: Tensor) -> None:
    """Compare the gradients of all ways to the same penalty, which have the same weights; this warms up too.

    Raises:
        SystemExit: if they differ by more than rounding.
    """
    gradients: dict[str, Tensor] = {}
    for name, steps in ways.items():
        steps.backward(x, y)
        found = torch.cat([p.grad.flatten() for p in steps.network.parameters() if p.grad is not None])
        expected = gradients.setdefault(name.partition(",")[0], found)
        if (found - expected).norm() > 1e-4 * expected.norm():
            raise SystemExit(f"{name}: the gradients differ from ours by {(found - expected).norm():.2g}")


def measure_epochs(config: dict[str, Any], data: ImageDataModule, rounds: int, batches: int | None) -> Table:
    """Time epochs in turns.

    Args:
        config: the composed config.
        data: the images.
        rounds: how often each way is timed.
        batches: of an epoch; none for all.
    """
    ways: dict[str, Callable[[], float]] = {
        "bare loop, images in memory": partial(epoch_in_memory, config, data, batches),
        "jacoscope (Lightning)": partial(lightning_epoch, config, data, batches),
        "bare loop, PIL DataLoader": partial(epoch_of_pictures, config, data, batches, 0),
        "bare loop, PIL DataLoader, 2 workers": partial(epoch_of_pictures, config, data, batches, 2),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds):
        for name, way in ways.items():
            seed_everything(number, verbose=False)
            seconds[name].append(way())
            print(f"round {number + 1}  {name}: {seconds[name][-1]:.2f} s", flush=True)
    return as_table(f"epochs, batches of {data.batch_size}", seconds, "s", 1)


def measure_steps(config: dict[str, Any], data: ImageDataModule, rounds: int, count: int) -> Table:
    """Time training steps in turns.

    Args:
        config: the composed config.
        data: the images.
        rounds: how often each way is timed.
        count: steps in a row.
    """
    part = data.splits["train"]
    x, y = to_pixels(part.images[:BATCH]), part.labels[:BATCH]
    ways = {name: Steps(config, objective) for name, objective in STEPS.items()}
    check_gradients(ways, x, y)
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, steps in ways.items():
            seconds[name].append(steps.seconds(x, y, count))
    return as_table(f"steps with ‖J‖_F² of ten logits, batches of {BATCH}; goals {GOALS}", seconds, "ms", 1000)


def as_table(title: str, seconds: dict[str, list[float]], unit: str, scale: float) -> Table:
    """Return a table of medians, with the ratio to the first way."""
    table = Table("way", f"{unit}, median", "min – max", "ratio to the first", title=title, title_justify="left")
    base = median(next(iter(seconds.values())))
    for name, values in seconds.items():
        spread = f"{scale * min(values):.2f} – {scale * max(values):.2f}"
        table.add_row(name, f"{scale * median(values):.2f}", spread, f"{median(values) / base:.2f}")
    return table


def options(words: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    command_line = parser(__doc__, rounds=3, data=True)
    command_line.add_argument("--step-rounds", type=int, default=21, help="how often each step is measured")
    return command_line.parse_args(words)


def main(words: Sequence[str] | None = None) -> None:
    """Measure epochs and steps, and print a table of each."""
    given = options(words)
    print_machine()
    console = Console(width=100)
    with (
        TemporaryDirectory() as folder,
        composed("train", "trainer=cpu", f"paths.output_dir={folder}", f"paths.data_dir={given.data}") as cfg,
    ):
        config = checked_config(cfg)
        data = build(config, "data")
        data.prepare_data()
        data.setup()
        console.print(measure_steps(config, data, *((1, 1) if given.tiny else (given.step_rounds, 3))))
        console.print(measure_epochs(config, data, *((1, 2) if given.tiny else (given.rounds, None))))


if __name__ == "__main__":
    main()
