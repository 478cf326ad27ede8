"""The question about the robustness of several networks: the curves of each, on the same samples, in one figure."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import DictConfig
from rich.console import Console

from jacoscope.analysis import curves
from jacoscope.analysis.figures import rendered
from jacoscope.analysis.folder import AnswerFolder, answer_path, short_digest, shown_from
from jacoscope.analysis.network import NetworkSpec, TrainedNetwork, find_checkpoint, network_spec
from jacoscope.analysis.question import Question
from jacoscope.analysis.robustness.figure import curves_figure
from jacoscope.analysis.robustness.summary import verdict
from jacoscope.analysis.split import split_folder
from jacoscope.analysis.streaming import Devices
from jacoscope.analysis.terminal import show_files, show_robustness_of_several
from jacoscope.comparison.table import RunTable
from jacoscope.errors import UserError
from jacoscope.files import write_whole
from jacoscope.sweeps.directory import DONE

STAGE = "comparison"
FILES = (curves.SUMMARY, curves.CURVES, curves.FIGURE)


class Named(NamedTuple):
    """A network to compare: what it is called, and what it is built from."""

    name: str
    spec: NetworkSpec


def answer_compare_robustness(
    question: Question, cfg: DictConfig, overrides: Iterable[str], devices: Devices, console: Console
) -> None:
    """Answer the question about the robustness of several networks.

    The curves of each network are a stage of the answer about its own split, as ``analyze.py checkpoint=RUN`` makes
    them, so that an interrupted comparison continues, and finished curves are used again.

    Raises:
        UserError: if a network is not found, or its data have no such split; what is done is kept.
    """
    networks, home = find_networks(question, cfg, list(overrides))
    folder = comparison_folder(question, networks, home)
    asked = {"samples": [_done(question, spec) for _, spec in networks]}
    if None in asked["samples"] or not folder.has(STAGE, asked):
        for number, (name, spec) in enumerate(networks, start=1):
            console.print(f"{number} of {len(networks)}  {name}", highlight=False, markup=False, soft_wrap=True)
            own = split_folder(_of_one(question), spec)
            if not own.has(curves.STAGE, curves.robustness_asked(question)):
                curves.measure(own, _of_one(question), TrainedNetwork.load(spec), devices, console)
        asked = {"samples": [_done(question, spec) for _, spec in networks]}
        with folder.stage(STAGE, asked, FILES):
            _write(folder, question, networks, home)
    with shown_from(folder.path):
        summaries = folder.json(curves.SUMMARY)["networks"]
        show_robustness_of_several(console, summaries)
        for name, summary in summaries.items():
            if summary["masked"]["suspected"]:
                console.print(f"{name}: {verdict(summary)}", highlight=False, markup=False, soft_wrap=True)
    show_files(console, folder.results())
    if home is not None:
        console.print(
            f"python -m jacoscope.runs {home} shows these accuracies beside the settings of the runs",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )


def find_networks(question: Question, cfg: DictConfig, overrides: list[str]) -> tuple[list[Named], Path | None]:
    """Return the networks that are compared; a folder of runs, such as a sweep, stands for its finished runs.

    Args:
        question: with the names of runs, checkpoints and folders of runs.
        cfg: the composed config of the analysis.
        overrides: the words of the command line.

    Returns:
        The networks, and the folder of runs, if the question names one and nothing else.

    Raises:
        UserError: if there is no such run, or a folder has no finished one.
    """
    found: list[tuple[str, str]] = []
    named = question.compare or []
    for each in named:
        path = Path(each).expanduser()
        if not _holds_runs(path):
            found.append(("", each))
            continue
        table = RunTable.read(path)
        done = [run for run in table.runs if run.status in DONE]
        if not done:
            raise UserError(f"compare={each}: no run in there is finished")
        found += [(table.describe(run) or run.name, str(run.path)) for run in done]
    networks = []
    for name, where in found:
        checkpoint = find_checkpoint(where, cfg.paths.log_dir)
        spec = network_spec(checkpoint, cfg, overrides, question.trust)
        is_best = checkpoint.run is not None and checkpoint.path.name == "best.ckpt"
        own = checkpoint.home.resolve().name + ("" if is_best else f" {checkpoint.path.stem}")
        networks.append(Named(name or own, spec))
    names = [name for name, _ in networks]
    networks = [
        Named(name if names.count(name) == 1 else f"{name} ({place})", spec)
        for place, (name, spec) in enumerate(networks, start=1)
    ]
    alone = Path(named[0]).expanduser() if len(named) == 1 and _holds_runs(Path(named[0]).expanduser()) else None
    return networks, alone


def comparison_folder(question: Question, networks: Sequence[Named], home: Path | None) -> AnswerFolder:
    """Return the folder of the answer: in the folder of runs, or in the analyses of the first network."""
    decides = {
        "networks": {name: spec.checkpoint.sha256() for name, spec in networks},
        "config": [spec.config for _, spec in networks],
        **question.scope,
        "robustness": curves.robustness_asked(question),
    }
    scope = f"robustness_{question.split}" + (f"_first_{question.limit}" if question.limit else "")
    if home is not None and question.output_dir is None:
        path = home / "analysis" / scope
    else:
        digest = short_digest([spec.checkpoint.sha256() for _, spec in networks])
        path = answer_path(question, networks[0].spec, f"compare_{digest}_{scope}", of_run=True)
    return AnswerFolder(path, decides, FILES, is_the_users=question.output_dir is not None)


def _holds_runs(path: Path) -> bool:
    """Whether a folder holds runs and is none itself."""
    is_run = path.name == "checkpoints" or (path / "result.json").exists() or (path / "checkpoints").exists()
    return path.is_dir() and not is_run and any(path.glob("**/result.json"))


def _of_one(question: Question) -> Question:
    return Question(
        split=question.split,
        output=question.output,
        strategy=question.strategy,
        limit=question.limit,
        robustness=question.robustness,
    )


def _done(question: Question, spec: NetworkSpec) -> int | None:
    """Return how many samples the curves of a network are of; ``None`` if they are not made or not finished."""
    own = split_folder(_of_one(question), spec)
    if not own.has(curves.STAGE):
        return None
    asked = own.manifest.done[curves.STAGE]["asked"]
    if {key: value for key, value in asked.items() if key != "stopped_after"} != curves.robustness_asked(question):
        return None
    return own.json(curves.SUMMARY)["samples"]  # type: ignore[no-any-return]


def _write(folder: AnswerFolder, question: Question, networks: Sequence[Named], home: Path | None) -> None:
    summaries: dict[str, Any] = {}
    for name, spec in networks:
        own = split_folder(_of_one(question), spec)
        with shown_from(own.path):
            run = spec.checkpoint.home.resolve()
            summaries[name] = own.json(curves.SUMMARY) | {"run": str(run.relative_to(home.resolve()) if home else run)}
    write_whole(folder.file(curves.SUMMARY), (json.dumps({"networks": summaries}, indent=2) + "\n").encode())
    write_whole(folder.file(curves.CURVES), curves.curves_csv(summaries))
    counts = sorted({summary["samples"] for summary in summaries.values()})
    title = f"{' and '.join(f'{count:,}' for count in counts)} {question.split} samples"
    write_whole(folder.file(curves.FIGURE), rendered(curves_figure(summaries, title)))
