"""What the terminal shows when a run is over: what came out, and what to type next."""

import sys
from pathlib import Path

from pytorch_lightning.utilities import rank_zero_only
from rich.console import Console
from rich.table import Table

from jacoscope.runs.directory import RunDirectory
from jacoscope.runs.result import Result

SHOWN = {
    "test/accuracy": ("test accuracy", "{:.2%}"),
    "val/accuracy": ("validation accuracy", "{:.2%}"),
}


@rank_zero_only
def show_summary(run: RunDirectory, result: Result) -> None:
    """Print a run's metrics, where it lies, and the commands that show more of it."""
    console = Console()
    folder = _relative(run.path)
    python = Path(sys.executable)
    prefix = f"{_relative(python.parent)}/" if python.is_relative_to(Path.cwd()) else ""

    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, (label, form) in SHOWN.items():
        if name in result.metrics:
            table.add_row(label, form.format(result.metrics[name]))
    for name, value in result.metrics.items():
        if name.startswith("jacobian/") and name.endswith(("frobenius/mean", "spectral/mean")):
            _, output, norm, _ = name.split("/")
            table.add_row(f"{norm} norm of ∂ {output}/∂ pixels", f"{value:.4g}, mean")
    minutes, seconds = divmod(round(result.wall_seconds), 60)
    table.add_row("time", f"{minutes} min {seconds} s")
    table.add_row("run", str(folder))
    table.add_row("see it", f"{prefix}tensorboard --logdir {folder / 'tensorboard'}")
    table.add_row("analyse it", f"{prefix}python analyze.py checkpoint={folder}")
    console.print()
    console.print(table)


def _relative(path: Path) -> Path:
    absolute = path.absolute()
    return absolute.relative_to(Path.cwd()) if absolute.is_relative_to(Path.cwd()) else absolute
