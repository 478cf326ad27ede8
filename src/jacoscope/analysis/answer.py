"""From the command line of analyze.py to the answer: find the networks, and ask the file that answers the question."""

from collections.abc import Iterable
from importlib import import_module

from omegaconf import DictConfig
from rich.console import Console

from jacoscope.analysis.named_networks import networks_of
from jacoscope.analysis.network import find_checkpoint, network_spec
from jacoscope.analysis.question import Question
from jacoscope.analysis.streaming import Devices


def answer(question: Question, cfg: DictConfig, overrides: Iterable[str]) -> None:
    """Answer a question about one or several checkpoints, in the terminal and in files.

    The file that ``question.file`` names has a function ``answer``, which takes the
    question, what the networks are built from, the devices and the console.

    Args:
        question: the question.
        cfg: the composed config, for what of it describes the network, its data and the devices.
        overrides: the words of the command line.

    Raises:
        UserError: if it cannot be answered; nothing half-written is left.
        KeyboardInterrupt: with a message, if the user stopped it.
    """
    console = Console()
    overrides = list(overrides)
    named: list[str | None] = [path for _, path in networks_of(question)] if question.compare else [question.checkpoint]
    checkpoints = [find_checkpoint(name, cfg.paths.log_dir) for name in named]
    specs = [network_spec(checkpoint, cfg, overrides, question.trust) for checkpoint in checkpoints]
    if question.compare is None:
        console.print(f"checkpoint  {checkpoints[0].path}", highlight=False, markup=False, soft_wrap=True)
    file = import_module(f"jacoscope.analysis.{question.file}")
    try:
        file.answer(question, specs, Devices.from_config(cfg.trainer), console)
    except KeyboardInterrupt as stop:
        raise KeyboardInterrupt("Stopped. What is done is kept; the same command continues from there") from stop
