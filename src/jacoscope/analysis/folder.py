"""The folder that holds the answer to one question: which question, and how far the answer is.

Plain files and plain values: a finished answer is found here, and shown, without torch being imported.
"""

import json
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from jacoscope.errors import UserError
from jacoscope.files import write_whole
from jacoscope.runs.records import UNREADABLE, read_json, record
from jacoscope.runs.result import installed_versions

FORMAT = 4  # of the results; raised when their numbers or columns change


@dataclass
class Manifest:
    """``analysis.json``: what a folder holds.

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
        """Read it; none where there is none that can be read."""
        try:
            return record(cls, read_json(path))
        except UNREADABLE:
            return None


@contextmanager
def believed(path: Path) -> Iterator[None]:
    """Tell in words where what an earlier start wrote, and the body shows, is damaged.

    Raises:
        UserError: if it is.
    """
    try:
        yield
    except (*UNREADABLE, LookupError, ArithmeticError) as error:
        raise UserError(
            f"{path} holds a damaged answer ({type(error).__name__}: {error}). Delete that folder and call again"
        ) from error


class AnswerFolder:
    """A folder of results.

    Args:
        path: the folder; it need not exist yet.
        question: all that decides the numbers, as plain values.
        names: of the files that an answer may consist of.
        is_the_users: whether the user named the folder; then the answer to another question is not replaced.

    Raises:
        UserError: if the user's folder holds the answer to another question.
    """

    def __init__(self, path: Path, question: dict[str, Any], names: Sequence[str], is_the_users: bool = False) -> None:
        self.path = path
        self.names = names
        self.manifest_file = path / "analysis.json"
        earlier = Manifest.read(self.manifest_file)
        if earlier is not None and earlier.question != question and is_the_users:
            different = [key for key in question if question[key] != earlier.question.get(key)]
            raise UserError(
                f"output_dir={path} holds the answer to another question (another {', another '.join(different)}): "
                "name another folder, or delete that one"
            )
        fits = earlier is not None and earlier.format == FORMAT and earlier.question == question
        self.manifest = earlier if earlier is not None and fits else Manifest(question)
        self._is_foreign = not fits

    def file(self, name: str) -> Path:
        """Give the path of a file in it."""
        return self.path / name

    def results(self) -> list[Path]:
        """Give the files of the answer that are there."""
        return [self.file(name) for name in self.names if self.file(name).exists()]

    def has(self, stage: str, asked: Any, *names: str) -> bool:
        """Tell whether a stage was finished with just this request, and its files are still there."""
        done = self.manifest.done
        return stage in done and bool(done[stage] == asked) and all(self.file(name).exists() for name in names)

    def discard(self) -> None:
        """Take the answer that is there for none, so that it is cleared away and found anew."""
        self.manifest, self._is_foreign = Manifest(self.manifest.question), True

    def begin(self) -> None:
        """Make the folder, and clear away the answer to an earlier question.

        Raises:
            UserError: if the folder cannot be written.
        """
        if self._is_foreign:
            for path in (*self.results(), *self.path.glob("parts_*")):
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink()
            self._is_foreign = False
        self._write_manifest()

    @contextmanager
    def stage(self, name: str, asked: Any) -> Iterator[None]:
        """Time a stage, and note when it is done."""
        if self.manifest.done.pop(name, None) is not None:
            self.manifest.seconds.pop(name, None)  # done before, it is done anew
        self.begin()  # tells at once whether the folder can be written
        start = time.monotonic()
        try:
            yield
        except BaseException:
            self._spent(name, start)
            with suppress(UserError):  # the first message is the one that counts
                self._write_manifest()
            raise
        self._spent(name, start)
        self.manifest.done[name] = asked
        self._write_manifest()

    def _spent(self, name: str, start: float) -> None:
        spent = self.manifest.seconds.get(name, 0.0) + time.monotonic() - start
        self.manifest.seconds[name] = round(spent, 3)

    def _write_manifest(self) -> None:
        write_whole(self.manifest_file, (json.dumps(asdict(self.manifest), indent=2) + "\n").encode())
