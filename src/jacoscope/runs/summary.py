"""What the terminal shows when a run is over: what came out, and what to type next."""

import sys
from pathlib import Path
from shlex import quote
from typing import Any

from pytorch_lightning.utilities import rank_zero_only
from rich.console import Console
from rich.markup import escape

from jacoscope.comparison.words import duration
from jacoscope.runs import trust
from jacoscope.runs.directory import RunDirectory
from jacoscope.runs.quoting import as_typed
from jacoscope.runs.result import Result, duration

ACCURACIES = {"test/accuracy": "test accuracy", "val/accuracy": "validation accuracy"}


@rank_zero_only
def show_summary(run: RunDirectory, result: Result) -> None:
    """Print a run's metrics, where it lies, and the commands that show more of it."""
    folder = _relative(run.path)
    python = Path(sys.executable)
    prefix = f"{_relative(python.parent)}/" if python.is_relative_to(Path.cwd()) else ""
    rows = [*_metrics(result.metrics), ("time", duration(result.wall_seconds)), ("run", str(folder))]
    if (run.path / "tensorboard").is_dir():
        rows.append(("watch it", f"{prefix}tensorboard --logdir {quote(str(folder / 'tensorboard'))}"))
    rows.append(("analyse it", f"{prefix}python analyze.py {' '.join(_question(folder, result.config))}"))
    width = max(len(label) for label, _ in rows)
    console = Console(highlight=False)
    console.print()
    for label, value in rows:  # never wrapped: a command must survive being copied
        console.print(f"[bold]{label:<{width}}[/bold]  {escape(value)}", soft_wrap=True)


def _question(folder: Path, config: dict[str, Any]) -> list[str]:
    """Give the words for analyze.py, with what the run builds of the user's own code."""
    own = {target.partition(".")[0] for target in trust.foreign_targets([config["model"], config["data"]])}
    return [as_typed("checkpoint", str(folder)), *trust.as_typed(sorted(own))]


def _metrics(metrics: dict[str, float]) -> list[tuple[str, str]]:
    rows = [(label, f"{metrics[name]:.2%}") for name, label in ACCURACIES.items() if name in metrics]
    for name, value in metrics.items():
        if name.startswith("jacobian/") and name.endswith(("frobenius/mean", "spectral/mean")):
            _, output, norm, _ = name.split("/")
            rows.append((f"{norm.capitalize()} norm of ∂{output}/∂pixels", f"{value:.4g}, mean of validation samples"))
    return rows


def _relative(path: Path) -> Path:
    absolute = path.absolute()
    return absolute.relative_to(Path.cwd()) if absolute.is_relative_to(Path.cwd()) else absolute
