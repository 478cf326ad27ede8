"""Files in the format IDX, in which MNIST and its kin are published: is the header true?"""

import struct
from math import prod
from pathlib import Path

from jacoscope.errors import UserError
from jacoscope.files import require_file

UNSIGNED_BYTES = 0x08  # the type of all pixels and labels


def require_idx(path: Path) -> None:
    """Check that a file holds just as many bytes as its header says, before anyone believes the header.

    IDX is two bytes of zero, the type of the numbers, how many dimensions there are, the size of each (four bytes, most
    significant first), then the numbers.

    Args:
        path: the file.

    Raises:
        UserError: if it is cut short, says that it is larger than it is, or is not IDX at all.
    """
    try:
        require_file(path)
        with path.open("rb") as file:
            start = file.read(4)
            dimensions = start[3] if start[:3] == bytes([0, 0, UNSIGNED_BYTES]) and len(start) == 4 else 0
            header = file.read(4 * dimensions)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}. {REMEDY}") from error
    if not 1 <= dimensions <= 3 or len(header) < 4 * dimensions:
        raise UserError(f"{path} cannot be read: it is not an IDX file of bytes. {REMEDY}")
    sizes = struct.unpack(f">{dimensions}I", header)
    announced, there = prod(sizes), path.stat().st_size - 4 - 4 * dimensions
    if announced != there or not there:
        raise UserError(
            f"{path} cannot be read: it says that it holds {'×'.join(map(str, sizes))} bytes, "
            f"but there are {there}. {REMEDY}"
        )


REMEDY = "Delete the folder that it is in and start again"
