"""The question about a whole split: a table of all samples, its summary, adversarial examples, a report."""

import json
import shutil
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from rich.console import Console

from jacoscope.analysis import robustness_curves as curves
from jacoscope.analysis.arrays import JacobianStore, as_npz, holds_arrays, read_arrays
from jacoscope.analysis.attack import SCHEMA, compare_distances, search
from jacoscope.analysis.folder import AnswerFolder, answer_path, drawn_by, shown_from
from jacoscope.analysis.network import NetworkSpec, TrainedNetwork
from jacoscope.analysis.question import Question
from jacoscope.analysis.reduction import MapSums, Reduction
from jacoscope.analysis.report import BESIDE, robustness_section, write_report
from jacoscope.analysis.shown_samples import (
    OF_EACH_RANKING,
    RANKINGS,
    Candidates,
    explored,
    holds_shown_samples,
    kept_arrays,
    kept_beside,
    kept_samples,
)
from jacoscope.analysis.streaming import Devices, Part, Work, chunk_size_for, stream
from jacoscope.analysis.summary import LISTED_COLUMNS, rankings, summarise
from jacoscope.analysis.tables import Column, arrow_schema, as_parquet, as_table, columns, finite_rows, holds_table
from jacoscope.analysis.terminal import progress_bar, show_files, show_robustness, show_summary
from jacoscope.commands import typed
from jacoscope.files import write_whole
from jacoscope.runs.keys import as_typed
from jacoscope.runs.targets import trust_override

TABLE, MAPS, SHOWN, JACOBIANS = "samples.parquet", "maps.npz", "shown_samples.npz", "jacobians.zarr"
ADVERSARIAL, SUMMARY, REPORT = "adversarial.parquet", "summary.json", "report.html"
REPORTED = ("table", "adversarial", curves.STAGE, "summary")
"""The stages that the report is made from."""


def answer(question: Question, specs: Sequence[NetworkSpec], devices: Devices, console: Console) -> None:
    """Answer the question about a whole split.

    Raises:
        UserError: if it cannot be answered; what is done is kept.
    """
    (spec,) = specs
    folder = split_folder(question, spec)
    if to_do(folder, question):
        analyse(folder, question, TrainedNetwork.load(spec), devices, console)
    with shown_from(folder.path):
        show_summary(console, folder.json(SUMMARY))
        if question.robustness:
            show_robustness(console, folder.json(curves.SUMMARY))
    show_files(console, folder.results())


def split_folder(question: Question, spec: NetworkSpec) -> AnswerFolder:
    """Return the folder of the answer.

    Raises:
        UserError: if the user named a folder that holds something else.
    """
    decides = {"checkpoint_sha256": spec.checkpoint.sha256(), "config": spec.config, **question.scope}
    path = answer_path(question, spec, question.scope_name)
    names = (TABLE, SUMMARY, MAPS, SHOWN, ADVERSARIAL, JACOBIANS, *curves.FILES, REPORT, BESIDE)
    return AnswerFolder(path, decides, names, is_the_users=question.output_dir is not None)


def to_do(folder: AnswerFolder, question: Question) -> list[str]:
    """Return the stages that are asked for and not done.

    They are ``table``, ``adversarial``, ``robustness``, ``robustness_figure``, ``summary`` and ``report``.
    """
    stages = []
    # Jacobians that were saved earlier do no harm where they are not asked for.
    if not folder.has("table", _table_asked(question) if question.save_jacobians else None):
        stages.append("table")
    if question.attack and not folder.has("adversarial", question.attack):
        stages.append("adversarial")
    if question.robustness and not folder.has(curves.STAGE, curves.robustness_asked(question)):
        stages.append(curves.STAGE)
    if question.robustness and (curves.STAGE in stages or not _has_figure(folder)):
        stages.append(curves.FIGURE_STAGE)
    if stages or not folder.has("summary", folder.made("table", "adversarial")):
        stages.append("summary")
    if question.report and (stages or not folder.has("report", _report_asked(folder))):
        stages.append("report")
    return stages


