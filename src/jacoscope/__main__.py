"""The command ``jacoscope``: ``jacoscope train …``, ``jacoscope analyze …``, ``jacoscope runs …``."""

import os
import sys
from pathlib import Path

from jacoscope import __version__
from jacoscope.commands import COMMAND, run_script, tensorboard_command
from jacoscope.errors import nearest

COMMANDS = ("train", "analyze", "runs")
HELP = f"""\
See how every output of an image classifier depends on every input pixel.

  jacoscope train GROUP=CHOICE key=value …   train a classifier and watch its Jacobian
  jacoscope analyze checkpoint=RUN sample=7  analyse a trained network
  jacoscope runs FOLDER                      compare all runs below a folder
  {tensorboard_command(Path("logs"))}

Each explains itself with --help; the last line opens TensorBoard on all logs.
A folder configs/ where you type this is read before jacoscope's own configs.
Shell completion: eval "$(jacoscope -sc install=bash)", or fish or zsh."""


def main() -> int:
    """Run the command that was typed, and return the exit status."""
    name, words = (sys.argv[1], sys.argv[2:]) if len(sys.argv) > 1 else ("--help", [])
    if name in ("--help", "-h"):
        print(HELP)
    elif name == "--version":
        print(f"jacoscope {__version__}")
    elif name == "-sc":
        _complete(words)
    elif name == "runs":
        from jacoscope.runs.__main__ import main as compare

        os.environ[COMMAND] = "jacoscope"
        return compare(words)
    elif name in ("train", "analyze"):
        run_script(name, words)
    else:
        print(f"There is no jacoscope {name}.{nearest(name, COMMANDS, 'jacoscope ')}\n\n{HELP}", file=sys.stderr)
        return 2
    return 0


def _complete(words: list[str]) -> None:
    """Answer a shell that completes ``jacoscope COMMAND …`` with Hydra's answer for ``COMMAND …``."""
    line = os.environ.get("COMP_LINE", "").split(" ")
    if words[:1] and words[0].startswith("query") and (len(line) < 3 or line[1] not in ("train", "analyze")):
        print(*COMMANDS)
        return
    name = "analyze" if line[1:2] == ["analyze"] else "train"
    if line[1:2] == [name]:
        os.environ["COMP_LINE"] = " ".join([line[0], *line[2:]])
    run_script(name, ["-sc", *words])


if __name__ == "__main__":
    sys.exit(main())
