"""A whole split: the table, its summary, and on request the full Jacobians, each stage kept once it is done."""

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console

from jacoscope.analysis import adversarial
from jacoscope.analysis.full_terminal import progress_bar, show_summary
from jacoscope.analysis.manifest import Manifest
from jacoscope.analysis.request import Request
from jacoscope.analysis.schema import arrow_schema
from jacoscope.analysis.store import READ_TOGETHER, JacobianStore
from jacoscope.analysis.stream import Plan, stream
from jacoscope.analysis.subject import Subject
from jacoscope.analysis.summary import summarise
from jacoscope.files import write_whole


class FullAnalysis:
    """Everything about one split of one checkpoint, in one folder.

    Args:
        request: the question.
        subject: the network and its data.
        folder: where the results go.
    """

    def __init__(self, request: Request, subject: Subject, folder: Path) -> None:
        self.request = request
        self.subject = subject
        self.folder = folder
        dataset: Any = subject.split(request.split)
        self.samples = min(len(dataset), request.limit or len(dataset))
        self.table_file = folder / "samples.parquet"
        self.maps_file = folder / "maps.npz"
        self.summary_file = folder / "summary.json"
        self.adversarial_file = folder / "adversarial.parquet"
        self.report_file = folder / "report.html"
        self.manifest_file = folder / "analysis.json"
        self.manifest = self._manifest()

    def run(self, console: Console, accelerator: str, devices: int) -> None:
        """Do what is not done yet.

        Raises:
            UserError: if the folder cannot be written or the disk is full; what is done is kept.
        """
        if not self.is_done("table", self._table_request()):
            self.manifest.write(self.manifest_file)  # tells at once whether the folder can be written
            with self.stage("table", self._table_request()):
                self._make_table(console, accelerator, devices)
        wanted = {"samples": self.request.attack, "with": adversarial.has_attack()}
        if self.request.attack and not self.is_done("adversarial", wanted):
            with self.stage("adversarial", wanted), console.status("Searching the nearest adversarial examples"):
                self._search_adversarial()
        state = {key: value for key, value in self.manifest.done.items() if key != "report"}
        if self.request.report and not (self.is_done("report", state) and self.report_file.exists()):
            with self.stage("report", state), console.status("Writing the report"):
                self._write_report()

    def is_done(self, stage: str, asked: Any) -> bool:
        """Tell whether a stage was finished with just this request."""
        return stage in self.manifest.done and bool(self.manifest.done[stage] == asked)

    @contextmanager
    def stage(self, name: str, asked: Any) -> Iterator[None]:
        """Time a stage and note that it is done; what comes after it is to be done again."""
        self.manifest.done.pop(name, None)
        start = time.monotonic()
        try:
            yield
            self.manifest.done[name] = asked
        finally:
            spent = self.manifest.seconds.get(name, 0.0) + time.monotonic() - start
            self.manifest.seconds[name] = round(spent, 3)
            self.manifest.write(self.manifest_file)

    def table(self) -> pa.Table:
        """Read samples.parquet."""
        return pq.read_table(self.table_file)

    def summary(self) -> dict[str, Any]:
        """Read summary.json."""
        return json.loads(self.summary_file.read_text())  # type: ignore[no-any-return]

    def show(self, console: Console) -> None:
        """Print the summary and where the files are."""
        show_summary(console, self.summary(), self.request.named_output, self.request.split)

    def _make_table(self, console: Console, accelerator: str, devices: int) -> None:
        chunk_size = -(-self.request.chunk_size // READ_TOGETHER) * READ_TOGETHER
        images = self.subject.origin.config["images"]
        store = JacobianStore(
            self.folder / "jacobians.zarr",
            (self.samples, images["classes"], *images["shape"]),
            self.request.jacobian_dtype,
            chunk_size,
            self._about(),
        )
        wants_store = self.request.save_jacobians
        plan = Plan(
            self.subject.origin,
            self.request.split,
            self.request.named_output,
            self.samples,
            chunk_size,
            self.folder / f"parts_{chunk_size}_{self.request.jacobian_dtype if wants_store else 'reduced'}",
            store if wants_store else None,
        )
        if wants_store and not (plan.folder.exists() and store.path.exists()):
            plan.parts.clear()
            store.create()
        with progress_bar(console, "Jacobians", self.samples) as progress:
            stream(plan, self.subject, accelerator, devices, progress)
        about = {f"jacoscope.{name}": str(value) for name, value in self._about().items()}
        plan.parts.merge(self.table_file, arrow_schema(plan.columns, about))
        sums = plan.parts.sums()
        if sums is not None:
            count = sums.pop("count")
            shape = (-1, *[1] * (sums["image"].ndim - 1))
            with np.errstate(invalid="ignore"):
                means = {name: (total.numpy() / count.numpy().reshape(shape)) for name, total in sums.items()}
            partial = self.maps_file.with_suffix(".part.npz")
            np.savez(partial, count=count.numpy(), **{k: v.astype(np.float32) for k, v in means.items()})
            partial.replace(self.maps_file)
        summary = {**self._about(), **summarise(self.table(), self.subject.class_names)}
        self._write_summary(summary)
        self.manifest.done.pop("adversarial", None)  # its part of the summary is gone
        plan.parts.clear()

    def _search_adversarial(self) -> None:
        found = adversarial.search(self.subject, self.request.split, self.samples, self.request.attack)
        adversarial.save(found, self.adversarial_file)
        summary = {**self.summary(), "adversarial": adversarial.compare_distances(found)}
        self._write_summary(summary)

    def _write_report(self) -> None:
        from jacoscope.analysis.report import write_report

        maps = np.load(self.maps_file) if self.maps_file.exists() else None
        searched = pq.read_table(self.adversarial_file) if "adversarial" in self.manifest.done else None
        write_report(self.report_file, self.subject, self.summary(), self.table(), maps, searched, self._in_words())

    def _write_summary(self, summary: dict[str, Any]) -> None:
        write_whole(self.summary_file, (json.dumps(summary, indent=2, allow_nan=False) + "\n").encode())

    def _in_words(self) -> dict[str, str]:
        """What was analysed and how, for the reader of the report."""
        config, checkpoint = self.subject.origin.config, self.subject.origin.checkpoint
        parameters = sum(parameter.numel() for parameter in self.subject.network.parameters())
        progress = "".join(f", {key.replace('_', ' ')} {value}" for key, value in self.subject.progress.items())
        source = config["data"].get("source", config["data"])["_target_"].rpartition(".")[2]
        return {
            "network": f"{config['model']['_target_']}, {parameters:,} parameters",
            "checkpoint": f"{checkpoint.path}{progress}, SHA-256 {self.manifest.question['checkpoint_sha256'][:16]}…",
            "data": f"{source}, the first {self.samples:,} samples of its {self.request.split} split",
            "J": f"∂ {self.request.named_output} / ∂ pixels in [0, 1], exact, by automatic differentiation in float32",
            "time": ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in self.manifest.seconds.items()),
            "versions": ", ".join(f"{name} {version}" for name, version in self.manifest.versions.items()),
            "again": f"python analyze.py checkpoint={checkpoint.home} split={self.request.split} "
            f"output={self.request.named_output}",
        }

    def _about(self) -> dict[str, Any]:
        """What the results are of."""
        checkpoint = self.subject.origin.checkpoint
        return {
            "output": self.request.named_output,
            "split": self.request.split,
            "checkpoint": str(checkpoint.path),
            "checkpoint_sha256": self.manifest.question["checkpoint_sha256"],
            **self.subject.progress,
        }

    def _table_request(self) -> dict[str, Any]:
        saved = self.request.jacobian_dtype if self.request.save_jacobians else None
        return {"jacobians": saved}

    def _manifest(self) -> Manifest:
        """Go on with what the folder holds if it answers this question, else begin anew."""
        question = {
            "checkpoint_sha256": self.subject.origin.checkpoint.digest(),
            "config": self.subject.origin.config,
            "split": self.request.split,
            "output": self.request.named_output,
            "samples": self.samples,
        }
        earlier = Manifest.read(self.manifest_file)
        if earlier is not None and earlier.question == question:
            return earlier
        if earlier is not None:
            for parts in self.folder.glob("parts_*"):  # of another checkpoint, interrupted
                shutil.rmtree(parts, ignore_errors=True)
        return Manifest(question)
