"""Pictures show the values they are given, for any number of classes and channels."""

import io
import warnings
from itertools import combinations
from pathlib import Path
from uuid import uuid4

import matplotlib
import matplotlib.pyplot
import numpy as np
import pytest
import torch
from PIL import Image

from jacoscope.visuals.colors import diverging, sequential
from jacoscope.visuals.figure import jacobian_figure
from jacoscope.visuals.fonts import drawable
from jacoscope.visuals.heatmaps import Scale, heatmap, shrink
from jacoscope.visuals.sheet import RowLabel, compose_sheet, encode_png
from jacoscope.visuals.training_pictures import (
    class_maps_sheet,
    maps_over_epochs,
    probe_sheet,
    sensitivity_overlay,
    spectrum_over_epochs,
)


@pytest.mark.parametrize("channels", [1, 3, 2])
@pytest.mark.parametrize("classes", [2, 10, 37])
def test_every_picture_takes_any_channels_and_classes(channels: int, classes: int) -> None:
    torch.manual_seed(0)
    x, J = torch.rand(4, channels, 12, 9), torch.randn(4, classes, channels, 12, 9)
    p, names = torch.randn(4, classes).softmax(1), [f"class {k}" for k in range(classes)]
    pictures = [
        probe_sheet(x, J, p, [0, 1, None, 1], names, "probs"),
        class_maps_sheet(J[0].abs(), names),
        sensitivity_overlay(x, J[:, 0].abs(), names[:2] * 2),
        maps_over_epochs({1: J[:, 0], 7: J[:, 1]}, x, ["a"] * 4),
        spectrum_over_epochs({1: torch.tensor([3.0, 1.0, 0.0]), 2: torch.tensor([4.0, 2.0, 0.0])}),
    ]
    for picture in pictures:
        assert picture.dtype == np.uint8
        assert picture.shape[2] == 3
        assert picture.std() > 0
        assert max(picture.shape) < 1800


def test_a_sheet_holds_every_map_enlarged_by_whole_pixels() -> None:
    values = torch.tensor([[1.0, -1.0], [0.0, 0.5]])
    tile = heatmap(values, Scale.signed(values, limit=1.0))
    sheet = compose_sheet([[tile, tile]], "title", [RowLabel("row")], ["a", "b"], tile_size=20)
    enlarged = tile.repeat(10, 0).repeat(10, 1)
    windows = np.lib.stride_tricks.sliding_window_view(sheet, enlarged.shape)[:, :, 0]
    assert (windows == enlarged).all((2, 3, 4)).sum() == 2


