"""Pictures that others made: opened only if they are pixels and nothing else, and of a size that fits."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

from jacoscope.errors import UserError

FORMATS = ("PNG", "JPEG", "TIFF", "GIF", "BMP", "WEBP", "PPM")  # not EPS, which Pillow gives to an interpreter to run
MOST_PIXELS = 2**26  # 67 million: more than a phone takes, and at most 2 GB while it is worked on


@contextmanager
def opened(path: Path) -> Iterator[Image.Image]:
    """Open a picture for the body to read; whatever is wrong with it is told in one message.

    Args:
        path: the file.

    Raises:
        UserError: if it is no picture, of another format than ``FORMATS``, damaged, or larger than ``MOST_PIXELS``.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's on size and metadata: what is wrong is refused below
            with Image.open(path, formats=FORMATS) as picture:
                if picture.width * picture.height > MOST_PIXELS:
                    raise Image.DecompressionBombError(f"it is {picture.width}×{picture.height} pixels")
                yield picture
    except Image.DecompressionBombError as error:
        raise UserError(
            f"{path} cannot be read as a picture: {error}, and more than {MOST_PIXELS:,} are too many"
        ) from error
    except Exception as error:  # of a file that lies about its content or size, Pillow raises nearly anything
        reason = str(error)
        if path.is_file():
            reason = "it is damaged, or not a picture" if path.stat().st_size else "the file is empty"
        raise UserError(
            f"{path} cannot be read as a picture: {reason}. {', '.join(FORMATS[:-1])} and {FORMATS[-1]} are understood"
        ) from error
