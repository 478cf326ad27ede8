"""From the command line of analyze.py to the answer: which networks are meant, and which question is asked."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from omegaconf import DictConfig
from rich.console import Console

from jacoscope.analysis.compare import answer_compare
from jacoscope.analysis.compare_robustness import answer_compare_robustness
from jacoscope.analysis.history import answer_history
from jacoscope.analysis.network import find_checkpoint, network_spec
from jacoscope.analysis.question import Question
from jacoscope.analysis.sample import answer_pictures, answer_samples
from jacoscope.analysis.split import answer_split
from jacoscope.analysis.streaming import Devices


def answer(question: Question, cfg: DictConfig, overrides: Iterable[str]) -> None:
    """Answer a question about one or two checkpoints, in the terminal and in files.

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
    if question.compare and question.robustness:
        with _interrupted_with_advice():
            answer_compare_robustness(question, cfg, overrides, Devices.from_config(cfg.trainer), console)
        return
    named: list[str | None] = [*question.compare] if question.compare else [question.checkpoint]
    checkpoints = [find_checkpoint(name, cfg.paths.log_dir) for name in named]
    specs = [network_spec(checkpoint, cfg, overrides, question.trust) for checkpoint in checkpoints]
    if question.compare is None:
        console.print(f"checkpoint  {checkpoints[0].path}", highlight=False, markup=False, soft_wrap=True)
    with _interrupted_with_advice():
        if question.image is not None:
            answer_pictures(question, specs[0], console)
        elif question.indices is not None:
            answer_samples(question, specs[0], console)
        elif question.compare is not None:
            answer_compare(question, specs, Devices.from_config(cfg.trainer), console)
        elif question.history:
            answer_history(question, specs[0], Devices.from_config(cfg.trainer), console)
        else:
            answer_split(question, specs[0], Devices.from_config(cfg.trainer), console)


@contextmanager
def _interrupted_with_advice() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt as stop:
        raise KeyboardInterrupt("Stopped. What is done is kept; the same command continues from there") from stop
