"""Read and write checkpoint files: written completely or not at all, and read as data, without running code."""

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
from jacoscope.files import require_file, write_whole


class DamagedCheckpointError(UserError):
    """A checkpoint that is cut short or damaged."""


def write_checkpoint(path: Path, content: dict[str, Any], previous: Path | None = None) -> None:
    """Write a checkpoint completely or not at all, as :func:`~jacoscope.files.write_whole` does."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_whole(path, buffer.getbuffer(), previous)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint as data: tensors and plain values. A file that contains code is refused; the code is not run.

    Raises:
        DamagedCheckpointError: if it is cut short, or its checksums do not match.
        UserError: if it does not exist, or contains more than data. The message names the code that it would run.
    """
    try:
        require_file(path)
    except OSError as error:  # a folder, a pipe, a link to nowhere or in a circle
        raise UserError(f"{path} cannot be read as a checkpoint: {error.strerror}") from error
    try:
        with warnings.catch_warnings(), path.open("rb") as file:
            warnings.simplefilter("ignore")  # about pickle protocols; the errors below say more
            _check_sums(file)
            content = torch.load(file, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        raise UserError(_refusal(path, str(error))) from error
    except (FileNotFoundError, PermissionError) as error:
        raise UserError(f"{path} cannot be read as a checkpoint: {error.strerror}") from error
    except Exception as error:  # for a damaged file torch raises exceptions of nearly any type
        reason = "it is empty" if not path.stat().st_size else "it is cut short or damaged"
        raise DamagedCheckpointError(
            f"{path} cannot be read as a checkpoint: {reason}. Use an undamaged copy"
        ) from error
    if not isinstance(content, dict):
        raise UserError(f"{path} holds a {type(content).__name__}, not a checkpoint with weights")
    return content


def _check_sums(file: Any) -> None:
    """Compare the checksums of all parts of the archive, which torch itself does not do."""
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
        f"{path} is refused: {tried}. Only the weights of a checkpoint are read; nothing in it was run. "
        "If it is yours, save its weights again with torch.save(network.state_dict(), FILE)"
    )
