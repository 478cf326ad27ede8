"""analysis.json: which question a folder of results answers, and how far the answer is."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from jacoscope.files import write_whole
from jacoscope.runs.result import installed_versions

FORMAT = 1  # of the tables; raised when their numbers or columns change


@dataclass
class Manifest:
    """What a folder holds.

    Attributes:
        question: all that decides the numbers.
        done: the stages that are finished, each with what it was asked for.
        seconds: how long each stage took, over all starts.
        versions: of Python and of the packages that decide the numbers.
    """

    question: dict[str, Any]
    done: dict[str, Any] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=installed_versions)
    format: int = FORMAT

    @classmethod
    def read(cls, path: Path) -> "Manifest | None":
        """Read it; none where there is none, or none that this version of jacoscope can go on with."""
        try:
            manifest = cls(**json.loads(path.read_text()))
        except (OSError, ValueError, TypeError):
            return None
        return manifest if manifest.format == FORMAT else None

    def write(self, path: Path) -> None:
        """Write it whole or not at all.

        Raises:
            UserError: if the folder cannot be written.
        """
        write_whole(path, (json.dumps(asdict(self), indent=2) + "\n").encode())
