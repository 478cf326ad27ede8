"""Time jacoscope.jacobian beside every other way to compute the Jacobians of a batch, in one process.

    python -m benchmarks.jacobian                         tables, JSON and plots under benchmarks/results/
    python -m benchmarks.jacobian --models lenet5 --batches 512 --rounds 9
    ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 XLA_FLAGS=--xla_cpu_max_isa=AVX2 python -m benchmarks.jacobian

The last command measures a newer processor as one that has AVX2 alone. All ways run in each round, in random order, so
that whatever else the machine does disturbs all of them; each is first checked against ours. Figures are medians. What
does not run is listed with the reason: it is not installed (pip install captum jax), it would not fit in memory, or it
was so slow at a smaller batch that it would take long and win nothing.
"""

import argparse
import importlib.util
import json
import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from benchmarks._command_line import parser
from benchmarks._machine import machine, print_machine
from jacoscope.jacobians import frobenius_norm, jacobian, spectral_norm
from jacoscope.jacobians.memory import Footprint, free_memory
from jacoscope.models import MLP, LeNet5, ResNet18

OURS = "jacoscope"
VARIANTS: dict[str, dict[str, Any]] = {
    OURS: {},
    "jacoscope, vmap-jacrev": {"strategy": "vmap-jacrev"},
    "jacoscope, check=False": {"check": False},
}
"""Arguments of `jacobian`, by the name in the table."""
MODELS: dict[str, Callable[[], nn.Module]] = {
    "lenet5": LeNet5,
    "lenet5_relu": lambda: LeNet5(activation=nn.ReLU, pooling=nn.MaxPool2d),
    "mlp": MLP,
    "resnet18": ResNet18,
}
SHAPES = {"resnet18": (3, 32, 32)}
TOLERANCE = {"resnet18": 1e-4}

WHOLE = ("vmap(jacrev)", "jacrev of the summed batch", "autograd.functional, vectorized", "is_grads_batched")
"""Ways that hold the cotangents of all outputs for the whole batch at once."""
LONG = 20.0
"""Seconds beyond which a way must promise to be among the fastest, to be timed."""

Way = Callable[[Tensor], Tensor]


@dataclass
class Row:
    """One way on one model and batch size."""

    model: str
    batch: int
    way: str
    seconds: float
    per_second: float
    ratio: float
    """Ours over theirs, in Jacobians per second; above 1 means that ours is faster."""


def main(words: Sequence[str] | None = None) -> None:
    """Run what the command line asks for."""
    options = _options(words)
    torch.manual_seed(0)
    if options.threads:
        torch.set_num_threads(options.threads)
    options.out.mkdir(parents=True, exist_ok=True)
    print_machine()
    console = Console(width=100)
    path = options.out / "jacobian.json"
    rows: list[Row] = []
    for name in options.models:
        before: list[Row] = []
        for batch in sorted(options.batches):
            before = measure(name, batch, before, options, console)
            rows += before
            # After each table, since a run takes long and may be interrupted.
            record = {**machine(), "output": options.output, "rows": [asdict(row) for row in rows]}
            path.write_text(json.dumps(record, indent=1))
    print(f"written: {path}", flush=True)
    if options.plots:
        from benchmarks._jacobian_growth import plot_growth

        plot_growth(options.out / "jacobian_growth.png", options.tiny)
        print(f"written: {options.out / 'jacobian_growth.png'}")