def analyse(
    folder: AnswerFolder, question: Question, network: TrainedNetwork, devices: Devices, console: Console
) -> None:
    """Do the stages that are not done yet; each is kept once it is done.

    Args:
        folder: for the results.
        question: the question that it answers.
        network: the network and its data.
        devices: where to compute.
        console: for the progress.

    Raises:
        UserError: if the checkpoint has been replaced meanwhile, the folder cannot be written, or the disk is full.
    """
    network.spec.checkpoint.require(folder.manifest.question["checkpoint_sha256"])  # its run may be training
    about = _about(folder, question, network)
    work = split_table(folder, question, network, about)
    _forget_unsound(work, folder)
    stages = to_do(folder, question)
    for name in sorted(folder.damaged):
        console.print(f"{folder.file(name)} is damaged, and is made again", highlight=False, markup=False)
    if "table" in stages:
        with folder.stage("table", _table_asked(question), [TABLE, MAPS, SHOWN, JACOBIANS]):
            _make_table(work, folder, network, about, devices, console)
        for parts in folder.path.glob("parts_of_*"):  # not before the table is known to be done
            shutil.rmtree(parts, ignore_errors=True)
    if "adversarial" in stages:
        searching = console.status("Searching the nearest adversarial examples")
        with folder.stage("adversarial", question.attack, [ADVERSARIAL]), searching:
            found = search(network, question.split, folder.file(TABLE), question.attack)
            write_whole(folder.file(ADVERSARIAL), as_parquet(found))
    if curves.STAGE in stages:
        curves.measure(folder, question, network, devices, console)
    if curves.FIGURE_STAGE in stages:
        curves.draw(folder)
    # What this start has not computed itself may hold anything.
    reading = nullcontext if "table" in stages else partial(shown_from, folder.path)
    if "summary" in stages and not folder.has("summary", folder.made("table", "adversarial")):
        with folder.stage("summary", folder.made("table", "adversarial"), [SUMMARY]), reading():
            summary = about | summarise(folder.file(TABLE), network.class_names)
            if folder.has("adversarial"):
                summary["adversarial"] = compare_distances(pq.read_table(folder.file(ADVERSARIAL)))
            content = json.dumps(summary, indent=2, allow_nan=False) + "\n"
            write_whole(folder.file(SUMMARY), content.encode())
    if "report" in stages:
        stage = folder.stage("report", _report_asked(folder), [REPORT, BESIDE])
        with stage, console.status("Writing the report"), reading():
            _write_report(work, folder, question, network)


@dataclass(frozen=True)
class SplitTable(Work):
    """The rows of samples.parquet, mean maps for each class, maps of samples to show, and the Jacobians on request.

    Attributes:
        store: for the full Jacobians, if they are wanted.
    """

    store: JacobianStore | None

    @property
    def columns(self) -> list[Column]:
        """The columns of the table."""
        (spec,) = self.specs
        return columns(spec.classes, min(spec.classes, torch.Size(spec.shape).numel()), self.output)

    @property
    def schema(self) -> pa.Schema:
        return arrow_schema(self.columns)

    @cached_property
    def reduction(self) -> Reduction:
        """From images to rows."""
        return Reduction(self.output, self.strategy)

    @cached_property
    def candidates(self) -> Candidates:
        """Which samples may be shown in the end."""
        return Candidates(self.specs[0], self.samples)

    def make(self, networks: Sequence[TrainedNetwork], indices: list[int]) -> Part:
        (network,) = networks
        x, labels = network.read_samples(self.split, indices)
        reduced = self.reduction(network, x, labels)
        if self.store is not None:
            self.store.write(indices[0], reduced.J)
        chosen = self.candidates.choose(indices, reduced.rows)
        kept = kept_arrays(chosen, indices, x, labels, reduced.J, reduced.logits)
        rows = as_table({"index": torch.tensor(indices), **reduced.rows}, self.schema)
        return Part(rows, reduced.sums, kept)


