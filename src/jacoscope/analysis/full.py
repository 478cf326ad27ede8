"""A whole split: the table, its summary, adversarial examples, the report; each stage kept once it is done."""

import json
import shutil
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from rich.console import Console

from jacoscope.analysis import adversarial
from jacoscope.analysis.earlier import holds_arrays, holds_object, holds_table, read_arrays
from jacoscope.analysis.finite import finite_rows
from jacoscope.analysis.parts import as_npz, as_parquet
from jacoscope.analysis.reduction import MapSums
from jacoscope.analysis.schema import arrow_schema
from jacoscope.analysis.split_folder import ADVERSARIAL, JACOBIANS, MAPS, REPORT, SUMMARY, TABLE, SplitFolder
from jacoscope.analysis.split_table import SplitTable
from jacoscope.analysis.store import JacobianStore
from jacoscope.analysis.stream import Where, chunk_size_for, stream
from jacoscope.analysis.subject import Subject
from jacoscope.analysis.summary import summarise
from jacoscope.analysis.terminal import progress_bar
from jacoscope.files import write_whole
from jacoscope.runs.keys import as_typed
from jacoscope.runs.targets import trust_override


class FullAnalysis:
    """Everything about one split of one checkpoint, in one folder.

    Args:
        folder: for the results, with the question that it answers.
        subject: the network and its data.

    Raises:
        UserError: if the checkpoint has been replaced since the question was put.
    """

    def __init__(self, folder: SplitFolder, subject: Subject) -> None:
        subject.origin.checkpoint.require(folder.manifest.question["checkpoint_sha256"])  # it may be of a running run
        self.folder = folder
        self.request = folder.request
        self.subject = subject
        dataset: Any = subject.split(self.request.split)
        self.samples = min(len(dataset), self.request.limit or len(dataset))

    def run(self, console: Console, where: Where) -> None:
        """Do what is not done yet.

        Raises:
            UserError: if the folder cannot be written or the disk is full; what is done is kept.
        """
        to_do = self.folder.to_do()
        if "table" not in to_do and not self._has_whole_table():
            console.print(f"{self.folder.file(TABLE)} or what belongs to it is damaged, and made anew", markup=False)
            self.folder.discard()
            to_do = self.folder.to_do()
        if "table" in to_do:
            with self.folder.stage("table", self.folder.table_asked()):
                self._make_table(console, where)
            for parts in self.folder.path.glob("parts_*"):  # not before the table is known to be done
                shutil.rmtree(parts, ignore_errors=True)
        if "adversarial" in to_do:
            searching = console.status("Searching the nearest adversarial examples")
            with self.folder.stage("adversarial", self.folder.adversarial_asked()), searching:
                among = finite_rows(self.folder.file(TABLE), ["index"])["index"].to_pylist()
                found = adversarial.search(self.subject, self.request.split, among, self.request.attack)
                write_whole(self.folder.file(ADVERSARIAL), as_parquet(found))
                self._write_summary()
        if "report" in to_do:
            with self.folder.stage("report", self.folder.report_asked()), console.status("Writing the report"):
                if to_do == ["report"]:
                    self._write_summary()  # of the table, which was looked at: the report believes what it says
                self._write_report()

    def _make_table(self, console: Console, where: Where) -> None:
        work = self._work()
        if work.store is not None and work.parts.missing() and not work.store.is_as_created():
            work.parts.clear()
            work.store.create()
        with progress_bar(console, "Jacobians", self.samples) as progress:
            stream(work, [self.subject], where, progress)
        about = {f"jacoscope.{name}": str(value) for name, value in self._about().items()}
        work.parts.merge(self.folder.file(TABLE), arrow_schema(work.columns, about))
        sums = work.parts.sums()
        if sums:
            count = sums.pop("count")
            share = count.view(-1, 1, 1, 1).reciprocal()  # the maps of a class without samples are NaN
            means = {name: (total * share).float() for name, total in sums.items()}
            write_whole(self.folder.file(MAPS), as_npz({"count": count, **means}))
        self._write_summary()
        if work.store is not None and work.store.path.exists():
            shutil.rmtree(self.folder.file(JACOBIANS), ignore_errors=True)
            work.store.path.rename(self.folder.file(JACOBIANS))

    def _work(self) -> SplitTable:
        images = self.subject.origin.config["images"]
        chunk_size = chunk_size_for(images, self.request.chunk_size)
        kept = self.request.jacobian_dtype if self.request.save_jacobians else "none"
        parts = self.folder.file(f"parts_of_{chunk_size}_jacobians_{kept}")
        store = None
        if self.request.save_jacobians:
            shape = (self.samples, images["classes"], *images["shape"])
            store = JacobianStore(parts / JACOBIANS, shape, kept, chunk_size, self._about())
        return SplitTable(
            (self.subject.origin,),
            self.request.split,
            self.samples,
            chunk_size,
            parts,
            self.request.named_output,
            store,
        )

    def _has_whole_table(self) -> bool:
        """Tell whether what an earlier start has found out is what it wrote."""
        file, samples, images = self.folder.file, self.samples, self.subject.origin.config["images"]
        with torch.device("meta"):  # shapes alone
            sums = MapSums.zero(images["classes"], self.subject.shape).arrays()
        shapes = {name: tuple(total.shape) for name, total in sums.items()}
        searched = file(ADVERSARIAL)
        return (
            holds_table(file(TABLE), self._work().schema, range(samples, samples + 1))
            and (not self.subject.origin.keeps_maps or holds_arrays(file(MAPS), shapes))
            and (not searched.exists() or holds_table(searched, adversarial.SCHEMA, range(samples + 1)))
            and holds_object(file(SUMMARY))
        )

    def _write_summary(self) -> None:
        """Write summary.json, every number from the tables alone."""
        summary = {**self._about(), **summarise(self.folder.file(TABLE), self.subject.class_names)}
        searched = self._searched()
        if searched is not None:
            summary["adversarial"] = adversarial.compare_distances(searched)
        content = json.dumps(summary, indent=2, allow_nan=False) + "\n"
        write_whole(self.folder.file(SUMMARY), content.encode())

    def _searched(self) -> pa.Table | None:
        path = self.folder.file(ADVERSARIAL)
        return pq.read_table(path) if path.exists() else None

    def _write_report(self) -> None:
        from jacoscope.analysis.report import write_report

        maps = read_arrays(self.folder.file(MAPS)) if self.folder.file(MAPS).exists() else None
        scalars = [
            field.name for field in pq.read_schema(self.folder.file(TABLE)) if not pa.types.is_nested(field.type)
        ]
        table = finite_rows(self.folder.file(TABLE), scalars)
        path = self.folder.file(REPORT)
        write_report(path, self.subject, self.folder.summary(), table, maps, self._searched(), self._in_words())

    def _in_words(self) -> dict[str, str]:
        """What was analysed and how, for the reader of the report."""
        config, checkpoint = self.subject.origin.config, self.subject.origin.checkpoint
        question, manifest = self.request, self.folder.manifest
        parameters = sum(parameter.numel() for parameter in self.subject.network.parameters())
        progress = "".join(f", {key.replace('_', ' ')} {value}" for key, value in self.subject.progress.items())
        source = config["data"].get("source", config["data"])["_target_"].rpartition(".")[2]
        number = f"the first {self.samples:,}" if question.limit else f"all {self.samples:,}"
        words = [as_typed("checkpoint", str(checkpoint.path)), f"split={question.split}"]
        words += [f"output={question.named_output}"]
        words += [f"limit={question.limit}"] if question.limit else []
        words += trust_override(question.trust)
        again = " ".join(("python analyze.py", *words))
        changed = "" if self.subject.origin.is_the_runs_own else ", with model or data as changed then"
        return {
            "network": f"{config['model']['_target_']}, {parameters:,} parameters",
            "checkpoint": f"{checkpoint.path}{progress}, SHA-256 {manifest.question['checkpoint_sha256'][:16]}…",
            "data": f"{source}, {number} samples of the {question.split} split",
            "J": f"∂ {question.named_output} / ∂ pixels in [0, 1], by automatic differentiation in float32",
            "time": ", ".join(f"{stage} {spent:.1f} s" for stage, spent in manifest.seconds.items() if spent >= 0.05),
            "versions": ", ".join(f"{name} {version}" for name, version in manifest.versions.items()),
            "to repeat": f"{again}{changed}",
        }

    def _about(self) -> dict[str, Any]:
        """What the results are of."""
        checkpoint = self.subject.origin.checkpoint
        return {
            "output": self.request.named_output,
            "split": self.request.split,
            "checkpoint": str(checkpoint.path),
            "checkpoint_sha256": self.folder.manifest.question["checkpoint_sha256"],
            **self.subject.progress,
        }
