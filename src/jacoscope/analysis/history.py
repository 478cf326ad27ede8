"""The question about the history of a run: the sensitivity at each of its checkpoints."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from rich.console import Console

from jacoscope.analysis.arrays import read_arrays
from jacoscope.analysis.figures import history_figure, mean_maps_figure, rendered
from jacoscope.analysis.folder import AnswerFolder, answer_path, drawn_by, shown_from
from jacoscope.analysis.network import CheckpointFile, NetworkSpec, TrainedNetwork
from jacoscope.analysis.question import Question
from jacoscope.analysis.report.other_pages import history_page
from jacoscope.analysis.shown_samples import evenly_spread
from jacoscope.analysis.split import MAPS, REPORT, SUMMARY, TABLE, analyse, command_for, split_folder
from jacoscope.analysis.streaming import Devices
from jacoscope.analysis.summary import quantiles
from jacoscope.analysis.tables import as_parquet, finite_rows, holds_table, left_out
from jacoscope.analysis.terminal import show_files, show_history
from jacoscope.errors import UserError
from jacoscope.files import write_whole
from jacoscope.measures import shown_in

HISTORY, CURVES, MAPS_FIGURE = "history.parquet", "history.png", "maps.png"
MAPS_SHOWN = 8
"""Checkpoints whose maps are drawn, at most, evenly spread."""
STATISTICS = {"percentile_5": 0.05, "median": 0.5, "percentile_95": 0.95}
SCHEMA = pa.schema(
    [("checkpoint", pa.string()), ("strategy", pa.string())]
    + [(name, pa.int64()) for name in ("epoch", "global_step", "samples", "left_out")]
    + [("accuracy", pa.float64())]
    + [(f"{measure.name}_{statistic}", pa.float64()) for measure in shown_in("networks") for statistic in STATISTICS]
)


def answer(question: Question, specs: Sequence[NetworkSpec], devices: Devices, console: Console) -> None:
    """Answer the question about all checkpoints of a run.

    Raises:
        UserError: if there is only one checkpoint, or it cannot be answered; what is done is kept.
    """
    (spec,) = specs
    specs = all_checkpoints(spec)
    folder = history_folder(question, specs)
    if not folder.has("history", drawn_by()):
        follow(folder, question, specs, devices, console)
    with shown_from(folder.path):
        if not holds_table(folder.file(HISTORY), SCHEMA, range(1, len(specs) + 1)):
            raise ValueError(f"{HISTORY} is not what was written")
        show_history(console, pq.read_table(folder.file(HISTORY)).to_pylist(), folder.manifest.question)
    show_files(console, folder.results())


def all_checkpoints(spec: NetworkSpec) -> list[NetworkSpec]:
    """Return all checkpoints in the folder of one, those with equal content once.

    Raises:
        UserError: if it is in no run directory.
    """
    run = spec.checkpoint.run
    if run is None:
        raise UserError("history=true follows the checkpoints of a run: name a run directory, checkpoint=RUN")
    files = [CheckpointFile(path, run) for path in sorted(spec.checkpoint.path.parent.glob("*.ckpt"), reverse=True)]
    distinct = {file.sha256(): file for file in files}
    return [replace(spec, checkpoint=file) for file in distinct.values()]


def history_folder(question: Question, specs: Sequence[NetworkSpec]) -> AnswerFolder:
    """Return the folder of the answer, in the run's analyses unless the user named one."""
    decides = {
        "history": [spec.checkpoint.sha256() for spec in specs],
        "config": [spec.config for spec in specs],
        **question.scope,
    }
    path = answer_path(question, specs[0], f"history_{question.scope_name}", of_run=True)
    return AnswerFolder(
        path, decides, (HISTORY, CURVES, MAPS_FIGURE, REPORT), is_the_users=question.output_dir is not None
    )


def follow(
    folder: AnswerFolder, question: Question, specs: Sequence[NetworkSpec], devices: Devices, console: Console
) -> None:
    """Analyse each checkpoint and write the history.

    Each checkpoint gets a table of its own, as ``analyze.py checkpoint=FILE`` computes it, so that an interrupted
    history goes on where it stopped and finished tables are used again.

    Args:
        folder: for the history.
        question: the question.
        specs: the checkpoints.
        devices: where to compute.
        console: for the progress.

    Raises:
        UserError: if there is only one checkpoint, or a folder cannot be written.
    """
    networks = sorted(map(TrainedNetwork.load, specs), key=lambda network: network.spec.checkpoint.path.name)
    distinct = {_step(network): network for network in reversed(networks)}  # best.ckpt before last.ckpt
    if len(distinct) == 1:
        (step,) = distinct
        raise UserError(
            f"history=true follows several checkpoints, and this run has one, of step {step}. "
            "Train with callbacks=[default,every_epoch] to keep one of each epoch"
        )
    table_only = replace(question, history=False, report=False, attack=0, save_jacobians=False, output_dir=None)
    with folder.stage("history", drawn_by(), folder.names):
        rows, maps, map_figure = [], {}, None
        for step in sorted(distinct):
            network = distinct[step]
            folder_of_one = split_folder(table_only, network.spec)
            analyse(folder_of_one, table_only, network, devices, console)
            rows.append(_row(network, folder_of_one))
            if folder_of_one.file(MAPS).exists():
                maps[f"step {step}"] = torch.from_numpy(read_arrays(folder_of_one.file(MAPS))["own"]).sum(1)
        samples, output = f"{rows[0]['samples']:,} {question.split} samples", question.named_output
        if maps:
            drawn = dict(list(maps.items())[place] for place in evenly_spread(len(maps), MAPS_SHOWN))
            figure = mean_maps_figure(drawn, networks[0].class_names, output, f" through training, {samples}")
            map_figure = rendered(figure)
            write_whole(folder.file(MAPS_FIGURE), map_figure)
        commands = {network.spec.checkpoint.path.name: command_for(question, network) for network in distinct.values()}
        name = networks[0].spec.checkpoint.home.resolve().name
        page = history_page(rows, f"The checkpoints of {name}", samples, output, map_figure, commands)
        write_whole(folder.file(REPORT), page)
        write_whole(folder.file(CURVES), rendered(history_figure(rows, samples, output)))
        write_whole(folder.file(HISTORY), as_parquet(pa.Table.from_pylist(rows, SCHEMA)))


def _row(network: TrainedNetwork, folder: AnswerFolder) -> dict[str, Any]:
    table = finite_rows(folder.file(TABLE), ["correct", *(measure.name for measure in shown_in("networks"))])
    row = {
        "checkpoint": network.spec.checkpoint.path.name,
        "strategy": folder.json(SUMMARY)["strategy"],
        "epoch": network.progress.get("epoch", -1),
        "global_step": _step(network),
        "samples": len(table),
        "left_out": left_out(folder.file(TABLE))["samples"],
        "accuracy": float(table["correct"].to_numpy().mean()),
    }
    for measure in shown_in("networks"):
        values = quantiles(table[measure.name].to_numpy(), list(STATISTICS.values()))
        row |= {f"{measure.name}_{name}": value for name, value in zip(STATISTICS, values, strict=True)}
    return row


def _step(network: TrainedNetwork) -> int:
    return network.progress.get("global_step", -1)
