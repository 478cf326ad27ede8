"""Checkpoint files: written whole or not at all, and read as data, without running anything that is in them."""

import io
import os
import re
import warnings
import zipfile
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from jacoscope.errors import UserError
from jacoscope.files import NotAFileError, require_file, write_whole


class DamagedCheckpointError(UserError):
    """A checkpoint that is cut short or otherwise not what was written."""


def write_checkpoint(path: Path, content: dict[str, Any], previous: Path | None = None) -> None:
    """Write a checkpoint so that there is always a whole one.

    Args:
        path: the file.
        content: tensors and plain values.
        previous: where the file that is replaced is kept.

    Raises:
        UserError: if it cannot be written; the old file is then as it was.
    """
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_whole(path, buffer.getbuffer(), previous)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint as data: tensors and plain values. Code in it is refused, not run.

    Raises:
        DamagedCheckpointError: if it is cut short, or its bytes are not those that were written.
        UserError: if it is not there, or holds more than data; the message names what it would run.
    """
    try:
        require_file(path)
        with warnings.catch_warnings(), path.open("rb") as file:
            warnings.simplefilter("ignore")  # torch's advice on pickle protocols: the errors below say more
            _check_sums(file)
            content = torch.load(file, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        raise UserError(_refusal(path, str(error))) from error
    except (FileNotFoundError, NotAFileError, PermissionError) as error:
        raise UserError(f"{path} cannot be read as a checkpoint: {error.strerror}") from error
    except Exception as error:  # of a file that lies, torch raises nearly anything
        reason = "it is empty" if not path.stat().st_size else "it is cut short or damaged"
        raise DamagedCheckpointError(
            f"{path} cannot be read as a checkpoint: {reason}. Take a whole copy of it"
        ) from error
    if not isinstance(content, dict):
        raise UserError(f"{path} holds a {type(content).__name__}, not a checkpoint with weights")
    return content


def _check_sums(file: Any) -> None:
    """See that every part of the archive is what was written: torch itself does not look at the sums."""
    size = os.fstat(file.fileno()).st_size
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            if sum(part.file_size for part in archive.infolist()) > size:  # torch writes without compression
                raise ValueError("the parts are larger than the file")
            if (broken := archive.testzip()) is not None:
                raise ValueError(f"{broken} is damaged")
    file.seek(0)


def _refusal(path: Path, reason: str) -> str:
    named = re.search(r"(?:unsupported GLOBAL|Unsupported global: GLOBAL|GLOBAL) ([\w.]+)", reason)
    tried = f"it would run {named.group(1)}" if named else "it is a pickle of more than tensors and plain values"
    return (
        f"{path} is refused: {tried}. A checkpoint is read for its weights alone; nothing in it was run. "
        "If it is yours, save its weights again with torch.save(network.state_dict(), FILE)"
    )
