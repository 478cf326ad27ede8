"""Files that belong together: all of them are written, or none."""

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from jacoscope.errors import UserError
from jacoscope.files import remedy


def write_together(folder: Path, contents: Mapping[str, bytes]) -> list[Path]:
    """Write files into a folder; all are on the disk before the first takes its place.

    Args:
        folder: made if it is not there.
        contents: of the files, by their names.

    Returns:
        The files, in the order given.

    Raises:
        UserError: if the folder cannot be written or the disk is full; what was there before is as it was.
    """
    staging: Path | None = None
    there = folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(dir=folder, prefix=".part"))
        for name, content in contents.items():
            with (staging / name).open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        for name in contents:
            (staging / name).replace(folder / name)
    except OSError as error:
        raise UserError(
            f"Cannot write {folder}: {error.strerror or error}. {remedy(error)}, output_dir=FOLDER"
        ) from error
    finally:
        if staging is not None:
            shutil.rmtree(staging, ignore_errors=True)
            if not there and not any(folder.iterdir()):
                folder.rmdir()
    return [folder / name for name in contents]
