"""The question about two networks: norms and decisions on the same samples, and the angle between their Jacobians."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from rich.console import Console
from torch import Tensor

from jacoscope.analysis.figures import mean_maps_figure, rendered, scatter_figure
from jacoscope.analysis.folder import AnswerFolder, answer_path, drawn_by, short_digest, shown_from
from jacoscope.analysis.network import NetworkSpec, TrainedNetwork
from jacoscope.analysis.question import Question
from jacoscope.analysis.reduction import Reduction
from jacoscope.analysis.report.comparison_page import write_comparison
from jacoscope.analysis.report.explorer import BESIDE, class_gallery
from jacoscope.analysis.report.networks import OfNetwork, SamplesOfNetworks
from jacoscope.analysis.report.page import MOST_CLASSES
from jacoscope.analysis.shown_samples import (
    KEPT,
    OF_EACH_RANKING,
    Candidates,
    chosen_for_explorer,
    kept_arrays,
    kept_beside,
    kept_samples,
    room_in_explorer,
)
from jacoscope.analysis.split import command_for
from jacoscope.analysis.streaming import Devices, Part, Work, chunk_size_for, stream
from jacoscope.analysis.summary import known, quantiles
from jacoscope.analysis.tables import Column, arrow_schema, as_table, columns, finite_rows, left_out
from jacoscope.analysis.terminal import progress_bar, show_comparison, show_files
from jacoscope.errors import UserError
from jacoscope.files import write_whole
from jacoscope.measures import shown_in

TABLE, SUMMARY, MAPS, SCATTER = "comparison.parquet", "comparison.json", "maps.png", "scatter.png"
REPORT = "report.html"
OF_EACH = ("prediction", "correct", *(measure.name for measure in shown_in("networks")))
"""Columns of samples.parquet that are there for both networks, with ``_a`` or ``_b`` behind the name."""


def answer(question: Question, specs: Sequence[NetworkSpec], devices: Devices, console: Console) -> None:
    """Answer the question about two networks, on the samples of the first one's data.

    Raises:
        UserError: if the networks take different images or have different classes, or it cannot be answered; what is
            done is kept.
    """
    folder = comparison_folder(question, specs)
    if not folder.has("comparison", drawn_by()):
        compare(folder, question, [TrainedNetwork.load(spec) for spec in specs], devices, console)
    with shown_from(folder.path):
        show_comparison(console, folder.json(SUMMARY))
    show_files(console, folder.results())


def comparison_folder(question: Question, specs: Sequence[NetworkSpec]) -> AnswerFolder:
    """Return the folder of the answer, in the analyses of the first network unless the user named one.

    Raises:
        UserError: if the networks take different images or have different classes.
    """
    a, b = (spec.config["images"] for spec in specs)
    for key in ("shape", "classes"):
        if a[key] != b[key]:
            raise UserError(
                f"compare: the networks differ in images.{key}, {a[key]} and {b[key]}: "
                "only networks of the same images and classes can be put side by side"
            )
    decides = {
        "compare": [spec.checkpoint.sha256() for spec in specs],
        "config": [spec.config for spec in specs],
        **question.scope,
    }
    name = f"compare_{short_digest(decides)}_{question.scope_name}"
    path = answer_path(question, specs[0], name, of_run=True)
    return AnswerFolder(
        path, decides, (TABLE, SUMMARY, MAPS, SCATTER, REPORT, BESIDE), is_the_users=question.output_dir is not None
    )


def compare(
    folder: AnswerFolder, question: Question, networks: Sequence[TrainedNetwork], devices: Devices, console: Console
) -> None:
    """Compute the comparison and write its files.

    Raises:
        UserError: if a checkpoint has just been replaced, the folder cannot be written or the disk is full; what is
            done is kept.
    """
    for network, sha256 in zip(networks, folder.manifest.question["compare"], strict=True):
        network.spec.checkpoint.require(sha256)
    dataset: Any = networks[0].split(question.split)
    samples = min(len(dataset), question.limit or len(dataset))
    a, b = (network.spec for network in networks)
    chunk_size = chunk_size_for(a, question.chunk_size)
    parts = folder.file(f"parts_of_{chunk_size}_with_maps")
    output, strategy = question.named_output, networks[0].usable_strategy(question.strategy)
    strategy = networks[1].usable_strategy(strategy)
    work = ComparisonTable((a, b), question.split, samples, chunk_size, parts, output, strategy)
    names = (_name(a, b), _name(b, a))
    with folder.stage("comparison", drawn_by(), folder.names):
        with progress_bar(console, "Jacobians of both", samples) as progress:
            stream(work, networks, devices, progress)
        work.parts.merge(folder.file(TABLE), work.schema)
        about = {
            "checkpoints": [str(spec.checkpoint.path) for spec in (a, b)],
            "split": question.split,
            "output": output,
            "strategy": strategy,
        }
        summary = about | summarise_comparison(folder.file(TABLE))
        sums = work.parts.sums()
        if sums:
            own = own_maps(sums)
            samples_drawn = f", {summary['samples']:,} {question.split} samples"
            rows = {f"{mark}: {name}": maps for mark, name, maps in zip("ab", names, own, strict=True)}
            write_whole(
                folder.file(MAPS), rendered(mean_maps_figure(rows, networks[0].class_names, output, samples_drawn))
            )
        table = finite_rows(folder.file(TABLE))
        write_comparison(
            folder.file(REPORT),
            summary,
            shown_samples(work, table, question, networks, names),
            table["cosine"].to_numpy(),
            a.shape,
            mean_maps(sums, networks[0].class_names) if sums else None,
            lambda indices: networks[0].read_samples(question.split, indices)[0],
        )
        write_whole(folder.file(SCATTER), rendered(scatter_figure(table, names, output)))
        write_whole(folder.file(SUMMARY), (json.dumps(summary, indent=2) + "\n").encode())
    work.parts.clear()


@dataclass(frozen=True)
class ComparisonTable(Work):
    """The rows of comparison.parquet, and sums of maps; ``specs`` are those of the networks a and b."""

    @property
    def schema(self) -> pa.Schema:
        """The columns, with units and meanings."""
        described = {column.name: column for column in columns(2, 2, self.output)}
        of_each = [
            described[name]._replace(name=f"{name}_{mark}", meaning=f"{described[name].meaning}, network {mark}")
            for mark in "ab"
            for name in OF_EACH
        ]
        angle = Column("cosine", pa.float32(), "", "cosine of the angle between both J")
        return arrow_schema([*(described[name] for name in ("index", "label", "finite")), *of_each, angle])

    @cached_property
    def reduction(self) -> Reduction:
        """From images to rows."""
        return Reduction(self.output, self.strategy)

    @cached_property
    def candidates(self) -> Candidates:
        """Which samples may be shown in the end."""
        return Candidates(self.specs[0], self.samples, len(self.specs), scores)

    def make(self, networks: Sequence[TrainedNetwork], indices: list[int]) -> Part:
        x, labels = networks[0].read_samples(self.split, indices)
        values = {"index": torch.tensor(indices), "label": labels, "finite": torch.ones_like(labels, dtype=torch.bool)}
        sums: dict[str, Tensor] = {}
        both, logits = [], []
        for network, mark in zip(networks, "ab", strict=True):
            reduced = self.reduction(network, x, labels)
            values |= {f"{name}_{mark}": reduced.rows[name] for name in OF_EACH}
            values["finite"] = values["finite"] & reduced.rows["finite"]
            sums |= {f"{name}_{mark}": total for name, total in reduced.sums.items()}
            both.append(reduced.J)
            logits.append(reduced.logits)
        values["cosine"] = cosine(*both)
        correct = values["correct_a"] & values["correct_b"]
        chosen = self.candidates.choose(indices, {**values, "correct": correct})
        kept: dict[str, Tensor] = {}
        for mark, J, z in zip("ab", both, logits, strict=True):
            arrays = kept_arrays(chosen, indices, x, labels, J, z)
            kept |= {k if k in ("index", "image") else f"{k}_{mark}": v for k, v in arrays.items()}
        return Part(as_table(values, self.schema), sums, kept)


def cosine(J: Tensor, K: Tensor) -> Tensor:
    r"""Cosine between two Jacobians, :math:`\langle J, K\rangle_F / (\|J\|_F \|K\|_F)`, ``[batch]``.

    0 where either is zero.

    >>> bool(torch.isclose(cosine(torch.ones(1, 2, 3), -2 * torch.ones(1, 2, 3)), torch.tensor(-1.0)))
    True
    """
    return torch.cosine_similarity(J.flatten(1), K.flatten(1), dim=1, eps=torch.finfo(J.dtype).tiny)


def scores(columns: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return what the samples are ranked by: those with the largest numbers are shown."""
    a, b = (columns[f"frobenius_{mark}"].clamp_min(torch.finfo(torch.float32).tiny) for mark in "ab")
    return {
        "the most different directions": -columns["cosine"],
        "much more sensitive in a": a / b,
        "much more sensitive in b": b / a,
        "the most sensitive in a": a,
        "the most sensitive in b": b,
    }


