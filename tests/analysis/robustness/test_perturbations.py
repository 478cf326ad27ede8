"""Attacks on linear networks, where the robust accuracy is known exactly; and that every change keeps its promises."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from jacoscope.analysis.attack import nearest_adversarial
from jacoscope.analysis.robustness.perturbations import ATTACKS, CORRUPTIONS, blurred, loss_gradient, occluded, stands

SIZES = [0.005, 0.01, 0.02, 0.04, 0.06]

L2_SIZES = [4 * size for size in SIZES]


class Linear(nn.Module):
    """Two classes with logits ±(w·x + b): the decision of class 0 stands while w·x + b > 0."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.register_buffer("w", scale * torch.randn(16, generator=torch.Generator().manual_seed(1)))

    def margin(self, x: Tensor) -> Tensor:
        return (x - 0.5).flatten(1) @ self.w

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([self.margin(x), -self.margin(x)], 1)


def images(count: int = 200) -> Tensor:
    """Far enough from 0 and 1 that no change of a size up to 0.3 is clipped."""
    return 0.35 + 0.3 * torch.rand(count, 1, 4, 4, generator=torch.Generator().manual_seed(2))


def result(name: str, model: nn.Module, x: Tensor, labels: Tensor, steps: int = 40, restarts: int = 1) -> Tensor:
    sizes = SIZES if ATTACKS[name].norm == "linf" else L2_SIZES
    return stands(name, model, x, labels, sizes, list(range(len(sizes))), steps, restarts)


@pytest.fixture(scope="module")
def problem() -> tuple[Linear, Tensor, Tensor, Tensor]:
    """A linear network, images, labels of which one in five is wrong, and the signed margins."""
    model, x = Linear().eval(), images()
    labels = model(x).argmax(1)
    labels[::5] = 1 - labels[::5]
    return model, x, labels, torch.where(labels == 0, 1, -1) * model.margin(x)


@pytest.mark.parametrize("name", ["fgsm", "pgd_linf"])
def test_under_linf_attacks_a_linear_network_stands_up_to_its_margin_over_the_l1_norm(
    name: str, problem: tuple[Linear, Tensor, Tensor, Tensor]
) -> None:
    model, x, labels, margin = problem
    distance = margin / model.w.abs().sum()
    exact = torch.stack([distance > size for size in SIZES])
    assert 0.2 < exact.double().mean() < 0.8
    assert torch.equal(result(name, model, x, labels), exact)


def test_under_l2_attacks_it_stands_up_to_its_margin_over_the_l2_norm(
    problem: tuple[Linear, Tensor, Tensor, Tensor],
) -> None:
    model, x, labels, margin = problem
    distance = margin / model.w.norm()
    found = result("pgd_l2", model, x, labels, restarts=2)
    for size, row in zip(L2_SIZES, found, strict=True):
        assert row[distance > size].all()
        assert not row[distance < 0.97 * size].any()
    smallest, into = nearest_adversarial(model, x, model(x).argmax(1))
    torch.testing.assert_close(smallest, distance.abs(), rtol=0.05, atol=8e-3)  # DDN finds none below 0.95¹⁰⁰
    assert bool((into != model(x).argmax(1)).all())
    assert bool((smallest >= distance.abs() - 1e-5).all())


@pytest.mark.parametrize("name", ["random_signs", "gaussian"])
def test_noise_turns_nothing_beyond_the_distance_and_less_than_attacks(
    name: str, problem: tuple[Linear, Tensor, Tensor, Tensor]
) -> None:
    model, x, labels, margin = problem
    is_linf = ATTACKS[name].norm == "linf"
    length, sizes = (model.w.abs().sum(), SIZES) if is_linf else (model.w.norm(), L2_SIZES)
    found = result(name, model, x, labels)
    for size, row in zip(sizes, found, strict=True):
        assert row[margin / length > size].all()
        assert not row[margin / length < -size * 1.001].any()
    attack = result("pgd_linf" if is_linf else "pgd_l2", model, x, labels)
    assert int(found.sum()) > int(attack.sum())


