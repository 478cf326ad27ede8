"""Write files completely or not at all, and open nothing but regular files."""

import errno
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from jacoscope.errors import UserError

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class NotAFileError(OSError):
    """A folder, a pipe or a device was found where a file should be."""


def write_whole(path: Path, content: bytes | memoryview, previous: Path | None = None) -> None:
    """Write ``content`` to ``path``, with :func:`replacement`: a reader finds the old file or the complete new one."""
    with replacement(path, previous) as new:
        new.write_bytes(content)


@contextmanager
def replacement(path: Path, previous: Path | None = None) -> Iterator[Path]:
    """Yield an empty temporary file in the folder of ``path``; when the body ends, it replaces ``path``.

    It is synced to the disk before it is renamed. If the body raises, it is removed.

    Args:
        path: the file. Missing folders are created.
        previous: if given, the old file is kept there, in the same folder.

    Raises:
        UserError: if the folder cannot be written or the disk is full. The old file is unchanged.

    >>> path = Path(tempfile.mkdtemp()) / "greeting"
    >>> with replacement(path) as new:
    ...     _ = new.write_text("hello")
    >>> path.read_text()
    'hello'
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
    """Write several files into a folder: all of them, or none.

    All of them are on the disk before the first one gets its final name.

    Args:
        folder: created if it does not exist.
        contents: the content of each file, by its name.
        advice: added to the message of an error, such as what to type for another folder.

    Returns:
        The paths of the files, in the order of ``contents``.

    Raises:
        UserError: if the folder cannot be written or the disk is full. Files that existed before are unchanged.
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
    """Wait until the content of a file is on the disk."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _reason(error: OSError) -> str:
    """Return the operating system's reason: some libraries put other texts into ``strerror``."""
    return os.strerror(error.errno) if error.errno else str(error)


def remedy(error: OSError) -> str:
    """Return what to do if a file could not be written."""
    return (
        "Free some space, or choose another folder"
        if error.errno in _DISK_FULL
        else "Choose a folder that you may write to"
    )


def remove_unfinished(folder: Path) -> None:
    """Remove the temporary files that killed processes have left in a folder."""
    for part in folder.glob(".*.part"):
        part.unlink(missing_ok=True)


def require_writable(folder: Path, key: str) -> None:
    """Check that a folder, or the nearest one above that exists, can be written.

    Raises:
        UserError: if it cannot. The message names the ``key`` of the config that names the folder.
    """
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:  # what os.access says is not enough: nobody can write to /proc
        raise UserError(f"{key}={folder} cannot be written: {_reason(error)}. {remedy(error)}") from error


def require_file(path: Path) -> None:
    """Check that a path is a regular file, before it is opened: reading a pipe or a device could take forever.

    Raises:
        NotAFileError: if it is something else.
        FileNotFoundError: if it does not exist.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise NotAFileError(errno.EINVAL, "it is not a file", str(path))
