"""From a question to its answer: which of the analyses is meant, and where its results go.

An answer that is there already is shown at once: torch is imported only where something is to be computed.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig
from rich.console import Console

from jacoscope.analysis.checkpoint import CheckpointFile, find_checkpoint
from jacoscope.analysis.folder import believed
from jacoscope.analysis.origin import Origin, origin
from jacoscope.analysis.request import Request
from jacoscope.analysis.several_folders import comparison_folder, history_folder, show_comparison, show_history
from jacoscope.analysis.split_folder import SplitFolder
from jacoscope.analysis.split_terminal import show_summary
from jacoscope.analysis.terminal import show_files
from jacoscope.errors import UserError

if TYPE_CHECKING:
    from jacoscope.analysis.stream import Where


def answer(request: Request, cfg: DictConfig, overrides: Iterable[str]) -> None:
    """Answer a question about a checkpoint, in the terminal and in files.

    Args:
        request: the question.
        cfg: the composed config, for what of it describes the network and its data.
        overrides: the words of the command line.

    Raises:
        UserError: if it cannot be answered; nothing half-written is left.
        KeyboardInterrupt: with a message, if the user stopped it.
    """
    console = Console()
    named: list[str | None] = [*request.compare] if request.compare else [request.checkpoint]
    sources = [origin(find_checkpoint(name, cfg.paths.log_dir), cfg, overrides, request.trust) for name in named]
    if request.compare is None:
        console.print(f"checkpoint  {sources[0].checkpoint.path}", highlight=False, markup=False, soft_wrap=True)
    try:
        if request.compare is not None:
            answer_comparison(request, sources, cfg, console)
        elif request.history:
            answer_history(request, sources[0], cfg, console)
        elif request.indices is not None or request.image is not None:
            answer_singles(request, sources[0], console)
        else:
            answer_split(request, sources[0], cfg, console)
    except KeyboardInterrupt as stop:
        raise KeyboardInterrupt("Stopped. What is done is kept; the same command goes on from there") from stop


def answer_split(request: Request, source: Origin, cfg: DictConfig, console: Console) -> None:
    """Analyse a whole split."""
    folder = SplitFolder(request, source, results_folder(request, source, split_name(request)))
    if folder.to_do():
        from jacoscope.analysis.full import FullAnalysis
        from jacoscope.analysis.subject import Subject

        FullAnalysis(folder, Subject.of(source)).run(console, where(cfg))
    with believed(folder.path):
        show_summary(console, folder.summary(), request.named_output, request.split)
    show_files(console, folder.results())


def answer_comparison(request: Request, sources: list[Origin], cfg: DictConfig, console: Console) -> None:
    """Put two networks side by side."""
    folder = comparison_folder(request, sources)
    if not folder.has("comparison", True, *folder.names):
        from jacoscope.analysis.several import compare
        from jacoscope.analysis.subject import Subject

        compare(folder, [Subject.of(source) for source in sources], request, where(cfg), console)
    with believed(folder.path):
        show_comparison(console, folder)
    show_files(console, folder.results())


def answer_history(request: Request, source: Origin, cfg: DictConfig, console: Console) -> None:
    """Follow the sensitivity over all checkpoints of a run."""
    sources = all_checkpoints(source)
    folder = history_folder(request, sources)
    if not folder.has("history", True, *folder.names):
        from jacoscope.analysis.several import follow, table_only
        from jacoscope.analysis.subject import Subject

        asked = table_only(request)
        tables = [SplitFolder(asked, one, results_folder(asked, one, split_name(asked))) for one in sources]
        follow(folder, tables, [Subject.of(one) for one in sources], request, where(cfg), console)
    with believed(folder.path):
        show_history(console, folder)
    show_files(console, folder.results())


def answer_singles(request: Request, source: Origin, console: Console) -> None:
    """Read samples of a split, or pictures of the user's own, one by one."""
    from jacoscope.analysis.single_answer import answer_pictures, answer_samples
    from jacoscope.analysis.subject import Subject

    answer_one_by_one = answer_pictures if request.image is not None else answer_samples
    answer_one_by_one(request, Subject.of(source), lambda name: results_folder(request, source, name), console)


def all_checkpoints(source: Origin) -> list[Origin]:
    """Give all checkpoints that lie beside one, those with equal content once.

    Raises:
        UserError: if it lies in no run directory.
    """
    run = source.checkpoint.run
    if run is None:
        raise UserError("history=true follows the checkpoints of a run: name a run directory, checkpoint=RUN")
    files = [CheckpointFile(path, run) for path in sorted(source.checkpoint.path.parent.glob("*.ckpt"), reverse=True)]
    distinct = {file.digest(): file for file in files}
    return [replace(source, checkpoint=file) for file in distinct.values()]


def split_name(request: Request) -> str:
    """Give the name of the folder for a whole split."""
    limit = f"_first_{request.limit}" if request.limit else ""
    return f"{request.split}_{request.named_output}{limit}"


def results_folder(request: Request, source: Origin, name: str) -> Path:
    """Give the folder for the results of one question: the same question always gives the same folder.

    ``RUN/analysis/NAME``, or what the user named. Checkpoints other than the best one, and a network or data changed
    on the command line, have folders of their own.
    """
    if request.output_dir is not None:
        named = Path(request.output_dir).expanduser()
        several = request.samples is not None or request.image is not None
        return named / name if several else named
    checkpoint = source.checkpoint
    prefix = "" if checkpoint.run and checkpoint.path.name == "best.ckpt" else f"{checkpoint.path.stem}_"
    return checkpoint.home / "analysis" / f"{prefix}{name}{_mark(source)}"


def where(cfg: DictConfig) -> "Where":
    """Read where to compute from the trainer's config: ``trainer=ddp`` shares the samples between processes.

    Raises:
        UserError: if the number of processes is not one, or the devices are not there.
    """
    from jacoscope.analysis.stream import Where

    devices = cfg.trainer.devices
    if not str(cfg.trainer.get("strategy", "auto")).startswith("ddp"):
        devices = 1
    if not isinstance(devices, int) or devices < 1:
        raise UserError(f"trainer.devices={devices}: type the number of processes, trainer.devices=2")
    place = Where(cfg.trainer.accelerator, devices)
    place.check()
    return place


def _mark(source: Origin) -> str:
    """Nothing for the run's own config, else a few letters that stand for the changed one."""
    if source.is_the_runs_own:
        return ""
    return "_" + hashlib.sha256(json.dumps(source.config, sort_keys=True).encode()).hexdigest()[:8]