def test_a_logit_scale_that_masks_gradients_stops_the_attack_at_a_flat_loss(
    problem: tuple[Linear, Tensor, Tensor, Tensor],
) -> None:
    _, x, _, _ = problem
    masked = Linear(scale=1e6).eval()
    labels = masked(x).argmax(1)
    assert float(loss_gradient(masked, x, labels).median()) == 0.0
    right = result("pgd_linf", masked, x, labels)
    exact = masked.margin(x).abs() / masked.w.abs().sum() > SIZES[-1]
    assert int(right[-1].sum()) > int(exact.sum()) + 50


def test_the_gradient_of_the_loss_is_that_of_autograd(problem: tuple[Linear, Tensor, Tensor, Tensor]) -> None:
    model, x, labels, _ = problem
    probability = model(x).softmax(1)[torch.arange(len(x)), labels]
    torch.testing.assert_close(loss_gradient(model, x, labels), (1 - probability) * 2 * model.w.norm())


def test_numbers_depend_on_the_seed_of_a_size_alone(problem: tuple[Linear, Tensor, Tensor, Tensor]) -> None:
    model, x, labels, _ = problem
    for name in (*ATTACKS, "occlusion"):
        sizes = [2, 3] if name == "occlusion" else [0.1, 0.2]
        both = stands(name, model, x, labels, sizes, [5, 6], 5)
        torch.rand(3)
        assert torch.equal(both, stands(name, model, x, labels, sizes, [5, 6], 5))
        if not ATTACKS.get(name) or not ATTACKS[name].has_steps:
            assert torch.equal(both[1:], stands(name, model, x, labels, sizes[1:], [6], 5))


def test_the_state_of_the_random_numbers_is_left_as_it_was(problem: tuple[Linear, Tensor, Tensor, Tensor]) -> None:
    model, x, labels, _ = problem
    before = torch.get_rng_state()
    stands("pgd_l2", model, x, labels, [0.1], [0], 3)
    assert torch.equal(before, torch.get_rng_state())


@given(
    name=st.sampled_from(list(ATTACKS)),
    size=st.floats(1e-3, 0.9),
    seed=st.integers(0, 100),
    shape=st.sampled_from([(1, 5, 5), (3, 4, 6)]),
)
@settings(max_examples=25)
def test_every_attack_keeps_to_its_size_and_to_pixels(
    name: str, size: float, seed: int, shape: tuple[int, int, int]
) -> None:
    torch.manual_seed(seed)
    x = torch.rand(4, *shape).round(decimals=1)
    model = nn.Sequential(nn.Flatten(), nn.Linear(x[0].numel(), 3)).requires_grad_(False).eval()
    changed = ATTACKS[name].change(model, x, torch.tensor([0, 1, 2, 0]), size, 3)
    order = torch.inf if ATTACKS[name].norm == "linf" else 2
    assert bool((torch.linalg.vector_norm((changed - x).flatten(1), order, dim=1) <= size * (1 + 1e-4) + 1e-6).all())
    assert float(changed.min()) >= 0
    assert float(changed.max()) <= 1


@pytest.mark.parametrize(
    ("name", "size"), [("noise", 2.0), ("blur", 2.5), ("rotation", 75), ("contrast", 1.0), ("occlusion", 9)]
)
def test_corruptions_keep_shape_and_range_and_leave_the_images_alone(name: str, size: float) -> None:
    x = torch.rand(6, 3, 7, 5)
    before = x.clone()
    changed = CORRUPTIONS[name].change(x, size)
    assert changed.shape == x.shape
    assert torch.equal(x, before)
    assert float(changed.min()) >= 0
    assert float(changed.max()) <= 1
    assert not torch.equal(changed, x)


def test_a_square_covers_as_many_pixels_as_it_says() -> None:
    x = torch.zeros(20, 1, 9, 9)
    changed = occluded(x, 4)
    assert (changed != 0).flatten(1).sum(1).tolist() == [16] * 20
    assert len(changed.flatten(1).unique(dim=0)) > 5  # at different places
    assert bool((occluded(x, 50) == 0.5).all())


def test_blur_keeps_the_brightness_of_a_spot() -> None:
    x = torch.zeros(1, 1, 21, 21)
    x[..., 10, 10] = 1
    spot = blurred(x, 1.5)[0, 0]
    assert float(spot.sum()) == pytest.approx(1, abs=1e-4)
    places = torch.arange(21) - 10.0
    assert float((spot.sum(0) * places**2).sum()) == pytest.approx(1.5**2, rel=0.05)
