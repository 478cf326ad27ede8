"""Writing files whole or not at all."""

import os
import tempfile
from pathlib import Path

from jacoscope.errors import UserError


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
        raise UserError(
            f"Cannot write {path}: {error.strerror or error}. Free some space or choose a folder that you may write to."
        ) from error
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


def remove_unfinished(folder: Path) -> None:
    """Remove what writers that were killed have left in a folder: files that :func:`write_whole` never renamed."""
    for part in folder.glob(".*.part"):
        part.unlink(missing_ok=True)