def shown_samples(
    work: ComparisonTable,
    table: pa.Table,
    question: Question,
    networks: Sequence[TrainedNetwork],
    names: tuple[str, str],
) -> SamplesOfNetworks:
    """Return the samples for the page, with the maps that were kept.

    Args:
        work: whose parts are done.
        table: the content of comparison.parquet, without rows that are not finite.
        question: the question.
        networks: a and b.
        names: of the networks.
    """
    spec, columns = work.specs[0], {name: torch.tensor(table[name].to_numpy()) for name in table.column_names}
    index = columns["index"]
    orders = {name: score.argsort(descending=True, stable=True) for name, score in scores(columns).items()}
    best = {name: index[order[:OF_EACH_RANKING]].tolist() for name, order in orders.items()}
    explored = chosen_for_explorer(best, work.samples, table, room_in_explorer(spec, 2))
    both = pa.table({"index": table["index"], "correct": (columns["correct_a"] & columns["correct_b"]).numpy()})
    arrays = work.parts.kept([*explored, *kept_beside(spec, work.samples, both, 2)])
    of_both = []
    for mark, name, network in zip("ab", names, networks, strict=True):
        own = {key: arrays[key if key in ("index", "image") else f"{key}_{mark}"] for key in KEPT}
        kept = {sample.index: sample for sample in kept_samples(own, {})}
        rows = {key: columns[f"{key}_{mark}"].numpy() for key in OF_EACH}
        command = f"{command_for(question, network)} sample="
        of_both.append(OfNetwork(f"{mark}: {name}", mark, command, rows, kept))
    in_page = [number for number in explored if number in of_both[0].kept]
    return SamplesOfNetworks(index.numpy(), columns["label"].numpy(), of_both, in_page, networks[0].class_names)