def test_all_maps_of_a_sheet_share_one_scale() -> None:
    J = torch.zeros(2, 2, 1, 4, 4)
    J[0, 0], J[1, 1] = 1.0, -0.5
    sheet = probe_sheet(torch.zeros(2, 1, 4, 4), J, torch.eye(2), [0, 1], ["a", "b"])
    colors = {tuple(color) for color in sheet.reshape(-1, 3).tolist()}
    table = np.rint(np.asarray(diverging().colors) * 255).astype(int)
    assert tuple(table[-1]) in colors
    assert tuple(table[len(table) // 4]) in colors


@pytest.mark.parametrize(("output", "is_seen"), [("probs", True), ("logits", False)])
def test_certain_samples_are_seen_beside_doubtful_ones(output: str, is_seen: bool) -> None:
    J = torch.zeros(2, 2, 1, 4, 4)
    J[0], J[1] = -1.0, 1e-5  # the derivatives of probabilities shrink with confidence
    sheet = probe_sheet(torch.zeros(2, 1, 4, 4), J, torch.eye(2), [0, 1], ["a", "b"], output)
    maps = sheet[:, : sheet.shape[1] // 2].reshape(-1, 3)  # the colour bar is on the right
    table = Scale.signed(J).table
    raising = {tuple(color) for color in table[len(table) // 2 + 5 :].tolist()}  # pale, but not zero's colour
    assert bool(raising & {tuple(color) for color in maps.tolist()}) == is_seen


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_standardised_images_look_as_they_did_before(channels: int) -> None:
    torch.manual_seed(0)
    x, J = torch.rand(2, channels, 6, 6), torch.randn(2, 2, channels, 6, 6)
    x[:, 0, 0, 0], x[:, -1, 5, 5] = 0.0, 1.0  # the whole range is there

    def sheets(images: torch.Tensor) -> list[np.ndarray]:
        probes = probe_sheet(images, J, torch.eye(2), [0, 1], ["a", "b"])
        return [probes, sensitivity_overlay(images, J[:, 0].abs(), ["a", "b"])]

    for plain, standardised in zip(sheets(x), sheets((x - 0.4) / 0.2), strict=True):
        assert np.abs(plain.astype(int) - standardised).max() <= 1, "but for rounding"
    half = probe_sheet(x / 2, J, torch.eye(2), [0, 1], ["a", "b"])
    assert not np.array_equal(half, sheets(x)[0]), "a dark image stays dark"


def test_large_images_are_averaged_over_blocks() -> None:
    maps = torch.arange(168.0 * 336).reshape(1, 168, 336)
    small = shrink(maps, 84)
    assert small.shape == (1, 42, 84)
    assert torch.allclose(small, maps.unflatten(2, (84, 4)).unflatten(1, (42, 4)).mean((2, 4)))
    assert shrink(maps, 336) is maps
    sheet = probe_sheet(
        torch.rand(10, 3, 224, 224), torch.randn(10, 10, 3, 224, 224), torch.eye(10), range(10), "abcdefghij"
    )
    assert max(sheet.shape) < 1800


def test_values_that_are_not_finite_do_not_spoil_a_sheet() -> None:
    J = torch.randn(2, 2, 1, 4, 4)
    J[0, 0, 0, 0, 0] = torch.nan
    assert probe_sheet(torch.zeros(2, 1, 4, 4), J, torch.eye(2), [0, 1], ["a", "b"]).shape[2] == 3


@pytest.mark.parametrize("shape", [(1, 1), (7, 5), (120, 333)])
def test_a_png_holds_the_very_pixels(shape: tuple[int, int]) -> None:
    picture = torch.randint(0, 256, (*shape, 3), dtype=torch.uint8).numpy()
    decoded = Image.open(io.BytesIO(encode_png(picture)))
    assert decoded.mode == "RGB"
    assert np.array_equal(np.asarray(decoded), picture)


@pytest.mark.parametrize(
    "values",
    [[3.0, 1.0, 0.0], [5.0], [0.0, 0.0], [1e-9, 1e-12], [2.0] * 40, [float(10**-k) for k in range(12)]],
    ids=["falling", "one", "zeros", "tiny", "level", "wide"],
)
def test_a_spectrum_of_any_size_is_drawn_in_the_order_of_its_epochs(values: list[float]) -> None:
    sigma = torch.tensor(values)
    picture = spectrum_over_epochs({1: sigma, 2: 2 * sigma})
    pale, dark = ((picture.astype(int) == shade).all(2) for shade in np.rint(sequential()([0.25, 1.0])[:, :3] * 255))
    assert bool(pale.any() and dark.any())
    assert not (dark | pale)[:36].any(), "nothing runs into the title"


@pytest.mark.parametrize("kind", ["png", "svg"])
def test_a_figure_of_one_sample_is_written(tmp_path: Path, kind: str) -> None:
    figure = jacobian_figure(
        torch.rand(1, 8, 8), torch.randn(10, 1, 8, 8), torch.randn(10).softmax(0), 3, [str(k) for k in range(10)]
    )
    path = tmp_path / f"figure.{kind}"
    figure.savefig(path)
    assert path.stat().st_size > 5000
    assert matplotlib.pyplot.get_fignums() == []


LONG_NAME = "a very long name of a class that someone has typed"


@pytest.mark.parametrize("name", [LONG_NAME, "قطة منزلية صغيرة", r"$\wrong{$", "電子計算機断層撮影法という名前", "<b>"])
def test_titles_of_a_figure_do_not_overlap_whatever_classes_are_called(name: str) -> None:
    names = [f"{name} {k}" for k in range(10)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # where no font has the letters
        figure = jacobian_figure(torch.rand(1, 8, 8), torch.randn(10, 1, 8, 8), torch.full((10,), 0.1), 0, names)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # matplotlib warns of a letter that its fonts lack
        figure.canvas.draw()  # type: ignore[no-untyped-call]
    boxes = [axis.title.get_window_extent() for axis in figure.axes[:-1]]
    assert not any(a.overlaps(b) for a, b in combinations(boxes, 2))


def test_a_class_whose_letters_no_font_has_is_shown_by_its_number_and_said_once() -> None:
    names = ["cat", "Größe", "\U0010fffd", f"{uuid4()}"]  # a letter of private use; and names that are new
    with pytest.warns(UserWarning, match="letters of 1 class names: pictures show numbers, such as class 2 for"):
        assert drawable(names) == (*names[:2], "class 2", names[3])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert drawable(names)[2] == "class 2"


@pytest.mark.parametrize("units", ["∂ logit / ∂ pixel", "∂ probability / ∂ pixel (log scale)"])
def test_the_bar_of_a_low_sheet_is_below_it_and_leaves_no_blank_space(units: str) -> None:
    tile = np.zeros((28, 28, 3), np.uint8)
    scale = Scale(diverging(), -0.18, 0.18, units, bend=1e-6 if "log" in units else None)
    sheet = compose_sheet([[tile] * 11], "title", [RowLabel("9")], scale=scale)
    blank = (sheet == sheet[0, 0]).all((1, 2))
    assert len(sheet) < 5 * 84
    assert max(len(run) for run in "".join(".#"[int(row)] for row in blank).split(".")) < 84
