"""What a user types: ``python train.py`` in a clone, ``jacoscope train`` where the wheel is installed.

The wheel has the two entry scripts and ``configs/`` in ``jacoscope/scripts``, side by side as in a clone.
"""

import os
import re
import sys
from pathlib import Path
from shlex import quote
from types import ModuleType
from typing import Literal

_INSTALLED = Path(__file__).with_name("scripts")
SCRIPTS = _INSTALLED if _INSTALLED.is_dir() else Path(__file__).parents[2]
"""The folder of train.py, analyze.py and configs/."""
COMMAND = "JACOSCOPE_COMMAND"
"""Set in the environment of ``jacoscope …`` and of all its processes."""

KEPT = {"images": 1000, "jacobians": 1000}
"""How many steps of each tag TensorBoard keeps; by default it leaves out all but ten, spread over the training."""

Name = Literal["train", "analyze", "runs"]


def typed(name: Name) -> str:
    """Return how a command is typed, in the way in which this process was started.

    >>> typed("train"), typed("runs")
    ('python train.py', 'python -m jacoscope.runs')
    """
    if COMMAND in os.environ:
        return f"jacoscope {name}"
    return "python -m jacoscope.runs" if name == "runs" else f"python {name}.py"


def tensorboard_command(folder: Path, name: str | None = None) -> str:
    """Return the command to type in a shell.

    Args:
        folder: of a run, or of many.
        name: of the run, if it is one: otherwise TensorBoard would call it ``tensorboard``, like its folder of events.

    >>> tensorboard_command(Path("logs")).rpartition("tensorboard ")[2]
    '--logdir logs --samples_per_plugin=images=1000,jacobians=1000'
    """
    program = Path(sys.executable).parent
    prefix = f"{program.relative_to(Path.cwd())}/" if program.is_relative_to(Path.cwd()) else ""
    kept = ",".join(f"{plugin}={steps}" for plugin, steps in KEPT.items())
    is_plain = name and not re.search(r"[,:]", f"{name}{folder}")  # these have a meaning in --logdir_spec
    where = f"--logdir_spec {quote(f'{name}:{folder}')}" if is_plain else f"--logdir {quote(str(folder))}"
    return f"{prefix}tensorboard {where} --samples_per_plugin={kept}"


def run_script(name: str, words: list[str]) -> None:
    """Run train.py or analyze.py in this process, as ``python train.py`` does, with modules of the working folder.

    Args:
        name: of the script: ``train`` or ``analyze``.
        words: the rest of the command line.
    """
    os.environ[COMMAND] = "jacoscope"
    here = str(Path.cwd())
    sys.path.insert(0, here)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH"))))  # of its processes
    file = SCRIPTS / f"{name}.py"
    if words[:1] != ["-sc"]:  # shell completion is for the command itself
        sys.argv[0] = str(file)  # which starts the other processes of a training
    sys.argv[1:] = words
    main = ModuleType("__main__")
    main.__file__ = str(file)
    sys.modules["__main__"] = main
    exec(compile(file.read_bytes(), file, "exec"), vars(main))