def own_maps(sums: Mapping[str, Tensor]) -> list[Tensor]:
    """Return the mean derivative of each class's own output in each network, ``[classes, H, W]``."""
    return [(sums[f"own_{mark}"].sum(1) / sums[f"count_{mark}"].view(-1, 1, 1)).float() for mark in "ab"]


def mean_maps(sums: Mapping[str, Tensor], class_names: Sequence[str]) -> dict[str, Any]:
    """Return the pictures of each class for the page: the mean image, and the mean derivatives in both networks."""
    count = sums["count_a"]
    images = (sums["image_a"] / count.view(-1, 1, 1, 1)).float()
    own = dict(zip(("mean derivative in a", "mean derivative in b"), own_maps(sums), strict=True))
    return class_gallery(images, own, count.nonzero().flatten()[:MOST_CLASSES].tolist(), class_names)


def summarise_comparison(file: Path) -> dict[str, Any]:
    """Summarise how the networks differ, all from comparison.parquet.

    Raises:
        UserError: if no sample has a finite Jacobian in both.
    """
    table = finite_rows(file)
    c = {name: table[name].to_numpy() for name in table.column_names}
    right_a, right_b = c["correct_a"].astype(bool), c["correct_b"].astype(bool)
    ratio = c["frobenius_b"] / np.maximum(c["frobenius_a"], np.finfo(np.float32).tiny)
    low, high = quantiles(c["cosine"], [0.05, 0.95])
    return {
        "samples": len(table),
        "left_out": left_out(file),
        "a": _of_one(c, "a"),
        "b": _of_one(c, "b"),
        "agreement": float((c["prediction_a"] == c["prediction_b"]).mean()),
        "only_a_right": int((right_a & ~right_b).sum()),
        "only_b_right": int((right_b & ~right_a).sum()),
        "both_wrong": int((~right_a & ~right_b).sum()),
        "b_more_sensitive": float((c["frobenius_b"] > c["frobenius_a"]).mean()),
        "median_ratio_of_frobenius": _median(ratio),
        "median_cosine": _median(c["cosine"]),
        "cosine_percentile_5": low,
        "cosine_percentile_95": high,
    }


def _of_one(c: dict[str, Any], mark: str) -> dict[str, float | None]:
    medians = {f"median_{measure.name}": _median(c[f"{measure.name}_{mark}"]) for measure in shown_in("networks")}
    return {"accuracy": float(c[f"correct_{mark}"].mean()), **medians}


def _median(values: Any) -> float | None:
    return known(quantiles(values, [0.5])[0])


def _name(spec: NetworkSpec, other: NetworkSpec) -> str:
    """The run, or the checkpoint's own name where both are of one run."""
    mine, theirs = spec.checkpoint, other.checkpoint
    return mine.path.stem if mine.home == theirs.home else mine.home.resolve().name
