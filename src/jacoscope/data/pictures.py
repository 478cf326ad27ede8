"""Pictures that others made: opened only if they are pixels and nothing else, and of a size that fits."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from jacoscope.errors import UserError
from jacoscope.files import require_file

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
        require_file(path)
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
        reason = getattr(error, "strerror", None) or str(error)
        if path.is_file():
            reason = "it is damaged, or not a picture" if path.stat().st_size else "the file is empty"
        raise UserError(
            f"{path} cannot be read as a picture: {reason}. {', '.join(FORMATS[:-1])} and {FORMATS[-1]} are understood"
        ) from error


def plain(picture: Image.Image, channels: int) -> Image.Image:
    """Give a picture in 8 bits a channel, upright, on white paper, whatever it is stored as.

    Every mode that Pillow knows is understood: 16 bits a channel, palettes, CMYK, a stored rotation; what is
    transparent shows white paper; of an animation, the first picture counts.

    Args:
        picture: as it was opened.
        channels: 1 (grey) or 3 (colour).

    Raises:
        ValueError: if its pixels are NaN or infinite.
    """
    return _eight_bits(ImageOps.exif_transpose(picture)).convert("L" if channels == 1 else "RGB")


def _eight_bits(picture: Image.Image) -> Image.Image:
    """Bring wide modes to 8 bits a channel, where Pillow's own conversion would clip, and lay alpha on white."""
    if picture.mode.startswith("I") or picture.mode == "F":
        values = np.asarray(picture, dtype=np.float32)
        if not np.isfinite(values).all():
            raise ValueError("NaN or infinite pixels")
        top = 1.0 if picture.mode == "F" and values.max() <= 1 else 255.0 if values.max() <= 255 else 65535.0
        return Image.fromarray((values / top * 255).clip(0, 255).round().astype(np.uint8))
    if picture.has_transparency_data:
        drawing = picture.convert("RGBA")
        paper = Image.new("RGBA", drawing.size, "white")
        return Image.alpha_composite(paper, drawing)
    return picture
