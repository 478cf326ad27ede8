import math

import pytest
import torch
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2.functional import affine

from jacoscope.data import RandomAffine, RandomDistortion, RandomElastic


def digits(samples: int = 8, height: int = 28, width: int = 28) -> torch.Tensor:
    """Smooth blobs well inside the picture, so that nothing is lost at the border."""
    generator = torch.Generator().manual_seed(0)
    y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    centre = 0.3 * torch.rand(samples, 2, 1, 1, generator=generator) - 0.15
    return torch.exp(-20 * ((x - centre[:, :1]) ** 2 + 2 * (y - centre[:, 1:]) ** 2))


@pytest.mark.parametrize(
    ("transform", "torchvisions"),
    [
        (RandomAffine(degrees=30), lambda d: {"angle": -30 * d[0]}),
        (RandomAffine(translate=0.25), lambda d: {"translate": [-7 * d[4], -7 * d[5]]}),
        (RandomAffine(scale=(1.25, 1.25)), lambda d: {"scale": 1.25}),
    ],
    ids=["rotation", "shift", "zoom"],
)
def test_each_image_is_distorted_as_torchvision_would_distort_it_alone(transform, torchvisions) -> None:  # type: ignore[no-untyped-def]
    x = digits()
    torch.manual_seed(5)
    ours = transform(x)
    torch.manual_seed(5)
    draws = 2 * torch.rand(6, len(x)) - 1
    neutral = {"angle": 0.0, "translate": [0.0, 0.0], "scale": 1.0, "shear": [0.0, 0.0]}
    for image, result, draw in zip(x, ours, draws.T.tolist(), strict=True):
        arguments = {**neutral, **torchvisions(draw)}
        alone = affine(image, interpolation=InterpolationMode.BILINEAR, **arguments)
        torch.testing.assert_close(result, alone, atol=2e-3, rtol=0)


@pytest.mark.parametrize("shape", [(28, 28), (20, 40)])
def test_rotation_and_shear_keep_areas_also_where_pictures_are_not_square(shape: tuple[int, int]) -> None:
    x = digits(64, *shape)
    torch.manual_seed(0)
    y = RandomAffine(degrees=45, shear=20)(x)
    torch.testing.assert_close(y.sum((1, 2, 3)), x.sum((1, 2, 3)), rtol=0.05, atol=0)


def test_zoom_changes_areas_by_the_product_of_both_axes_within_the_range() -> None:
    x = digits(64)
    torch.manual_seed(0)
    ratio = RandomAffine(scale=(0.8, 1.25))(x).sum((1, 2, 3)) / x.sum((1, 2, 3))
    assert ratio.min() >= 0.8**2 * 0.98
    assert ratio.max() <= 1.25**2 * 1.02
    assert abs(ratio.log().mean()) < 0.1


def test_elastic_displacements_have_the_amplitude_and_the_correlation_length_asked_for() -> None:
    torch.manual_seed(0)
    field = RandomElastic(amplitude=1.5, sigma=3.0).displacement(torch.zeros(4000, 1, 28, 28)) * 14  # in pixels
    assert field.std(0).mean().item() == pytest.approx(1.5, rel=0.03)
    for distance in (1, 3, 6):
        correlation = (field[:, :, distance:] * field[:, :, :-distance]).mean() / field.square().mean()
        assert correlation.item() == pytest.approx(math.exp(-(distance**2) / 36), abs=0.03)


def test_every_image_gets_a_distortion_of_its_own_and_the_seed_decides_it() -> None:
    x = digits(1).expand(4, -1, -1, -1)
    transform = RandomDistortion(RandomAffine(degrees=10, translate=0.1), RandomElastic())
    torch.manual_seed(1)
    first = transform(x)
    torch.manual_seed(1)
    assert torch.equal(first, transform(x))
    assert (first[:1] - first[1:]).abs().amax((1, 2, 3)).min() > 0.01


def test_strength_moves_every_pixel_less_in_proportion() -> None:
    ramp = torch.linspace(0, 1, 28).expand(16, 1, 28, 28)  # brightness tells where a pixel came from
    distortion = RandomDistortion(RandomAffine(degrees=5), RandomElastic(amplitude=0.5))
    moved = {}
    for strength in (0.0, 0.5, 1.0):
        distortion.strength = strength
        torch.manual_seed(0)
        moved[strength] = (distortion(ramp) - ramp)[:, :, 8:20, 8:20]
    torch.testing.assert_close(moved[0.0], torch.zeros_like(moved[0.0]), atol=1e-5, rtol=0)
    torch.testing.assert_close(moved[0.5], moved[1.0] / 2, atol=1e-5, rtol=1e-3)


def test_no_distortion_is_the_identity() -> None:
    x = torch.rand(3, 2, 9, 14)
    still = RandomDistortion(RandomAffine(), RandomElastic(amplitude=0))
    torch.testing.assert_close(still(x), x, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("kind", "arguments"), [(RandomAffine, {"scale": (1.1, 0.9)}), (RandomElastic, {"sigma": 0})])
def test_what_cannot_be_drawn_is_refused(kind: type, arguments: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(arguments))):
        kind(**arguments)
