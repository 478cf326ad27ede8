"""Pictures as hardly anybody stores them, and files that only say that they are pictures."""

import io
import struct
import zlib
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from PIL import Image

from .damage import png_of, png_that_lies

Content = Callable[[], bytes]

# Dark on the left, middling between, light on the right: what clips or leaves out the alpha shows in the middle.
STRIPES = np.repeat(np.array([[0, 102, 255]], np.uint8), 20, axis=1).repeat(60, axis=0)
MEGABYTE = 2**20


def stored(picture: Image.Image, kind: str, **options: Any) -> bytes:
    """Give a picture as the bytes of a file."""
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def put(content: bytes, at: int, other: bytes) -> bytes:
    """Give ``content`` with some of its bytes replaced."""
    return content[:at] + other + content[at + len(other) :]


def grey() -> Image.Image:
    """Give the stripes."""
    return Image.fromarray(STRIPES)


def moving(kind: str, **options: Any) -> bytes:
    """Give an animation that begins with the stripes and goes on in white."""
    return stored(grey(), kind, save_all=True, append_images=[Image.new("L", (60, 60), 255)] * 3, **options)


def on_its_side() -> bytes:
    turned = grey().transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90° clockwise
    return stored(turned, "PNG", exif=exif)


def black_ink() -> Image.Image:
    """Give black ink that is thick on the left and absent on the right."""
    black = Image.new("L", (60, 60))
    return Image.merge("RGBA", [black, black, black, Image.fromarray(255 - STRIPES)])


def palette(clear: int | bytes | None) -> bytes:
    """Give three colours by their numbers, of which some may be clear."""
    picture = Image.fromarray(np.searchsorted([0, 102, 255], STRIPES).astype(np.uint8), "P")
    white = 0 if clear is not None else 255
    picture.putpalette([0, 0, 0, 102, 102, 102, *[white] * 3])
    return stored(picture, "PNG", **({} if clear is None else {"transparency": clear}))


SAME: dict[str, Content] = {
    "PNG": lambda: stored(grey(), "PNG"),
    "PNG, 16 bits": lambda: stored(Image.fromarray(STRIPES.astype(np.uint16) * 257), "PNG"),
    "PPM, 16 bits": lambda: b"P5 60 60 65535\n" + (STRIPES.astype(">u2") * 257).tobytes(),
    "TIFF, 16 bits": lambda: stored(Image.fromarray(STRIPES.astype(np.uint16) * 257), "TIFF"),
    "TIFF, 32 bits": lambda: stored(Image.fromarray(STRIPES.astype(np.int32) * 257), "TIFF"),
    "TIFF of numbers from 0 to 1": lambda: stored(Image.fromarray(STRIPES.astype(np.float32) / 255), "TIFF"),
    "TIFF of four inks": lambda: stored(grey().convert("CMYK"), "TIFF"),
    "TIFF of brightness and colours": lambda: stored(grey().convert("YCbCr"), "TIFF"),
    "TIFF of several pages": lambda: moving("TIFF"),
    "JPEG": lambda: stored(grey(), "JPEG", quality=95),
    "JPEG of four inks": lambda: stored(grey().convert("CMYK"), "JPEG", quality=95),
    "JPEG, progressive": lambda: stored(grey(), "JPEG", quality=95, progressive=True),
    "GIF, animated": lambda: moving("GIF"),
    "PNG, animated": lambda: moving("PNG"),
    "WEBP, animated": lambda: moving("WEBP", lossless=True),
    "palette": lambda: palette(None),
    "palette with a clear colour": lambda: palette(2),
    "palette with an opacity for each colour": lambda: palette(b"\xff\xff\0"),
    "ink on clear paper": lambda: stored(black_ink(), "PNG"),
    "ink on clear paper, WEBP": lambda: stored(black_ink(), "WEBP", lossless=True),
    "PNG on its side": on_its_side,
}
"""The stripes, all of them."""


def eps() -> bytes:
    return stored(grey().convert("RGB"), "EPS")


