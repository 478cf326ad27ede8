"""The folder of a whole split's analysis: what it is asked for, what of that is still to be done."""

import json
from pathlib import Path
from typing import Any

from jacoscope.analysis.folder import AnswerFolder
from jacoscope.analysis.origin import Origin
from jacoscope.analysis.request import Request

TABLE, MAPS, SUMMARY = "samples.parquet", "maps.npz", "summary.json"
ADVERSARIAL, REPORT, JACOBIANS = "adversarial.parquet", "report.html", "jacobians.zarr"


class SplitFolder(AnswerFolder):
    """Where the answer about one split of one checkpoint lies.

    Args:
        request: the question.
        source: the network and its data.
        path: the folder.
    """

    def __init__(self, request: Request, source: Origin, path: Path) -> None:
        question = {
            "checkpoint_sha256": source.checkpoint.digest(),
            "config": source.config,
            "split": request.split,
            "output": request.named_output,
            "limit": request.limit,
        }
        names = (TABLE, SUMMARY, MAPS, ADVERSARIAL, JACOBIANS, REPORT)
        super().__init__(path, question, names, is_the_users=request.output_dir is not None)
        self.request = request
        self._of_table = (TABLE, SUMMARY, *([MAPS] if source.keeps_maps else []))

    def to_do(self) -> list[str]:
        """Give the stages that are asked for and not done: ``table``, ``adversarial``, ``report``."""
        stages = []
        if not self._has_table():
            stages.append("table")
        if self.request.attack and not self.has("adversarial", self.adversarial_asked(), ADVERSARIAL):
            stages.append("adversarial")
        if self.request.report and (stages or not self.has("report", self.report_asked(), REPORT)):
            stages.append("report")
        return stages

    def table_asked(self) -> dict[str, Any]:
        """What the table is made with."""
        return {"jacobians": self.request.jacobian_dtype if self.request.save_jacobians else None}

    def adversarial_asked(self) -> dict[str, Any]:
        """What the search for adversarial examples is made with."""
        return {"samples": self.request.attack}

    def report_asked(self) -> dict[str, Any]:
        """What the report is made of."""
        return {stage: asked for stage, asked in self.manifest.done.items() if stage != "report"}

    def summary(self) -> dict[str, Any]:
        """Read summary.json."""
        return json.loads(self.file(SUMMARY).read_text())  # type: ignore[no-any-return]

    def _has_table(self) -> bool:
        if not self.request.save_jacobians:  # then Jacobians that were saved earlier do no harm
            return self.has("table", self.manifest.done.get("table"), *self._of_table)
        return self.has("table", self.table_asked(), *self._of_table, JACOBIANS)
