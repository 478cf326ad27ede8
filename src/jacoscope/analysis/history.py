"""The question about the history of a run: the sensitivity at each of its checkpoints."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import reduce
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from rich.console import Console

from jacoscope.analysis.arrays import read_arrays
from jacoscope.analysis.figures import history_figure, mean_maps_figure, rendered
from jacoscope.analysis.folder import AnswerFolder, answer_path, drawn_by, shown_from
from jacoscope.analysis.network import CheckpointFile, NetworkSpec, TrainedNetwork
from jacoscope.analysis.question import Question
from jacoscope.analysis.report import BESIDE, Sample
from jacoscope.analysis.report.explorer import class_gallery
from jacoscope.analysis.report.history_page import write_history
from jacoscope.analysis.report.networks import MEASURES_SHOWN, OfNetwork, SamplesOfNetworks
from jacoscope.analysis.report.page import MOST_CLASSES
from jacoscope.analysis.shown_samples import kept_samples, room_beside, room_in_explorer
from jacoscope.analysis.split import MAPS, REPORT, SHOWN, SUMMARY, TABLE, analyse, command_for, split_folder
from jacoscope.analysis.streaming import Devices
from jacoscope.analysis.summary import quantiles
from jacoscope.analysis.tables import as_parquet, evenly_spread, finite_rows, holds_table, left_out
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
        path, decides, (HISTORY, CURVES, MAPS_FIGURE, REPORT, BESIDE), is_the_users=question.output_dir is not None
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
        rows, folders = [], {}
        for step in sorted(distinct):
            network = distinct[step]
            folder_of_one = split_folder(table_only, network.spec)
            analyse(folder_of_one, table_only, network, devices, console)
            rows.append(_row(network, folder_of_one))
            folders[step] = folder_of_one
        samples, output = f"{rows[0]['samples']:,} {question.split} samples", question.named_output
        drawn = [sorted(distinct)[place] for place in evenly_spread(len(distinct), MAPS_SHOWN)]
        maps = {
            f"step {step}": read_arrays(folders[step].file(MAPS)) for step in drawn if folders[step].file(MAPS).exists()
        }
        if maps:
            own = {name: torch.from_numpy(arrays["own"]).sum(1) for name, arrays in maps.items()}
            figure = mean_maps_figure(own, networks[0].class_names, output, f" through training, {samples}")
            write_whole(folder.file(MAPS_FIGURE), rendered(figure))
        shown = {step: (distinct[step], folders[step]) for step in drawn}
        write_history(
            folder.file(REPORT),
            rows,
            shown_samples(question, shown),
            title=f"The checkpoints of {networks[0].spec.checkpoint.home.resolve().name}",
            about=samples,
            output=output,
            shape=networks[0].spec.shape,
            gallery=mean_maps(maps, networks[0].class_names) if maps else None,
            commands={
                network.spec.checkpoint.path.name: command_for(question, network) for network in distinct.values()
            },
            read_images=lambda indices: networks[0].read_samples(question.split, indices)[0],
        )
        write_whole(folder.file(CURVES), rendered(history_figure(rows, samples, output)))
        write_whole(folder.file(HISTORY), as_parquet(pa.Table.from_pylist(rows, SCHEMA)))


def shown_samples(question: Question, shown: Mapping[int, tuple[TrainedNetwork, AnswerFolder]]) -> SamplesOfNetworks:
    """Return the samples for the page, with the maps that each checkpoint's own analysis kept.

    Samples whose Jacobian is not finite at one of the checkpoints are left out.

    Args:
        question: the question.
        shown: the network and its table, by its step.
    """
    networks, folders = zip(*shown.values(), strict=True)
    names = ["index", "label", "prediction", "correct", *MEASURES_SHOWN]
    tables = [finite_rows(folder.file(TABLE), names) for folder in folders]
    index = reduce(np.intersect1d, [table["index"].to_numpy() for table in tables])
    kept = [_kept(folder, set(index.tolist())) for folder in folders]
    times = Counter(number for of_one in kept for number in of_one)
    spec, count = networks[0].spec, len(networks)
    room = room_in_explorer(spec, count)
    chosen = sorted(times, key=lambda number: (-times[number], number))[: room + room_beside(spec, count)]
    of_checkpoints, labels = [], index[:0]
    for step, network, table, samples in zip(shown, networks, tables, kept, strict=True):
        rows = table.take(pa.array(np.searchsorted(table["index"].to_numpy(), index)))
        columns, labels = {name: rows[name].to_numpy() for name in names}, rows["label"].to_numpy()
        command = f"{command_for(question, network)} sample="
        title, own = f"step {step:,}", {number: samples[number] for number in chosen if number in samples}
        of_checkpoints.append(OfNetwork(title, title, command, columns, own))
    return SamplesOfNetworks(index, labels, of_checkpoints, chosen[:room], networks[0].class_names)


def _kept(folder: AnswerFolder, indices: set[int]) -> dict[int, Sample]:
    """Return the samples with maps of one checkpoint's analysis, as far as they are among some indices."""
    arrays = {name: torch.from_numpy(values) for name, values in read_arrays(folder.file(SHOWN)).items()}
    return {sample.index: sample for sample in kept_samples(arrays, {}) if sample.index in indices}


def mean_maps(maps: Mapping[str, Mapping[str, Any]], class_names: Sequence[str]) -> dict[str, Any]:
    """Return the pictures of each class for the page: the mean image, and the mean derivative at each checkpoint.

    Args:
        maps: the content of maps.npz of each checkpoint, by its title.
        class_names: one for each class.
    """
    first = next(iter(maps.values()))
    own = {f"mean derivative at {name}": torch.from_numpy(arrays["own"]).sum(1) for name, arrays in maps.items()}
    present = np.flatnonzero(first["count"])[:MOST_CLASSES].tolist()
    return class_gallery(torch.from_numpy(first["image"]), own, present, class_names)


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
