"""Norms of Jacobians that are too large to hold: ResNet-50 and ViT-B/16 on 224×224 pixels, with random weights.

    python -m benchmarks.matrix_free [--models resnet50] [--tiny]

1000 outputs × 150,528 pixels are 602 MB for one image. Shown are the time and the additional peak memory of one
backward pass, of the Frobenius estimate and of the leading singular triplets; and, on the first 10 outputs, where the
dense Jacobian fits, how far the estimates are from it. Each is measured in a process of its own.
"""

import time
from collections.abc import Callable, Sequence

import torch
import torchvision
from torch import Tensor, nn

from benchmarks._command_line import parser
from benchmarks._machine import in_new_process, peak_memory, print_machine
from jacoscope.jacobians import (
    estimate_frobenius,
    frobenius_norm,
    jacobian,
    leading_singular_triplets,
    singular_values,
)

MODELS = ("resnet50", "vit_b_16")
LINE = "{:<10} {:<34} {:>7} {:>10}  {}"


def backward_pass(model: nn.Module, x: Tensor) -> str:
    """Compute the gradient of the sum of all outputs."""
    leaf = x.clone().requires_grad_()
    torch.autograd.grad(model(leaf).sum(), leaf)
    return ""


def frobenius(model: nn.Module, x: Tensor) -> str:
    """Estimate the Frobenius norm."""
    estimate = estimate_frobenius(model, x, projections=8)
    return f"{estimate.value.item():.4g} ± {estimate.standard_error.item():.2g}"


def triplets(model: nn.Module, x: Tensor) -> str:
    """Compute the two leading singular triplets."""
    found = leading_singular_triplets(model, x, 2, tolerance=1e-2, max_iterations=12)
    first, second = found.values[0].tolist()
    return f"σ = {first:.4g}, {second:.4g}; {found.iterations} steps, residual {found.residual.max():.1g}"


def against_dense(model: nn.Module, x: Tensor) -> str:
    """Compare the estimates with the dense Jacobian of the first 10 outputs."""

    def ten(z: Tensor) -> Tensor:
        return z[:, :10]

    J = jacobian(model, x, ten)
    estimate = estimate_frobenius(model, x, ten, projections=8)
    found = leading_singular_triplets(model, x, 2, ten)
    norm, sigma = frobenius_norm(J).item(), singular_values(J)[0]
    off = (estimate.value.item() - norm) / estimate.standard_error.item()
    worst = ((found.values[0] - sigma[:2]).abs() / sigma[0]).max().item()
    return f"Frobenius {estimate.value.item():.4g}, dense {norm:.4g} ({off:+.1f} standard errors); σ off by {worst:.1g}"


TASKS: dict[str, Callable[[nn.Module, Tensor], str]] = {
    "one backward pass": backward_pass,
    "Frobenius, 8 projections": frobenius,
    "2 singular triplets": triplets,
    "against the dense J of 10 outputs": against_dense,
}


def measure(name: str, task: str, size: int, threads: int) -> tuple[float, float, str]:
    """Run a task on one image, and return the seconds, the MiB beyond a forward pass, and the result in words."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    model = getattr(torchvision.models, name)().eval().requires_grad_(False)
    if name == "vit_b_16":
        nn.init.normal_(model.heads.head.weight, std=0.02)  # torchvision sets it to zero
    x = torch.rand(1, 3, size, size)
    model(x)
    before, start = peak_memory(), time.perf_counter()
    result = TASKS[task](model, x)
    return time.perf_counter() - start, peak_memory() - before, result


def main(words: Sequence[str] | None = None) -> None:
    """Measure every task on every model; each line is printed as soon as it is known, for some take minutes."""
    command_line = parser(__doc__)
    command_line.add_argument("--models", nargs="+", default=list(MODELS), choices=MODELS)
    command_line.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of PyTorch")
    options = command_line.parse_args(words)
    torch.set_num_threads(options.threads)
    models, size = (["resnet18"], 32) if options.tiny else (options.models, 224)

    print_machine()
    print(f"1000 outputs × {3 * size**2:,} pixels, one image", flush=True)
    print(LINE.format("model", "task", "s", "peak, MiB", "result"), flush=True)
    for name in models:
        for task in TASKS:
            seconds, peak, result = in_new_process(measure, name, task, size, options.threads)
            print(LINE.format(name, task, f"{seconds:.1f}", f"{peak:,.0f}", result), flush=True)


if __name__ == "__main__":
    main()
