"""Norms of Jacobians that are too large to hold: ResNet-50 and ViT-B/16 on 224×224 pixels, with random weights.

    python -m benchmarks.matrix_free

1000 outputs × 150,528 pixels are 602 MB for one image. Shown are the time and the additional peak memory of one
backward pass, of the Frobenius estimate and of the leading singular triplets; and, on the first 10 outputs, where the
dense Jacobian fits, how far the estimates are from it. Each in a process of its own.
"""

import argparse
import subprocess
import sys

MODELS = ("resnet50", "vit_b_16")
PROGRAM = """
import resource, sys, time, torch, torchvision
from jacoscope.jacobians import *
name, task, threads = sys.argv[1:]
torch.set_num_threads(int(threads))
torch.manual_seed(0)
model = getattr(torchvision.models, name)().eval().requires_grad_(False)
if name == "vit_b_16":
    torch.nn.init.normal_(model.heads.head.weight, std=0.02)  # torchvision starts it at zero
x = torch.rand(1, 3, 224, 224)
model(x)
before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
ten = lambda z: z[:, :10]
said = ""
if task == "one backward pass":
    leaf = x.clone().requires_grad_()
    torch.autograd.grad(model(leaf).sum(), leaf)
elif task == "Frobenius, 8 projections":
    e = estimate_frobenius(model, x, projections=8)
    said = f"{e.value.item():.4g} ± {e.standard_error.item():.2g}"
elif task == "2 singular triplets":
    t = leading_singular_triplets(model, x, 2, tolerance=1e-2, max_iterations=12)
    said = f"σ = {t.values[0, 0]:.4g}, {t.values[0, 1]:.4g}; {t.iterations} steps, residual {t.residual.max():.1g}"
else:
    J = jacobian(model, x, ten)
    e = estimate_frobenius(model, x, ten, projections=8)
    t = leading_singular_triplets(model, x, 2, ten)
    F, s = frobenius_norm(J).item(), singular_values(J)[0]
    off = (e.value.item() - F) / e.standard_error.item()
    worst = ((t.values[0] - s[:2]).abs() / s[0]).max().item()
    said = f"Frobenius {e.value.item():.4g}, dense {F:.4g} ({off:+.1f} standard errors); σ off by {worst:.1g}"
seconds = time.perf_counter() - start
print(seconds, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024, said, sep="|")
"""
LINE = "{:<10} {:<34} {:>7} {:>10}  {}"
TASKS = ("one backward pass", "Frobenius, 8 projections", "2 singular triplets", "against the dense J of 10 outputs")


def main() -> None:
    """Measure every task on every model; each line is printed as soon as it is known, for some take minutes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=MODELS)
    parser.add_argument("--threads", type=int, default=2)
    chosen = parser.parse_args()
    print("1000 outputs × 150,528 pixels, one image", flush=True)
    print(LINE.format("model", "task", "s", "peak, MiB", "result"), flush=True)
    for name in chosen.models:
        for task in TASKS:
            arguments = [sys.executable, "-W", "ignore", "-c", PROGRAM, name, task, str(chosen.threads)]
            done = subprocess.run(arguments, capture_output=True, text=True, check=True)
            seconds, peak, said = done.stdout.strip().split("|")
            print(LINE.format(name, task, f"{float(seconds):.1f}", f"{float(peak):,.0f}", said), flush=True)


if __name__ == "__main__":
    main()
