"""The folder of an answer: which question it answers, which stages are done, and whether its files are sound."""

import ast
import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import jacoscope
from jacoscope.analysis.arrays import DAMAGED
from jacoscope.analysis.network import NetworkSpec
from jacoscope.analysis.question import Question
from jacoscope.errors import UserError
from jacoscope.files import write_whole
from jacoscope.runs.records import NOT_A_RECORD, read_json, record
from jacoscope.runs.result import installed_versions

PACKAGE = Path(jacoscope.__file__).parent
COMPUTES = ("jacobians/*.py", "measures.py", "jacobian_batch.py", "analysis/tables.py", "analysis/reduction.py")
"""Files that decide the numbers of an answer."""
DRAWS = ("visuals/*.py", "pages/*.*", "analysis/figures.py", "analysis/robustness/figure.py", "analysis/report/*.*")
"""Files that decide how an answer looks."""


@cache
def computed_by(names: tuple[str, ...] = COMPUTES) -> str:
    """Return a digest of the code that decides the numbers, apart from comments and docstrings.

    An answer with another digest is computed again.

    Args:
        names: of the files that hold the code, or patterns.
    """
    digest = hashlib.sha256()
    for path in sorted(path for name in names for path in PACKAGE.glob(name)):
        tree = ast.parse(path.read_bytes())
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                node.body = [line for line in node.body if not _is_text(line)] or [ast.Pass()]
        digest.update(ast.unparse(tree).encode())
    return digest.hexdigest()[:16]


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


@cache
def drawn_by() -> str:
    """Return a digest of the files that decide colours, figures and pages: with another one they are drawn again."""
    files = sorted(path for pattern in DRAWS for path in PACKAGE.glob(pattern))
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:16]


@dataclass
class Manifest:
    """``analysis.json``: what a folder holds.

    Attributes:
        question: all that decides the numbers.
        measures: :func:`computed_by` of the program that computed them.
        done: for each finished stage, what was ``asked`` for, and the SHA-256 of its ``files``.
        seconds: how long each stage took, over all starts.
        versions: of Python and of the packages that decide the numbers.
    """

    question: dict[str, Any]
    measures: str = field(default_factory=computed_by)
    done: dict[str, Any] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=installed_versions)

    @classmethod
    def read(cls, path: Path) -> "Manifest | None":
        """Read a manifest; ``None`` if there is none, or it cannot be read."""
        try:
            manifest = record(cls, read_json(path))
            is_sound = all(isinstance(stage["files"], dict) and "asked" in stage for stage in manifest.done.values())
        except NOT_A_RECORD:
            return None
        return manifest if is_sound else None


@contextmanager
def shown_from(path: Path) -> Iterator[None]:
    """Turn the errors of a body that shows the files of an answer into one message.

    Raises:
        UserError: if the files do not hold what belongs there.
    """
    try:
        yield
    except (*DAMAGED, AttributeError, ArithmeticError) as error:
        raise UserError(
            f"{path} holds a damaged answer ({type(error).__name__}: {error}). Delete that folder and call again"
        ) from error