def split_table(folder: AnswerFolder, question: Question, network: TrainedNetwork, about: dict[str, Any]) -> SplitTable:
    """Describe the table that is to be computed.

    Args:
        folder: for the parts.
        question: the question.
        network: the network and its data.
        about: attributes of the full Jacobians.
    """
    spec = network.spec
    dataset: Any = network.split(question.split)
    samples = min(len(dataset), question.limit or len(dataset))
    chunk_size = chunk_size_for(spec, question.chunk_size)
    dtype = question.jacobian_dtype if question.save_jacobians else "none"
    parts = folder.file(f"parts_of_{chunk_size}_jacobians_{dtype}")
    store = None
    if question.save_jacobians:
        shape = (samples, spec.classes, *spec.shape)
        store = JacobianStore(parts / JACOBIANS, shape, dtype, chunk_size, about)
    output, strategy = question.named_output, network.usable_strategy(question.strategy)
    return SplitTable((spec,), question.split, samples, chunk_size, parts, output, strategy, store)


def _forget_unsound(work: SplitTable, folder: AnswerFolder) -> None:
    """Check the sizes of earlier tables and arrays before they are read: somebody else may have written them."""
    samples, spec = work.samples, work.specs[0]
    with torch.device("meta"):  # shapes alone
        maps = {name: total.shape for name, total in MapSums.zero(spec.classes, spec.shape).arrays().items()}
    if folder.has("table") and not (
        holds_table(folder.file(TABLE), work.schema, range(samples, samples + 1))
        and (not spec.keeps_maps or holds_arrays(folder.file(MAPS), maps))
        and holds_shown_samples(folder.file(SHOWN), spec)
    ):
        folder.forget("table")
    if folder.has("adversarial") and not holds_table(folder.file(ADVERSARIAL), SCHEMA, range(samples + 1)):
        folder.forget("adversarial")
    if folder.has(curves.STAGE) and not curves.is_sound(folder):
        folder.forget(curves.STAGE)


def _make_table(
    work: SplitTable,
    folder: AnswerFolder,
    network: TrainedNetwork,
    about: dict[str, Any],
    devices: Devices,
    console: Console,
) -> None:
    if work.store is not None and work.parts.missing() and not work.store.is_as_created():
        work.parts.clear()
        work.store.create()
    with progress_bar(console, "Jacobians", work.samples) as progress:
        stream(work, [network], devices, progress)
    metadata = {f"jacoscope.{name}": str(value) for name, value in about.items()}
    work.parts.merge(folder.file(TABLE), arrow_schema(work.columns, metadata))
    if sums := work.parts.sums():
        count = sums.pop("count")
        share = count.view(-1, 1, 1, 1).reciprocal()  # the maps of a class without samples are NaN
        means = {name: (total * share).float() for name, total in sums.items()}
        write_whole(folder.file(MAPS), as_npz({"count": count, **means}))
    shown = work.parts.kept(_shown(work, folder.file(TABLE)))
    write_whole(folder.file(SHOWN), as_npz(shown))
    if work.store is not None and work.store.path.exists():
        shutil.rmtree(folder.file(JACOBIANS), ignore_errors=True)
        work.store.path.rename(folder.file(JACOBIANS))


def _shown(work: SplitTable, table_file: Path) -> list[int]:
    """Return the indices of the samples that the report shows: in the explorer or in a list."""
    table = finite_rows(table_file, LISTED_COLUMNS)
    ranked = rankings({name: table[name].to_numpy() for name in LISTED_COLUMNS})
    listed = [row["index"] for name in RANKINGS for row in ranked[name][:OF_EACH_RANKING]]
    beside = kept_beside(work.specs[0], work.samples, table)
    return [*explored(work.specs[0], work.samples, ranked, table), *listed, *beside]


