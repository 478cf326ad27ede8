"""Reading picture files of any origin safely, as 8-bit grey or colour."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from jacoscope.errors import UserError
from jacoscope.files import require_file

FORMATS = ("PNG", "JPEG", "TIFF", "GIF", "BMP", "WEBP", "PPM")  # not EPS, which Pillow lets an interpreter execute
MOST_PIXELS = 2**26  # 67 million: more than a phone's camera has, and at most 2 GB of memory


@contextmanager
def opened(path: Path) -> Iterator[Image.Image]:
    """Open a picture, which the body of the ``with`` statement reads.

    Args:
        path: the file.

    Raises:
        UserError: if the file is not a picture of one of ``FORMATS``, has more than ``MOST_PIXELS``, or is damaged,
            which may only show while the body reads it.
    """
    try:
        require_file(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns about size and metadata; both are checked here
            with Image.open(path, formats=FORMATS) as picture:
                if picture.width * picture.height > MOST_PIXELS:
                    raise Image.DecompressionBombError(f"it is {picture.width}×{picture.height} pixels")
                yield picture
    except Image.DecompressionBombError as error:
        raise UserError(
            f"{path} cannot be read as a picture: {error}, and at most {MOST_PIXELS:,} are allowed"
        ) from error
    except Exception as error:  # Pillow raises nearly anything for a file with a false header
        reason = getattr(error, "strerror", None) or str(error)
        if path.is_file():
            reason = "it is damaged, or not a picture" if path.stat().st_size else "the file is empty"
        raise UserError(
            f"{path} cannot be read as a picture: {reason}. {', '.join(FORMATS[:-1])} and {FORMATS[-1]} can be read"
        ) from error


def plain(picture: Image.Image, channels: int) -> Image.Image:
    """Convert a picture to 8 bits a channel, upright, on a white background.

    Every mode of Pillow can be converted: 16 bits a channel, palettes, CMYK. A stored rotation is applied, transparent
    pixels become white, and of an animation the first picture is used.

    Args:
        picture: an opened picture.
        channels: 1 (grey) or 3 (colour).

    Raises:
        ValueError: if its pixels are NaN or infinite.
    """
    return _eight_bits(ImageOps.exif_transpose(picture)).convert("L" if channels == 1 else "RGB")


def _eight_bits(picture: Image.Image) -> Image.Image:
    """Convert wide modes to 8 bits a channel, which Pillow would clip, and replace transparency by white."""
    if picture.mode.startswith("I") or picture.mode == "F":
        values = np.asarray(picture, dtype=np.float32)
        if not np.isfinite(values).all():
            raise ValueError("NaN or infinite pixels")
        top = 1.0 if picture.mode == "F" and values.max() <= 1 else 255.0 if values.max() <= 255 else 65535.0
        return Image.fromarray((values / top * 255).clip(0, 255).round().astype(np.uint8))
    if picture.has_transparency_data:
        drawing = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", drawing.size, "white"), drawing)
    return picture
