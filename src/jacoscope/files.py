"""Writing files whole or not at all, and opening nothing but files."""

import errno
import os
import stat
import tempfile
from pathlib import Path

from jacoscope.errors import UserError

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class NotAFileError(OSError):
    """A folder, a pipe or a device where a file should be."""


def write_whole(path: Path, content: bytes | memoryview, previous: Path | None = None) -> None:
    """Write ``content`` to ``path`` so that a reader finds the old file or the new one, never a part.

    Written beside the target, synced to disk, then renamed over it. Missing folders are made.

    Args:
        path: the file.
        content: all of it.
        previous: where the old file is kept, if there is one, in the same folder.

    Raises:
        UserError: if the folder cannot be written or the disk is full; the old file is then as it was.
    """
    temporary: str | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        Path(temporary).chmod(0o666 & ~umask)  # mkstemp makes files that others may not read
        if previous is not None and path.exists():
            path.replace(previous)
        Path(temporary).replace(path)
    except OSError as error:
        raise UserError(f"Cannot write {path}: {error.strerror or error}. {remedy(error)}") from error
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


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
