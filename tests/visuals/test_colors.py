"""Colours keep what they promise: a neutral zero, even steps, and signs that everyone can tell apart."""

import colorsys
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from numpy.typing import NDArray
from torch.overrides import TorchFunctionMode

from jacoscope.visuals.colors import MAP_COLORS, NOT_FINITE, diverging, sequential
from jacoscope.visuals.heatmaps import Scale, heatmap, symmetric_limit


def signed(values: torch.Tensor, limit: float, bend: float | None = None) -> NDArray[np.uint8]:
    return heatmap(values, Scale.signed(values, limit=limit, bend=bend))


# sRGB as the cones of dichromats see it, on linear light: Machado, Oliveira & Fernandes, 2009, severity 1.
DICHROMATS = {
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


def linear(rgb: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def lab(light: NDArray[np.float64]) -> NDArray[np.float64]:
    """CIELAB of linear sRGB: another space than the one that the maps are made in."""
    xyz = light @ np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]).T
    f = np.cbrt((xyz / [0.9505, 1.0, 1.089]).clip(1e-6))
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], 1)


def test_zero_is_neutral_and_the_signs_are_equally_dark() -> None:
    colors = np.asarray(diverging().colors)
    middle = colors[len(colors) // 2]
    assert len(colors) % 2 == 1
    assert middle == pytest.approx([middle[0]] * 3, abs=0.005)
    lightness = lab(linear(colors))[:, 0]
    assert lightness == pytest.approx(lightness[::-1], abs=4)
    assert (np.diff(lightness[: len(colors) // 2]) > 0).all()


@pytest.mark.parametrize("colors", [diverging(), sequential()], ids=["diverging", "sequential"])
def test_lightness_changes_evenly(colors: object) -> None:
    lightness = lab(linear(np.asarray(colors.colors)))[:, 0]  # type: ignore[attr-defined]
    steps = np.abs(np.diff(lightness))
    steps = steps[steps > 0]
    assert steps.std() / steps.mean() < 0.25


@pytest.mark.parametrize("kind", DICHROMATS)
def test_signs_are_told_apart_by_colour_blind_readers(kind: str) -> None:
    seen = lab((linear(np.asarray(diverging().colors)) @ np.array(DICHROMATS[kind]).T).clip(0, 1))
    half = len(seen) // 4  # ± half of the limit
    assert np.linalg.norm(seen[0] - seen[-1]) > 40
    assert np.linalg.norm(seen[half] - seen[-1 - half]) > 20


def test_colours_are_what_texts_call_them() -> None:
    (low, high), strong = np.asarray(diverging().colors)[[0, -1]], np.asarray(sequential().colors)[-1]
    for end, color in {"negative": low, "positive": high, "strong": strong}.items():
        named = to_rgb(MAP_COLORS[end].word)  # one of the colours that CSS names
        apart = (colorsys.rgb_to_hsv(*color)[0] - colorsys.rgb_to_hsv(*named)[0] + 0.5) % 1 - 0.5
        assert abs(apart) < 1 / 8, f"{end} is drawn in another hue than {MAP_COLORS[end].word}"


def test_painting_puts_values_at_their_place() -> None:
    table = np.rint(np.asarray(diverging().colors) * 255)
    painted = signed(torch.tensor([[-9.0, -2.0, 0.0, 2.0, torch.nan]]), 2.0)[0]
    assert painted[0].tolist() == painted[1].tolist() == table[0].tolist()
    assert painted[2].tolist() == table[len(table) // 2].tolist()
    assert painted[3].tolist() == table[-1].tolist()
    assert painted[4].tolist() == [NOT_FINITE] * 3
    assert heatmap(torch.zeros(1, 1), Scale.magnitude(torch.zeros(1), limit=1.0))[0, 0].tolist() == painted[2].tolist()


@pytest.mark.parametrize("bend", [1e-4, 0.3, 5.0])
def test_a_bent_scale_is_even_below_the_bend_and_logarithmic_above(bend: float) -> None:
    limit = 2.0
    reach = np.arcsinh(limit / bend)
    table = np.rint(np.asarray(diverging().colors) * 255).astype(int)
    half = len(table) // 2
    shares = np.linspace(-1, 1, 81)
    values = torch.from_numpy(bend * np.sinh(shares * reach))  # the inverse: values whose places are even
    painted = signed(values[None], limit, bend)[0].astype(int)
    assert painted == pytest.approx(table[np.rint(half * (1 + shares)).astype(int)], abs=3)
    assert painted[[0, 40, 80]].tolist() == table[[0, half, -1]].tolist(), "the ends and zero stay where they are"
    beyond = signed(torch.tensor([[-9.0, 9.0, torch.nan]]), limit, bend)[0].tolist()
    assert beyond == [table[0].tolist(), table[-1].tolist(), [NOT_FINITE] * 3]
    if bend > limit:
        assert signed(values[None], limit, bend) == pytest.approx(signed(values[None], limit), abs=6)


def test_the_scale_is_not_set_by_one_pixel_and_always_has_a_length() -> None:
    values = torch.ones(10_000)
    values[0] = 1000.0
    assert symmetric_limit(values) == pytest.approx(1.0)
    for odd in (torch.zeros(5), torch.full((3,), torch.nan), torch.empty(0)):
        assert symmetric_limit(odd) == 1.0
    one = torch.zeros(10_000)
    one[3] = -0.5
    assert symmetric_limit(one) == 0.5


def test_numbers_become_doubles_on_the_cpu_alone() -> None:
    class Calls(TorchFunctionMode):
        """Names of what is called, in order: Apple's GPUs have no float64."""

        def __init__(self) -> None:
            super().__init__()
            self.names: list[str] = []

        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            self.names.append(getattr(func, "__name__", ""))
            return func(*args, **(kwargs or {}))

    for use in (symmetric_limit, lambda values: signed(values, 1.0, bend=0.01)):
        with Calls() as calls:
            use(torch.randn(3, 4, 4))
        assert "cpu" in calls.names[: calls.names.index("double")]
