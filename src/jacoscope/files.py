"""Writing files whole or not at all, and opening nothing but files."""

import errno
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from jacoscope.errors import UserError

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class NotAFileError(OSError):
    """A folder, a pipe or a device where a file should be."""


def write_whole(path: Path, content: bytes | memoryview, previous: Path | None = None) -> None:
    """Write ``content`` to ``path`` so that a reader finds the old file or the new one, never a part.

    Args:
        path: the file; missing folders are created.
        content: all of it.
        previous: where the old file is kept, if there is one, in the same folder.

    Raises:
        UserError: if the folder cannot be written or the disk is full; the old file is then as it was.
    """
    with replacement(path, previous) as new:
        new.write_bytes(content)


@contextmanager
def replacement(path: Path, previous: Path | None = None) -> Iterator[Path]:
    """Yield a new, empty file beside ``path`` to write to; at the end it is synced to disk and replaces ``path``.

    Args:
        path: the file; missing folders are created.
        previous: where the old file is kept, if there is one, in the same folder.

    Raises:
        UserError: if the folder cannot be written or the disk is full; the old file is then as it was.
    """
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        os.close(descriptor)
        temporary = Path(name)
        yield temporary
        _sync(temporary)
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)  # mkstemp makes files that others may not read
        if previous is not None and path.exists():
            path.replace(previous)
        temporary.replace(path)
    except OSError as error:
        raise UserError(f"Cannot write {path}: {_reason(error)}. {remedy(error)}") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def write_together(folder: Path, contents: Mapping[str, bytes], advice: str = "") -> list[Path]:
    """Write files that belong together into a folder: all of them, or none.

    All are on the disk before the first one takes its place.

    Args:
        folder: created if it does not exist.
        contents: of the files, by name.
        advice: added to the message of an error: what to type for another folder.

    Returns:
        The files, in the order of ``contents``.

    Raises:
        UserError: if the folder cannot be written or the disk is full; what was there before is then as it was.
    """
    staging: Path | None = None
    is_new = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(dir=folder, prefix=".part"))
        for name, content in contents.items():
            (staging / name).write_bytes(content)
            _sync(staging / name)
        for name in contents:
            (staging / name).replace(folder / name)
    except OSError as error:
        raise UserError(f"Cannot write {folder}: {_reason(error)}. {remedy(error)}{advice}") from error
    finally:
        if staging is not None:
            shutil.rmtree(staging, ignore_errors=True)
            if is_new and not any(folder.iterdir()):
                folder.rmdir()
    return [folder / name for name in contents]


def _sync(path: Path) -> None:
    """Have what was written to a file stored on the disk."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _reason(error: OSError) -> str:
    """Return the system's own words: other libraries have texts of theirs in ``strerror``."""
    return os.strerror(error.errno) if error.errno else str(error)


def remedy(error: OSError) -> str:
    """Say what helps where a file could not be written."""
    return (
        "Free some space, or choose another folder"
        if error.errno in _NO_ROOM
        else "Choose a folder that you may write to"
    )


def remove_unfinished(folder: Path) -> None:
    """Remove what writers that were killed have left in a folder: files that :func:`write_whole` never renamed."""
    for part in folder.glob(".*.part"):
        part.unlink(missing_ok=True)


def require_file(path: Path) -> None:
    """See, before it is opened, that a path is a file: a pipe or a device could be read for ever.

    Raises:
        NotAFileError: if it is something else.
        FileNotFoundError: if it is not there.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise NotAFileError(errno.EINVAL, "it is not a file", str(path))
