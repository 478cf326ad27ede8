"""What a user types: ``python train.py`` in a clone, ``jacoscope train`` where the wheel is installed.

The wheel has the two entry scripts and ``configs/`` in ``jacoscope/scripts``, side by side as in a clone.
"""

import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Literal

_INSTALLED = Path(__file__).with_name("scripts")
SCRIPTS = _INSTALLED if _INSTALLED.is_dir() else Path(__file__).parents[2]
"""The folder of train.py, analyze.py and configs/."""
COMMAND = "JACOSCOPE_COMMAND"
"""Set in the environment of ``jacoscope …`` and of all its processes."""

Name = Literal["train", "analyze", "runs"]


def typed(name: Name) -> str:
    """Return how a command is typed, in the way in which this process was started.

    >>> typed("train"), typed("runs")
    ('python train.py', 'python -m jacoscope.runs')
    """
    if COMMAND in os.environ:
        return f"jacoscope {name}"
    return "python -m jacoscope.runs" if name == "runs" else f"python {name}.py"


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