def _write_report(work: SplitTable, folder: AnswerFolder, question: Question, network: TrainedNetwork) -> None:
    file, checkpoint = folder.file, network.spec.checkpoint
    scalars = [field.name for field in work.schema if not pa.types.is_nested(field.type)]
    summary, table = folder.json(SUMMARY), finite_rows(file(TABLE), scalars)
    shown = {name: torch.from_numpy(values) for name, values in read_arrays(file(SHOWN)).items()}
    write_report(
        file(REPORT),
        network=str(network.spec.config["model"]["_target_"]).rpartition(".")[2],
        source=f"run {checkpoint.home.resolve().name}" if checkpoint.run else checkpoint.path.name,
        class_names=network.class_names,
        summary=summary,
        table=table,
        maps=read_arrays(file(MAPS)) if network.spec.keeps_maps else None,
        adversarial=pq.read_table(file(ADVERSARIAL)) if folder.has("adversarial") else None,
        robustness=robustness_section(folder.json(curves.SUMMARY), finite_rows(file(curves.TABLE)))
        if folder.has(curves.STAGE)
        else None,
        samples=kept_samples(shown, explored(network.spec, work.samples, summary, table)),
        read_images=lambda indices: network.read_samples(question.split, indices)[0],
        command=f"{command_for(question, network)} sample=",
        about=_described(folder, question, network),
    )


def _table_asked(question: Question) -> dict[str, Any]:
    return {"jacobians": question.jacobian_dtype if question.save_jacobians else None}


def _has_figure(folder: AnswerFolder) -> bool:
    return folder.has(curves.FIGURE_STAGE, curves.figure_asked(folder))


def _report_asked(folder: AnswerFolder) -> dict[str, str]:
    """What the report is made from: the other files, and the code that draws it."""
    return folder.made(*REPORTED) | {"drawn_by": drawn_by()}


def _about(folder: AnswerFolder, question: Question, network: TrainedNetwork) -> dict[str, Any]:
    """What the results are of, for programs."""
    return {
        "output": question.named_output,
        "split": question.split,
        "strategy": network.usable_strategy(question.strategy),
        "checkpoint": str(network.spec.checkpoint.path),
        "checkpoint_sha256": folder.manifest.question["checkpoint_sha256"],
        **network.progress,
    }


def _described(folder: AnswerFolder, question: Question, network: TrainedNetwork) -> dict[str, str]:
    """What was analysed and how, for the reader of the report."""
    spec, manifest = network.spec, folder.manifest
    parameters = sum(parameter.numel() for parameter in network.module.parameters())
    progress = "".join(f", {key.replace('_', ' ')} {value}" for key, value in network.progress.items())
    source = spec.config["data"].get("source", spec.config["data"])["_target_"].rpartition(".")[2]
    count = pq.read_metadata(folder.file(TABLE)).num_rows
    number = f"the first {count:,}" if question.limit else f"all {count:,}"
    words = [f"strategy={question.strategy}", *([f"limit={question.limit}"] if question.limit else [])]
    changed = "" if spec.is_unchanged else ", with model or data as changed then"
    return {
        "network": f"{spec.config['model']['_target_']}, {parameters:,} parameters",
        "checkpoint": f"{spec.checkpoint.path}{progress}, SHA-256 {manifest.question['checkpoint_sha256'][:16]}…",
        "data": f"{source}, {number} samples of the {question.split} split",
        "J": f"∂ {question.named_output} / ∂ pixels in [0, 1], by automatic differentiation in float32, "
        f"strategy {network.usable_strategy(question.strategy)}",
        "time": ", ".join(f"{stage} {spent:.1f} s" for stage, spent in manifest.seconds.items() if spent >= 0.05),
        "versions": ", ".join(f"{name} {version}" for name, version in manifest.versions.items()),
        "to repeat": f"{' '.join((command_for(question, network), *words))}{changed}",
    }


def command_for(question: Question, network: TrainedNetwork) -> str:
    """Return the command that analyses the same network and output."""
    words = [as_typed("checkpoint", str(network.spec.checkpoint.path)), f"split={question.split}"]
    words += [f"output={question.named_output}", *trust_override(question.trust)]
    return " ".join((typed("analyze"), *words))
