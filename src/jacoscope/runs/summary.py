"""What the terminal shows when a run is over: what came out, and what to type next."""

import sys
from pathlib import Path
from shlex import quote

from pytorch_lightning.utilities import rank_zero_only
from rich.console import Console
from rich.markup import escape

from jacoscope.runs.directory import RunDirectory
from jacoscope.runs.overview.words import duration
from jacoscope.runs.quoting import quoted
from jacoscope.runs.result import Result

ACCURACIES = {"test/accuracy": "test accuracy", "val/accuracy": "validation accuracy"}


@rank_zero_only
def show_summary(run: RunDirectory, result: Result) -> None:
    """Print a run's metrics, where it lies, and the commands that show more of it."""
    folder = _relative(run.path)
    python = Path(sys.executable)
    prefix = f"{_relative(python.parent)}/" if python.is_relative_to(Path.cwd()) else ""
    rows = [
        *_metrics(result.metrics),
        ("time", duration(result.wall_seconds)),
        ("run", str(folder)),
        ("watch it", f"{prefix}tensorboard --logdir {quote(str(folder / 'tensorboard'))}"),
        ("analyse it", f"{prefix}python analyze.py {_as_typed('checkpoint', str(folder))}"),
    ]
    width = max(len(label) for label, _ in rows)
    console = Console(highlight=False)
    console.print()
    for label, value in rows:  # never wrapped: a command must survive being copied
        console.print(f"[bold]{label:<{width}}[/bold]  {escape(value)}", soft_wrap=True)


def _metrics(metrics: dict[str, float]) -> list[tuple[str, str]]:
    rows = [(label, f"{metrics[name]:.2%}") for name, label in ACCURACIES.items() if name in metrics]
    for name, value in metrics.items():
        if name.startswith("jacobian/") and name.endswith(("frobenius/mean", "spectral/mean")):
            _, output, norm, _ = name.split("/")
            rows.append((f"{norm.capitalize()} norm of ∂{output}/∂pixels", f"{value:.4g}, mean of validation samples"))
    return rows


def _as_typed(key: str, value: str) -> str:
    """Give a word of a command line, quoted for Hydra and for the shell where they would take it for something else."""
    return quote(f"{key}={quoted(value)}")


def _relative(path: Path) -> Path:
    absolute = path.absolute()
    return absolute.relative_to(Path.cwd()) if absolute.is_relative_to(Path.cwd()) else absolute