class AnswerFolder:
    """A folder with the answer to one question, which is found in stages.

    Each stage writes files of its own. Their digests are kept in the manifest, so that a file that was damaged or taken
    away is noticed, and its stage is done again.

    Args:
        path: the folder; it need not exist yet.
        question: all that decides the numbers, as plain values.
        names: of the files that an answer may consist of.
        is_the_users: whether the user named the folder; then no other answer and no other file in it is replaced.

    Raises:
        UserError: if the user's folder holds the answer to another question, or files of other origin.
    """

    def __init__(self, path: Path, question: dict[str, Any], names: Sequence[str], is_the_users: bool = False) -> None:
        self.path = path
        self.names = names
        self.damaged: set[str] = set()
        earlier = Manifest.read(self.file("analysis.json"))
        is_same = earlier is not None and earlier.question == question
        if is_the_users and not is_same:
            self._refuse_to_replace(earlier, question)
        is_up_to_date = earlier is not None and is_same and earlier.measures == computed_by()
        self.manifest = earlier if earlier is not None and is_up_to_date else Manifest(question)
        self._is_outdated = not is_up_to_date

    def file(self, name: str) -> Path:
        """Return the path of a file in the folder."""
        return self.path / name

    def json(self, name: str) -> dict[str, Any]:
        """Read a JSON file of the answer."""
        return json.loads(self.file(name).read_text())  # type: ignore[no-any-return]

    def results(self) -> list[Path]:
        """Return the files of the answer that exist."""
        return [self.file(name) for name in self.names if self.file(name).exists()]

    def has(self, stage: str, asked: Any = None) -> bool:
        """Check whether a stage is done and its files are as it wrote them.

        Args:
            stage: its name.
            asked: what it was asked for, if that matters.
        """
        done = self.manifest.done.get(stage)
        if done is None or (asked is not None and done["asked"] != asked):
            return False
        wrong = {name for name, sha256 in done["files"].items() if _sha256(self.file(name)) != sha256}
        self.damaged |= {name for name in wrong if self.file(name).exists()}
        return not wrong

    def forget(self, stage: str) -> None:
        """Mark a stage as not done, so that it is done again with all its files."""
        self.damaged |= self.manifest.done.pop(stage)["files"].keys()

    def made(self, *stages: str) -> dict[str, Any]:
        """Return the digests of all files that some stages wrote: what a later stage is made from."""
        return {k: v for stage in stages for k, v in self.manifest.done.get(stage, {"files": {}})["files"].items()}

    @contextmanager
    def stage(self, name: str, asked: Any, files: Sequence[str]) -> Iterator[None]:
        """Time a stage, and note at the end that it is done.

        Args:
            name: of the stage.
            asked: what it is asked for.
            files: that it writes; those that do not exist in the end are not part of the answer.

        Raises:
            UserError: if the folder cannot be written.
        """
        if self.manifest.done.pop(name, None) is not None:
            self.manifest.seconds.pop(name, None)
        self._begin()
        start = time.monotonic()
        try:
            yield
        except BaseException:
            self._add_time(name, start)
            with suppress(UserError):  # the first message is the one that counts
                self._write_manifest()
            raise
        self._add_time(name, start)
        digests = {file: _sha256(self.file(file)) for file in files if self.file(file).exists()}
        self.manifest.done[name] = {"asked": asked, "files": digests}
        self._write_manifest()

    def _begin(self) -> None:
        """Create the folder, and delete the answer to an earlier question."""
        if self._is_outdated:
            for path in (*self.results(), *self.path.glob("parts_*")):
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink()
            self._is_outdated = False
        self._write_manifest()

    def _refuse_to_replace(self, earlier: Manifest | None, question: dict[str, Any]) -> None:
        if earlier is not None:
            different = [key for key in question if question[key] != earlier.question.get(key)]
            raise UserError(
                f"output_dir={self.path} holds the answer to another question (another "
                f"{', another '.join(different)}): name another folder, or delete that one"
            )
        named = [self.file(name) for name in (*self.names, "analysis.json")]
        if there := [path for path in (*named, *self.path.glob("parts_*")) if os.path.lexists(path)]:
            raise UserError(
                f"output_dir={self.path} holds {there[0].name}, which analyze.py did not write: name another folder"
            )

    def _add_time(self, name: str, start: float) -> None:
        spent = self.manifest.seconds.get(name, 0.0) + time.monotonic() - start
        self.manifest.seconds[name] = round(spent, 3)

    def _write_manifest(self) -> None:
        write_whole(self.file("analysis.json"), (json.dumps(asdict(self.manifest), indent=2) + "\n").encode())


def answer_path(question: Question, spec: NetworkSpec, name: str, of_run: bool = False) -> Path:
    """Return the folder for the answer to a question; the same question always has the same folder.

    ``RUN/analysis/NAME``, or the folder that the user named. Checkpoints other than the best one, and a network or
    data changed on the command line, have folders of their own.

    Args:
        question: the question.
        spec: the network that it is about.
        name: of the folder, for the question.
        of_run: whether the answer is about several checkpoints.
    """
    if question.output_dir is not None:
        named = Path(question.output_dir).expanduser()
        return named / name if question.samples is not None or question.image is not None else named
    checkpoint = spec.checkpoint
    if not (of_run or (checkpoint.run and checkpoint.path.name == "best.ckpt")):
        name = f"{checkpoint.path.stem}_{name}"
    if not (of_run or spec.is_unchanged):
        name += f"_{short_digest(spec.config)}"
    return checkpoint.home / "analysis" / name


def short_digest(values: Any) -> str:
    """Return a short digest of plain values."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:8]


def _sha256(path: Path) -> str:
    """Return the SHA-256 of a file, or of the names and contents of all files in a folder; empty if unreadable."""
    digest = hashlib.sha256()
    try:
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file():
                digest.update(str(file.relative_to(path)).encode())
                with file.open("rb") as content:
                    while piece := content.read(1 << 20):
                        digest.update(piece)
            elif not file.is_dir():
                return ""
    except OSError:
        return ""
    return digest.hexdigest()
