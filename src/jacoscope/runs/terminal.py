"""What train.py shows at the end of a run: its metrics, and the commands that show more."""

import sys
from pathlib import Path
from typing import Any

from pytorch_lightning.utilities import rank_zero_only
from rich.console import Console
from rich.markup import escape

from jacoscope.commands import tensorboard_command, typed
from jacoscope.measures import shown_in
from jacoscope.runs.directory import RunDirectory
from jacoscope.runs.keys import as_typed
from jacoscope.runs.result import Result, duration
from jacoscope.runs.targets import foreign_targets, trust_override

ACCURACIES = {"test/accuracy": "test accuracy", "val/accuracy": "validation accuracy"}


@rank_zero_only
def show_summary(run: RunDirectory, result: Result) -> None:
    """Print the metrics of a run, its directory, and the commands that show more of it."""
    folder = _relative(run.path)
    python = Path(sys.executable)
    prefix = f"{_relative(python.parent)}/" if python.is_relative_to(Path.cwd()) else ""
    rows = [*_metrics(result.metrics), ("time", duration(result.wall_seconds)), ("run", str(folder))]
    if (run.path / "tensorboard").is_dir():
        rows.append(("watch it", tensorboard_command(folder, folder.name)))
    rows.append(("analyse it", f"{prefix}{typed('analyze')} {' '.join(_overrides(folder, result.config))}"))
    width = max(len(label) for label, _ in rows)
    console = Console(highlight=False)
    console.print()
    for label, value in rows:  # not wrapped, so that commands can be copied
        console.print(f"[bold]{label:<{width}}[/bold]  {escape(value)}", soft_wrap=True)


def _overrides(folder: Path, config: dict[str, Any]) -> list[str]:
    """Return the words for analyze.py: the run, and trust in the user's own packages that it builds."""
    packages = {target.partition(".")[0] for target in foreign_targets([config["model"], config["data"]])}
    return [as_typed("checkpoint", str(folder)), *trust_override(sorted(packages))]


def _metrics(metrics: dict[str, float]) -> list[tuple[str, str]]:
    rows = [(label, f"{metrics[name]:.2%}") for name, label in ACCURACIES.items() if name in metrics]
    outputs = dict.fromkeys(name.split("/")[1] for name in metrics if name.startswith("jacobian/"))
    for output in outputs:
        for measure in shown_in("result"):
            if (value := metrics.get(measure.tag(output))) is not None:
                label = f"{measure.label[:1].upper()}{measure.label[1:]} of ∂{output}/∂pixels"
                rows.append((label, f"{value:.4g}, mean of validation samples"))
    return rows


def _relative(path: Path) -> Path:
    absolute = path.absolute()
    return absolute.relative_to(Path.cwd()) if absolute.is_relative_to(Path.cwd()) else absolute
