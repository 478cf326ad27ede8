"""Run train.py and analyze.py as processes, forked from one that has imported all that they need.

Importing torch and Lightning takes seconds; here it is done once, so that hundreds of commands can be started.
"""

import multiprocessing
import os
import runpy
import signal
import sys
import time
import traceback
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

ROOT = Path(__file__).parents[2]
if str(ROOT / "tests") not in sys.path:  # the forked process imports this module by its name
    sys.path.append(str(ROOT / "tests"))
PRELOADED = [
    "torch.utils.tensorboard",
    "torchvision",
    "matplotlib.pyplot",
    "hydra.main",
    "jacoscope.callbacks",
    "jacoscope.data",
    "jacoscope.models",
    "jacoscope.cli",
    "jacoscope.sweeps.search",
    "jacoscope.runs.evaluation",
    "jacoscope.training",
    "jacoscope.analysis.answer",
    "tensorboard.plugins.hparams.api_pb2",
]

_forked = multiprocessing.get_context("forkserver")


@dataclass
class Running:
    """A running command."""

    process: BaseProcess
    output: Path

    def wait(self, seconds: float = 600) -> int:
        """Wait until it ends, and return its exit status; negative where a signal ended it."""
        self.process.join(seconds)
        assert self.process.exitcode is not None, f"still running after {seconds} s:\n{self.told}"
        return self.process.exitcode

    @property
    def told(self) -> str:
        """The output to stdout and stderr."""
        return self.output.read_text(errors="replace")

    @property
    def processor_seconds(self) -> float:
        """The processor time that it took."""
        return float(Path(f"{self.output}.cpu").read_text())


def start(folder: Path, script: str, *words: str, dies_after: float = 0) -> Running:
    """Start ``python SCRIPT WORDS…`` in a folder.

    Args:
        folder: the current folder; made if it does not exist.
        script: ``train.py`` or ``analyze.py``.
        words: of the command line.
        dies_after: the system kills it after so many seconds of processor time, as ``kill -9`` does, without running
            any of its code. (Wall time would depend on the load of the machine.)
    """
    os.environ["OMP_NUM_THREADS"] = "1"
    _forked.set_forkserver_preload(PRELOADED)
    folder.mkdir(parents=True, exist_ok=True)
    output = folder / f".told_{len(list(folder.glob('.told_*')))}"
    process = _forked.Process(target=_command, args=(str(folder), str(ROOT / script), words, str(output), dies_after))
    process.start()
    return Running(process, output)


def run(folder: Path, script: str, *words: str) -> Running:
    """Run ``python SCRIPT WORDS…`` in a folder to its end."""
    running = start(folder, script, *words)
    running.wait()
    return running


def _command(folder: str, script: str, words: tuple[str, ...], output: str, dies_after: float) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_PROF, dies_after)
    os.chdir(folder)
    told = os.open(output, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.dup2(told, 1)
    os.dup2(told, 2)
    sys.stdout, sys.stderr = os.fdopen(1, "w", buffering=1), os.fdopen(2, "w", buffering=1)
    sys.argv = [script, *words]
    sys.path.insert(0, str(Path(script).parent))
    import torch

    torch.set_num_threads(1)
    try:
        runpy.run_path(script, run_name="__main__")
    except Exception:  # as Python itself ends
        traceback.print_exc()
        sys.exit(1)
    finally:
        Path(f"{output}.cpu").write_text(str(time.process_time()))