PROGRAMS: dict[str, Content] = {
    "EPS": eps,
    "EPS as DOS wraps it": lambda: struct.pack("<7I4x", 0xC6D3D0C5, 32, len(eps()), 0, 0, 0, 0) + eps(),
    "a program in PostScript": lambda: (
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 5 5\n(a) (w) file closefile\n%%EOF\n"
    ),
    "PDF": lambda: stored(grey(), "PDF"),
    "ICO": lambda: stored(grey(), "ICO"),
    "TGA": lambda: stored(grey(), "TGA"),
}
"""What Pillow could open, and is not to."""


def tiff(width: int, height: int, compression: int = 1) -> bytes:
    """Give a TIFF of a hundred bytes that says that it has so many pixels."""
    tags = [(256, width), (257, height), (258, 8), (259, compression), (262, 1), (273, 200), (277, 1), (278, height)]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in [*tags, (279, 10)])
    return b"II*\0" + struct.pack("<IH", 8, 9) + entries + bytes(104)


def webp(width: int, height: int) -> bytes:
    """Give an animation in WebP that says that it has so many pixels, of one small picture."""
    small = stored(Image.new("RGB", (7, 9)), "WEBP", lossless=True)[12:]

    def size(width: int, height: int) -> bytes:
        return struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]

    frame = bytes(6) + size(7, 9) + bytes(4) + small
    chunks = b"VP8X" + struct.pack("<IB3x", 10, 2) + size(width, height) + b"ANIM" + struct.pack("<IIH", 6, 0, 0)
    chunks += b"ANMF" + struct.pack("<I", len(frame)) + frame
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WEBP" + chunks


def gif_of_a_larger_picture() -> bytes:
    """Give a GIF of one pixel with a picture of four billion in it."""
    picture = b"," + struct.pack("<4HB", 0, 0, 65535, 65535, 0) + b"\x02\x02L\x01\0;"
    return b"GIF89a" + struct.pack("<2H", 1, 1) + b"\x80\0\0" + bytes(6) + picture


def jpeg(width: int, height: int) -> bytes:
    """Give a JPEG of a few pixels that says that it has so many."""
    content = stored(grey(), "JPEG")
    return put(content, content.index(b"\xff\xc0") + 5, struct.pack(">HH", height, width))


def bmp(width: int, height: int) -> bytes:
    """Give a BMP of a few pixels that says that it has so many."""
    return put(stored(grey(), "BMP"), 18, struct.pack("<ii", width, height))


REFUSED: dict[str, Content] = {
    **{
        f"{kind} of {side}² pixels": partial(make, side, side)
        for kind, make in {"PNG": png_that_lies, "TIFF": tiff, "WEBP": webp, "JPEG": jpeg, "BMP": bmp}.items()
        for side in (60_000, 10_000, 0)
        if side or kind != "WEBP"  # which counts from one
    },
    "TIFF of 60000² pixels, compressed": lambda: tiff(60_000, 60_000, 5),
    "TIFF of 64 million pixels that are not there": lambda: tiff(8000, 8000),
    "TIFF with a tag of 8 gigabytes": lambda: b"II*\0" + struct.pack("<IHHHII", 8, 1, 256, 4, 2**31, 8) + bytes(4),
    "TIFF whose directories go round": lambda: b"II*\0" + struct.pack("<IHI", 8, 0, 8),
    "GIF of 4 billion pixels": lambda: put(stored(grey(), "GIF"), 6, b"\xff" * 4),
    "GIF with a picture larger than itself": gif_of_a_larger_picture,
    "PPM of 10 billion pixels": lambda: b"P5 99999 99999 255\n0",
    "PPM of no pixels": lambda: b"P5 0 0 255\n",
    "PPM of fewer than no pixels": lambda: b"P5 -7 -9 255\n" + bytes(63),
    "PPM of 64 million pixels that are not there": lambda: b"P5 8000 8000 255\n" + bytes(63),
    "BMP upside down without end": lambda: bmp(7, -(2**31)),
    "PNG with 80 megabytes of text": lambda: png_of(
        7, 9, zlib.compress(bytes(72)), (b"zTXt", b"a\0\0" + zlib.compress(bytes(80 * MEGABYTE)))
    ),
    "TIFF of numbers that are none": lambda: stored(Image.fromarray(np.full((5, 5), np.nan, np.float32)), "TIFF"),
}
"""What lies about its size, or has none."""
