"""The command that opens TensorBoard on a run, a sweep or all logs: the same one wherever it is printed."""

import re
import sys
from pathlib import Path
from shlex import quote

KEPT = {"images": 1000, "jacobians": 1000}
"""How many steps of each tag TensorBoard keeps; by default it leaves out all but ten, spread over the training."""


def tensorboard_command(folder: Path, name: str | None = None) -> str:
    """Return the command to type in a shell.

    Args:
        folder: of a run, or of many.
        name: of the run, if it is one: otherwise TensorBoard would call it ``tensorboard``, like its folder of events.

    >>> print(tensorboard_command(Path("logs")))  # doctest: +ELLIPSIS
    ...tensorboard --logdir logs --samples_per_plugin=images=1000,jacobians=1000
    """
    program = Path(sys.executable).parent
    prefix = f"{program.relative_to(Path.cwd())}/" if program.is_relative_to(Path.cwd()) else ""
    kept = ",".join(f"{plugin}={steps}" for plugin, steps in KEPT.items())
    is_plain = name and not re.search(r"[,:]", f"{name}{folder}")  # these have a meaning in --logdir_spec
    where = f"--logdir_spec {quote(f'{name}:{folder}')}" if is_plain else f"--logdir {quote(str(folder))}"
    return f"{prefix}tensorboard {where} --samples_per_plugin={kept}"
