"""The question about the robustness of several networks: the curves of each, on the same samples, in one figure."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from shlex import quote
from typing import Any

from rich.console import Console

from jacoscope.analysis import robustness_curves as curves
from jacoscope.analysis.figures import rendered
from jacoscope.analysis.folder import AnswerFolder, answer_path, drawn_by, short_digest, shown_from
from jacoscope.analysis.named_networks import folder_of_runs, networks_of
from jacoscope.analysis.network import NetworkSpec, TrainedNetwork
from jacoscope.analysis.question import Question
from jacoscope.analysis.robustness.figure import curves_figure
from jacoscope.analysis.robustness.summary import verdict
from jacoscope.analysis.split import split_folder
from jacoscope.analysis.streaming import Devices
from jacoscope.analysis.terminal import show_files, show_robustness_of_several
from jacoscope.commands import typed
from jacoscope.files import write_whole

STAGE = "comparison"
FILES = (curves.SUMMARY, curves.CURVES, curves.FIGURE)


Specs = Mapping[str, NetworkSpec]
"""What the networks are built from, by their names."""


def answer(question: Question, specs: Sequence[NetworkSpec], devices: Devices, console: Console) -> None:
    """Answer the question about the robustness of several networks.

    The curves of each network are a stage of the answer about its own split, as ``analyze.py checkpoint=RUN`` makes
    them, so that an interrupted comparison continues, and finished curves are used again.

    Raises:
        UserError: if the data of a network have no such split, or the folder cannot be written; what is done is kept.
    """
    networks = {name: spec for (name, _), spec in zip(networks_of(question), specs, strict=True)}
    home = folder_of_runs(question)
    folder = comparison_folder(question, networks, home)
    for number, (name, spec) in enumerate(networks.items(), start=1):
        own = split_folder(_of_one(question), spec)
        if not own.has(curves.STAGE, curves.robustness_asked(question)):
            console.print(f"{number} of {len(networks)}  {name}", highlight=False, markup=False, soft_wrap=True)
            curves.measure(own, _of_one(question), TrainedNetwork.load(spec), devices, console)
    asked = {name: split_folder(_of_one(question), spec).made(curves.STAGE) for name, spec in networks.items()}
    asked["drawn_by"] = {"figure": drawn_by()}
    if not folder.has(STAGE, asked):
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
            f"{typed('runs')} {quote(str(home))} shows these accuracies beside the settings of the runs",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )


def comparison_folder(question: Question, networks: Specs, home: Path | None) -> AnswerFolder:
    """Return the folder of the answer: in the folder of runs, or in the analyses of the first network."""
    decides = {
        "networks": {name: spec.checkpoint.sha256() for name, spec in networks.items()},
        "config": [spec.config for spec in networks.values()],
        **question.scope,
        "robustness": curves.robustness_asked(question),
    }
    scope = f"robustness_{question.split}" + (f"_first_{question.limit}" if question.limit else "")
    if home is not None and question.output_dir is None:
        path = home / "analysis" / scope
    else:
        digest = short_digest([spec.checkpoint.sha256() for spec in networks.values()])
        path = answer_path(question, next(iter(networks.values())), f"compare_{digest}_{scope}", of_run=True)
    return AnswerFolder(path, decides, FILES, is_the_users=question.output_dir is not None)


def _of_one(question: Question) -> Question:
    return Question(
        split=question.split,
        output=question.output,
        strategy=question.strategy,
        limit=question.limit,
        robustness=question.robustness,
    )


def _write(folder: AnswerFolder, question: Question, networks: Specs, home: Path | None) -> None:
    summaries: dict[str, Any] = {}
    for name, spec in networks.items():
        own = split_folder(_of_one(question), spec)
        with shown_from(own.path):
            run = spec.checkpoint.home.resolve()
            summaries[name] = own.json(curves.SUMMARY) | {"run": str(run.relative_to(home.resolve()) if home else run)}
    write_whole(folder.file(curves.SUMMARY), (json.dumps({"networks": summaries}, indent=2) + "\n").encode())
    write_whole(folder.file(curves.CURVES), curves.curves_csv(summaries))
    counts = sorted({summary["samples"] for summary in summaries.values()})
    title = f"{' and '.join(f'{count:,}' for count in counts)} {question.split} samples"
    write_whole(folder.file(curves.FIGURE), rendered(curves_figure(summaries, title)))
