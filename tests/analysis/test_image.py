from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from jacoscope.analysis.image import looks_inverted, read_picture
from jacoscope.analysis.question import find_pictures
from jacoscope.errors import UserError

SHAPE = (1, 28, 28)


def half(size: tuple[int, int] = (56, 56)) -> np.ndarray:
    """Dark left half, light right half."""
    values = np.zeros((size[1], size[0]), np.uint8)
    values[:, size[0] // 2 :] = 255
    return values


def saved(path: Path, mode: str) -> Path:
    picture = Image.fromarray(half())
    if mode == "I;16":
        picture = Image.fromarray((half().astype(np.uint16)) * 257)
    elif mode == "transparent":
        alpha = Image.fromarray(255 - half())
        picture = Image.merge("LA", (Image.new("L", (56, 56), 0), alpha)).convert("RGBA")
    else:
        picture = picture.convert(mode)
    picture.save(path)
    return path


@pytest.mark.parametrize(
    ("mode", "name"),
    [
        ("L", "a.png"),
        ("1", "a.png"),
        ("P", "a.png"),
        ("RGB", "a.png"),
        ("RGBA", "a.png"),
        ("LA", "a.png"),
        ("I;16", "a.png"),
        ("CMYK", "a.jpg"),
        ("L", "a.jpg"),
        ("F", "a.tiff"),
        ("transparent", "a.png"),
    ],
)
def test_every_mode_gives_the_same_pixels(tmp_path: Path, mode: str, name: str) -> None:
    pixels = read_picture(saved(tmp_path / name, mode), SHAPE, invert=False)
    assert pixels.shape == SHAPE
    assert pixels.dtype == torch.float32
    assert float(pixels[0, :, :12].max()) < 0.03
    assert float(pixels[0, :, 16:].min()) > 0.97


def test_inverting_swaps_dark_and_light(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", "L")
    assert torch.allclose(read_picture(path, SHAPE, True), 1 - read_picture(path, SHAPE, False))


@pytest.mark.parametrize("size", [(1, 1), (300, 20), (20, 300), (2000, 2000)])
def test_any_size_fits_whole_and_is_padded_with_its_rim(tmp_path: Path, size: tuple[int, int]) -> None:
    Image.new("L", size, 200).save(tmp_path / "a.png")
    assert torch.allclose(read_picture(tmp_path / "a.png", SHAPE, False), torch.full(SHAPE, 200 / 255), atol=1e-3)


def test_a_colour_network_gets_three_channels(tmp_path: Path) -> None:
    Image.new("RGB", (40, 30), (255, 0, 0)).save(tmp_path / "a.png")
    pixels = read_picture(tmp_path / "a.png", (3, 32, 32), False)
    assert pixels.shape == (3, 32, 32)
    assert pixels.mean((1, 2)).tolist() == pytest.approx([1, 0, 0])


@pytest.mark.parametrize(("content", "reason"), [(b"", "empty"), (b"not a picture", "not a picture")])
def test_what_is_no_picture_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(UserError, match=reason):
        read_picture(tmp_path / "a.png", SHAPE, False)


def test_a_truncated_picture_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(UserError, match="damaged"):
        read_picture(path, SHAPE, False)


def test_a_pattern_gives_its_files_in_order_and_nothing_is_an_error(tmp_path: Path) -> None:
    for name in ("b.png", "a.png", "c.txt"):
        (tmp_path / name).touch()
    assert [p.name for p in find_pictures(str(tmp_path / "*.png"))] == ["a.png", "b.png"]
    with pytest.raises(UserError, match="no such file"):
        find_pictures(str(tmp_path / "*.jpg"))
    with pytest.raises(UserError, match="is a folder"):
        find_pictures(str(tmp_path))


def test_ink_on_paper_is_noticed() -> None:
    assert looks_inverted(torch.ones(SHAPE), 0.13)
    assert not looks_inverted(torch.zeros(SHAPE), 0.13)