def measure(name: str, batch: int, before: list[Row], options: argparse.Namespace, console: Console) -> list[Row]:
    """Time every way on one model and batch size, and print the table.

    Args:
        name: of the model.
        batch: samples.
        before: the rows of the same model at a smaller batch.
        options: of the command line.
        console: for the table.
    """
    model = MODELS[name]().eval().requires_grad_(False)
    x = torch.rand(batch, *SHAPES.get(name, (1, 28, 28)))
    ways, missing = _ways(model, options.output, compiled=options.compile, jax_too=name != "resnet18")
    for way, why in _left_out(model, x, before).items():
        if ways.pop(way, None) is not None:
            missing[way] = why
    _check_agreement(ways, x, TOLERANCE.get(name, 1e-5))
    estimate = _once(ways[OURS], x)
    repeats = 1 if options.tiny else max(1, min(200, math.ceil(0.02 / estimate)))
    rounds = options.rounds if estimate < 10 else max(1, options.rounds // 4)
    times: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way in random.sample(list(ways), len(ways)):  # each finds the caches as the one before it left them
            times[way].append(_once(ways[way], x, repeats))
    medians = {way: median(values) for way, values in times.items()}
    rows = [Row(name, batch, way, t, batch / t, t / medians[OURS]) for way, t in medians.items()]
    with torch.no_grad():
        forward = batch / median(_once(model, x, repeats) for _ in range(rounds))
        J = jacobian(model, x, options.output)
        norms = median(_once(lambda J: (frobenius_norm(J), spectral_norm(J)), J, repeats) for _ in range(rounds))
    title = f"{name}, batch {batch}, J of {options.output}, {rounds} rounds; forward {forward:,.0f} images/s"
    _print(console, rows, missing, title)
    fastest = min((row for row in rows if row.way not in VARIANTS), key=lambda row: row.seconds)
    console.print(f"{fastest.ratio:.2f}× the fastest other way, {fastest.way}")
    console.print(f"Frobenius and spectral norm: {norms / medians[OURS]:.1%} of the time of the Jacobians\n")
    return rows


def _left_out(model: nn.Module, x: Tensor, before: list[Row]) -> dict[str, str]:
    """Ways that are not worth timing on `x`, with the reason."""
    reasons: dict[str, str] = {}
    with Footprint().measuring() as footprint:
        outputs = model(x[:1])
    gigabytes = len(x) * outputs.shape[1] * footprint.total / 1e9
    if 1e9 * gigabytes > free_memory(x.device) / 2:
        reasons |= dict.fromkeys(WHOLE, f"left out: about {gigabytes:.0f} GB")
    others = [row for row in before if row.way not in VARIANTS]
    fastest = min((row.seconds / row.batch for row in others), default=0.0)
    for row in others:
        each = row.seconds / row.batch
        if each * len(x) > LONG and each > 1.5 * fastest:
            reasons[row.way] = f"left out: {each / fastest:.1f}× the best other at batch {row.batch}"
    return reasons


def _ways(model: nn.Module, output: str, *, compiled: bool, jax_too: bool) -> tuple[dict[str, Way], dict[str, str]]:
    """All ways by name, and for those that cannot run, why."""
    final = {"probs": lambda z: z.softmax(1), "logits": lambda z: z}[output]

    def function(x: Tensor) -> Tensor:
        return final(model(x))

    def sample(one: Tensor) -> Tensor:
        return function(one.unsqueeze(0)).squeeze(0)

    def summed(x: Tensor) -> Tensor:
        return function(x).sum(0)

    def one_by_one(x: Tensor) -> Tensor:
        return torch.stack([_backward_passes(function, image.unsqueeze(0))[0] for image in x])

    def grads_batched(x: Tensor) -> Tensor:
        leaf = x.detach().requires_grad_()
        z = function(leaf)
        eye = torch.eye(z.shape[1]).unsqueeze(1).expand(-1, *z.shape)
        (J,) = torch.autograd.grad(z, leaf, eye, is_grads_batched=True)
        return J.transpose(0, 1)

    jacrev = torch.func.vmap(torch.func.jacrev(sample))
    ways: dict[str, Way] = {
        **{name: partial(_ours, model, output, arguments) for name, arguments in VARIANTS.items()},
        "one image, ten backward passes": one_by_one,
        "ten backward passes of the batch": lambda x: _backward_passes(function, x),
        "ten passes, chunks of 64": _chunked(lambda x: _backward_passes(function, x), 64),
        "vmap(jacrev)": jacrev,
        "vmap(jacrev), chunks of 64": torch.func.vmap(torch.func.jacrev(sample), chunk_size=64),
        "jacrev of the summed batch": lambda x: torch.func.jacrev(summed)(x).transpose(0, 1),
        "autograd.functional, vectorized": lambda x: _functional(summed, x),
        "autograd.functional, chunks of 64": _chunked(lambda x: _functional(summed, x), 64),
        "is_grads_batched": grads_batched,
        "is_grads_batched, chunks of 64": _chunked(grads_batched, 64),
        "is_grads_batched, chunks of 32": _chunked(grads_batched, 32),
    }
    missing: dict[str, str] = {}
    if importlib.util.find_spec("captum"):
        ways["Captum Saliency"] = _captum(function)
    else:
        missing["Captum Saliency"] = "not installed"
    if not jax_too:
        missing["JAX"] = "no such model there"
    elif importlib.util.find_spec("jax"):
        from benchmarks._jax_peer import jax_jacobian

        ways["JAX jit(vmap(jacrev))"] = jax_jacobian(model, output)
    else:
        missing["JAX jit(vmap(jacrev))"] = "not installed"
    if compiled:
        ways["torch.compile(vmap(jacrev))"] = torch.compile(jacrev, dynamic=False)
    else:
        missing["torch.compile(vmap(jacrev))"] = "left out; --compile adds it"
    return ways, missing


def _ours(model: nn.Module, output: str, arguments: dict[str, Any], x: Tensor) -> Tensor:
    return jacobian(model, x, output, **arguments)  # type: ignore[no-any-return]


def _backward_passes(function: Way, x: Tensor) -> Tensor:
    leaf = x.detach().requires_grad_()
    z = function(leaf)
    rows = [torch.autograd.grad(z[:, k].sum(), leaf, retain_graph=True)[0] for k in range(z.shape[1])]
    return torch.stack(rows, 1)


def _functional(summed: Way, x: Tensor) -> Tensor:
    J = torch.autograd.functional.jacobian(summed, x, vectorize=True)
    return J.transpose(0, 1)  # type: ignore[union-attr]


def _captum(function: Way) -> Way:
    from captum.attr import Saliency

    saliency = Saliency(function)

    def run(x: Tensor) -> Tensor:
        leaf = x.detach().requires_grad_()
        outputs = 10
        maps = [saliency.attribute(leaf, target=k, abs=False).detach().clone() for k in range(outputs)]
        return torch.stack(maps, 1)

    return run


def _chunked(way: Way, size: int) -> Way:
    return lambda x: torch.cat([way(part) for part in x.split(size)])


def _check_agreement(ways: dict[str, Way], x: Tensor, tolerance: float) -> None:
    """All ways must agree, but for a few samples so near a kink of a deep network that rounding decides on its side."""
    ours = ways[OURS](x[:64])
    for name, way in ways.items():
        theirs = way(x[:64])
        if theirs.shape != ours.shape:
            raise SystemExit(f"{name} has shape {list(theirs.shape)}, not {list(ours.shape)}")
        errors = (ours - theirs).abs().flatten(1).amax(1) / ours.abs().max()
        if not (errors.quantile(0.75) < tolerance and errors.max() < 0.05):
            raise SystemExit(f"{name} disagrees by up to {errors.max():.2g} of the largest entry")


def _once(run: Callable[[Tensor], object], x: Tensor, repeats: int = 1) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
        run(x)
    return (time.perf_counter() - start) / repeats


def _print(console: Console, rows: list[Row], missing: dict[str, str], title: str) -> None:
    table = Table(title=title, title_justify="left")
    table.add_column("way")
    for column in ("ms", "Jacobians/s", "ours is faster by"):
        table.add_column(column, justify="right")
    for row in sorted(rows, key=lambda row: row.seconds):
        ours = "" if row.way == OURS else f"{row.ratio:.2f}×"
        table.add_row(row.way, f"{1e3 * row.seconds:,.2f}", f"{row.per_second:,.1f}", ours)
    for way, why in missing.items():
        table.add_row(way, "", "", why)
    console.print(table)


def _options(words: Sequence[str] | None) -> argparse.Namespace:
    command_line = parser(__doc__, rounds=7)
    command_line.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    command_line.add_argument("--batches", nargs="+", type=int, default=[1, 32, 512])
    command_line.add_argument("--output", default="probs", choices=["probs", "logits"])
    command_line.add_argument(
        "--threads",
        type=int,
        default=0,
        help="of PyTorch; by default one a core. JAX uses all cores: taskset limits both",
    )
    command_line.add_argument("--compile", action="store_true", help="torch.compile too, which takes minutes")
    command_line.add_argument("--no-plots", dest="plots", action="store_false")
    command_line.add_argument("--out", type=Path, help="folder of the results; by default benchmarks/results")
    options = command_line.parse_args(words)
    if options.tiny:
        options.models, options.batches, options.rounds = ["lenet5", "mlp"], [1, 2], 1
    results = Path(__file__).parent / "results"
    options.out = options.out or (results / "tiny" if options.tiny else results)
    return options


if __name__ == "__main__":
    main()
