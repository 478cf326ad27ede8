"""From a question to its answer: which of the analyses is meant, and where its results go."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from omegaconf import DictConfig
from rich.console import Console

from jacoscope.analysis.checkpoint import CheckpointFile, find_checkpoint
from jacoscope.analysis.comparison_answer import answer_comparison, answer_history
from jacoscope.analysis.full import FullAnalysis
from jacoscope.analysis.picture import find_pictures, in_blocks, looks_inverted, read_picture
from jacoscope.analysis.request import Request
from jacoscope.analysis.single import read_single
from jacoscope.analysis.single_files import save_reading
from jacoscope.analysis.single_terminal import show_files, show_reading
from jacoscope.analysis.subject import Origin, Subject, origin
from jacoscope.data.datamodule import to_pixels
from jacoscope.errors import UserError


def answer(request: Request, cfg: DictConfig, overrides: Iterable[str]) -> None:
    """Answer a question about a checkpoint, in the terminal and in files.

    Args:
        request: the question.
        cfg: the composed config, for what of it describes the network and its data.
        overrides: the words of the command line.

    Raises:
        UserError: if it cannot be answered; nothing half-written is left.
    """
    console = Console()
    if request.compare is not None:
        a, b = (subject_of(given, request, cfg, overrides) for given in request.compare)
        home = a.origin.checkpoint.home / "analysis" if request.output_dir is None else Path(request.output_dir)
        show_files(console, answer_comparison(a, b, *_of_split(request), home, console))
        return
    checkpoint = find_checkpoint(request.checkpoint, cfg.paths.log_dir)
    source = origin(checkpoint, cfg, overrides, request.trust)
    console.print(f"checkpoint  {checkpoint.path}", highlight=False, soft_wrap=True)
    if request.image is not None:
        answer_pictures(request, source.subject(), console)
    elif request.indices is not None:
        answer_samples(request, source.subject(), console)
    elif request.history:
        home = checkpoint.home / "analysis" if request.output_dir is None else Path(request.output_dir)
        subjects = all_checkpoints(source)
        show_files(console, answer_history(subjects, *_of_split(request), home, console))
    else:
        answer_split(request, source.subject(), cfg, console)


def subject_of(given: str, request: Request, cfg: DictConfig, overrides: Iterable[str]) -> Subject:
    """Give the network and data of one of the checkpoints that are compared."""
    return origin(find_checkpoint(given, cfg.paths.log_dir), cfg, overrides, request.trust).subject()


def all_checkpoints(source: Origin) -> list[Subject]:
    """Give the networks of all checkpoints that lie beside one, in the order of training; equal ones once.

    Raises:
        UserError: if it lies in no run directory.
    """
    if source.checkpoint.run is None:
        raise UserError("history=true follows the checkpoints of a run: name a run directory, checkpoint=RUN")
    files = sorted(source.checkpoint.path.parent.glob("*.ckpt"), key=lambda path: (path.name == "last.ckpt", path.name))
    distinct = {CheckpointFile(path, source.checkpoint.run).digest(): path for path in reversed(files)}
    subjects = [
        replace(source, checkpoint=CheckpointFile(path, source.checkpoint.run)).subject() for path in distinct.values()
    ]
    return sorted(subjects, key=lambda subject: subject.progress.get("global_step", -1))


def _of_split(request: Request) -> tuple[str, int | None, str, int]:
    return request.split, request.limit, request.named_output, request.chunk_size


def answer_split(request: Request, subject: Subject, cfg: DictConfig, console: Console) -> None:
    """Analyse a whole split."""
    limit = f"_first_{request.limit}" if request.limit else ""
    name = f"{request.split}_{request.named_output}{limit}"
    full = FullAnalysis(request, subject, results_folder(request, subject.origin, name))
    full.run(console, cfg.trainer.accelerator, processes(cfg))
    full.show(console)
    show_files(console, sorted(path for path in full.folder.iterdir() if not path.name.startswith((".", "parts_"))))


def processes(cfg: DictConfig) -> int:
    """Give how many processes share the samples: those of ``trainer=ddp``, else one."""
    devices = cfg.trainer.devices
    if not str(cfg.trainer.get("strategy", "auto")).startswith("ddp"):
        return 1
    if not isinstance(devices, int) or devices < 1:
        raise UserError(f"trainer.devices={devices}: type the number of processes, trainer.devices=2")
    return devices


def answer_samples(request: Request, subject: Subject, console: Console) -> None:
    """Read samples of a split one by one."""
    dataset = subject.split(request.split)
    size = len(dataset)  # type: ignore[arg-type]
    for index in request.indices or []:
        if not 0 <= index < size:
            raise UserError(f"sample {index} is out of range: the {request.split} split has samples 0 to {size - 1}")
    for index in request.indices or []:
        image, label = dataset[index]
        reading = read_single(subject, to_pixels(image), int(label), request.named_output)
        title = f"{request.split} sample {index}"
        files = save_reading(
            reading,
            subject.class_names,
            title,
            results_folder(request, subject.origin, f"{request.split}_sample_{index}_{request.named_output}"),
        )
        show_reading(console, reading, subject.class_names, title)
        show_files(console, files)


def answer_pictures(request: Request, subject: Subject, console: Console) -> None:
    """Read pictures of the user's own."""
    assert request.image is not None
    images = subject.origin.config["images"]
    paths = find_pictures(request.image)
    pictures = [read_picture(path, subject.shape, request.invert) for path in paths]
    names = subject.class_names
    for path, pixels in zip(paths, pictures, strict=True):
        reading = read_single(subject, pixels, None, request.named_output)
        folder = results_folder(request, subject.origin, f"image_{path.stem}_{request.named_output}")
        files = save_reading(reading, names, path.name, folder)
        console.print(f"\nwhat the network saw of {path} ({pixels.shape[2]}×{pixels.shape[1]}):")
        console.print(in_blocks(pixels), highlight=False)
        if looks_inverted(pixels, sum(images["mean"]) / len(images["mean"])):
            console.print("It looks like dark ink on light paper; the network learnt light on dark: type invert=true")
        show_reading(console, reading, names, path.name)
        show_files(console, files)


def results_folder(request: Request, source: Origin, name: str) -> Path:
    """Give the folder for the results of one question: the same question always gives the same folder.

    ``RUN/analysis/NAME``, or what the user named. Checkpoints other than the best one, and a network or data changed
    on the command line, have folders of their own.
    """
    if request.output_dir is not None:
        return Path(request.output_dir).expanduser() / name if _many(request) else Path(request.output_dir).expanduser()
    checkpoint = source.checkpoint
    prefix = "" if checkpoint.run and checkpoint.path.name == "best.ckpt" else f"{checkpoint.path.stem}_"
    return checkpoint.home / "analysis" / f"{prefix}{name}{_mark(source)}"


def _many(request: Request) -> bool:
    return request.samples is not None or (request.image is not None and len(find_pictures(request.image)) > 1)


def _mark(source: Origin) -> str:
    """Nothing for the run's own config, else a few letters that stand for the changed one."""
    if source.is_the_runs_own:
        return ""
    return "_" + hashlib.sha256(json.dumps(source.config, sort_keys=True).encode()).hexdigest()[:8]
