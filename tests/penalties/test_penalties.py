"""Penalties against finite differences, exact Jacobians and each other."""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from jacoscope.jacobians import boundary_distance, frobenius_norm, jacobian, spectral_norm
from jacoscope.models import LeNet5
from jacoscope.penalties import (
    BoundaryPenalty,
    ForwardPass,
    InputGradientPenalty,
    JacobianPenalty,
    NoPenalty,
    Penalty,
    SpectralPenalty,
)

STD = (0.5, 0.25)
EVERY: list[Callable[..., Penalty]] = [
    JacobianPenalty,
    lambda **k: JacobianPenalty(projections=3, **k),
    lambda **k: JacobianPenalty(projections=None, **k),
    lambda **k: SpectralPenalty(iterations=200, **k),
    InputGradientPenalty,
    lambda **k: BoundaryPenalty(distance=5.0, **k),
    lambda **k: BoundaryPenalty(distance=5.0, nearest="runner_up", **k),
]
NAMES = ["jacobian", "jacobian-3", "jacobian-exact", "spectral", "input_gradient", "boundary", "boundary-runner_up"]


def small(seed: int = 0, dtype: torch.dtype = torch.float64) -> tuple[nn.Module, Tensor, Tensor]:
    torch.manual_seed(seed)
    layers = nn.Conv2d(2, 3, 3, padding=1), nn.Tanh(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(27, 4)
    return nn.Sequential(*layers).to(dtype), torch.rand(5, 2, 6, 6, dtype=dtype), torch.tensor([0, 1, 2, 3, 0])


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(1)


def gradient(value: Tensor, model: nn.Module) -> Tensor:
    parts = torch.autograd.grad(value, list(model.parameters()), allow_unused=True, materialize_grads=True)
    return torch.cat([part.flatten() for part in parts])


@pytest.mark.parametrize("make", EVERY, ids=NAMES)
@pytest.mark.parametrize("settings", [{}, {"unit": "standardised", "std": STD}], ids=["pixel", "standardised"])
def test_gradients_are_those_of_finite_differences(make: Callable[..., Penalty], settings: dict[str, Any]) -> None:
    model, x, y = small()
    penalty = make(**settings)
    found = gradient(penalty(model, x, y, seeded()), model)
    weights = nn.utils.parameters_to_vector(model.parameters()).detach()
    direction = torch.randn(len(weights), dtype=torch.float64, generator=torch.Generator().manual_seed(3))

    def at(step: float) -> float:
        nn.utils.vector_to_parameters(weights + step * direction, model.parameters())
        return penalty(model, x, y, seeded()).item()

    slope = (at(1e-5) - at(-1e-5)) / 2e-5
    assert (found @ direction).item() == pytest.approx(slope, rel=1e-6)
    assert abs(slope) > 1e-6


@pytest.mark.parametrize("outputs", ["logits", "probs", "log_probs"])
def test_values_are_those_of_the_exact_jacobian(outputs: str) -> None:
    model, x, _ = small()
    J, std = jacobian(model, x, outputs), torch.tensor(STD, dtype=torch.float64).view(-1, 1, 1)
    for unit, of in (("pixel", J), ("standardised", J * std)):
        settings: dict[str, Any] = {"unit": unit, "std": STD, "outputs": outputs}
        expected = frobenius_norm(of).square().mean() / 2
        torch.testing.assert_close(JacobianPenalty(projections=None, **settings)(model, x), expected)
        expected = spectral_norm(of).square().mean() / 2
        torch.testing.assert_close(SpectralPenalty(iterations=300, **settings)(model, x, None, seeded()), expected)


def test_the_boundary_penalty_is_the_hinge_on_the_distance() -> None:
    model, x, y = small()
    J, logits = jacobian(model, x, return_outputs=True)
    distance = boundary_distance(J, logits, y).distance
    for gamma in (0.1, 1.0, 5.0):
        expected = torch.relu(gamma - distance).mean()
        torch.testing.assert_close(BoundaryPenalty(distance=gamma)(model, x, y), expected, rtol=1e-5, atol=1e-6)


def test_the_input_gradient_is_that_of_the_loss() -> None:
    model, x, y = small()
    leaf = x.clone().requires_grad_()
    expected = sum(
        torch.autograd.grad(cross_entropy(model(leaf)[i : i + 1], y[i : i + 1]), leaf)[0].square().sum()
        for i in range(len(x))
    ) / (2 * len(x))
    torch.testing.assert_close(InputGradientPenalty()(model, x, y), expected)


@pytest.mark.parametrize("projections", [1, 4])
def test_projections_are_unbiased(projections: int) -> None:
    model, x, _ = small()
    exact = JacobianPenalty(projections=None)(model, x)
    expected = gradient(exact, model)
    penalty, generator = JacobianPenalty(projections=projections), torch.Generator().manual_seed(2)
    draws = [penalty(model, x, None, generator) for _ in range(400)]
    gradients = torch.stack([gradient(draw, model) for draw in draws])
    values = torch.stack(draws).detach()
    for sample, mean in ((values.unsqueeze(1), exact.detach().unsqueeze(0)), (gradients, expected)):
        error = (sample.mean(0) - mean) / (sample.std(0) / math.sqrt(len(draws)) + 1e-12)
        assert error.abs().max() < 5
    assert values.std() / exact.detach() < 1 / math.sqrt(projections)


def test_iterations_of_kept_vectors_approach_the_largest_singular_value() -> None:
    model, x, _ = small()
    penalty, vectors, values = SpectralPenalty(iterations=1), None, []
    for _ in range(60):
        at = ForwardPass.of(model, x)
        vectors = penalty.top_direction(at, vectors, seeded())
        values.append(at.pull_back(at.logits, vectors, create_graph=False).flatten(1).norm(dim=1))
    sigma = spectral_norm(jacobian(model, x))
    assert all((later >= before - 1e-12).all() for before, later in pairwise(values))
    torch.testing.assert_close(values[-1], sigma, rtol=1e-4, atol=0)


@pytest.mark.parametrize("make", EVERY, ids=NAMES)
@pytest.mark.parametrize("batch", [20, 100])  # without and with the fast layers
def test_the_fast_layers_of_lenet5_change_nothing_but_rounding(make: Callable[..., Penalty], batch: int) -> None:
    torch.manual_seed(0)
    model = LeNet5().to(memory_format=torch.channels_last)
    x, y, penalty = torch.rand(batch, 1, 28, 28), torch.arange(batch) % 10, make()
    if isinstance(penalty, SpectralPenalty):
        penalty.iterations = 2
    found = gradient(penalty(model, x, y, seeded()), model)
    model, x = model.double(), x.double()
    expected = gradient(penalty(model, x, y, seeded()), model)
    assert (found - expected).norm() < 1e-4 * expected.norm()


def test_the_loss_and_the_penalty_share_one_forward_pass() -> None:
    model, x, y = small()
    passes = []
    model.register_forward_pre_hook(lambda *_: passes.append(1))
    at, penalty = ForwardPass.of(model, x), JacobianPenalty(projections=None)
    together = gradient(cross_entropy(at.logits, y) + 0.1 * penalty.at(at, y), model)
    assert len(passes) == 1
    apart = gradient(cross_entropy(model(x), y), model) + 0.1 * gradient(penalty(model, x), model)
    torch.testing.assert_close(together, apart)


def test_processes_draw_what_one_would() -> None:
    model, x, _ = small()
    alone = JacobianPenalty()
    shares = []
    for process in range(2):
        penalty = JacobianPenalty()
        penalty.process, penalty.processes = process, 2
        shares.append(penalty(model, x[process:4:2], None, seeded()))
    torch.testing.assert_close(sum(shares) / 2, alone(model, x[:4], None, seeded()))


def test_the_weight_over_a_training_has_the_mean_that_was_asked_for() -> None:
    every = JacobianPenalty(0.3, every_n_steps=4)
    assert sum(every.weight_at(step, 100) for step in range(100)) / 100 == pytest.approx(0.3)
    ramp = JacobianPenalty(0.3, ramp_up=0.5)
    weights = [ramp.weight_at(step, 100) for step in range(100)]
    assert weights == sorted(weights)
    assert weights[49:] == [0.3] * 51
    assert weights[24] == pytest.approx(0.15)
    assert not any(NoPenalty().weight_at(step, 100) for step in range(100))


def test_it_trains_by_several_optimizers_in_manual_optimisation() -> None:
    class Alternating(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.network = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
            self.automatic_optimization = False
            self.penalty = JacobianPenalty(projections=None)

        def configure_optimizers(self) -> list[torch.optim.Optimizer]:
            return [torch.optim.SGD(self.network[i].parameters(), lr=0.1) for i in (0, 2)]

        def training_step(self, batch: list[Tensor], batch_idx: int) -> None:  # noqa: ARG002
            optimizer: Any = self.optimizers()
            for one in optimizer:
                one.zero_grad()
                self.manual_backward(self.penalty(self.network, batch[0]))
                one.step()

    x, module = torch.rand(32, 4), Alternating()
    before = module.penalty(module.network, x).item()
    loader = DataLoader(TensorDataset(x), batch_size=8)
    Trainer(max_epochs=3, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False).fit(
        module, loader
    )
    assert module.penalty(module.network, x).item() < 0.7 * before


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: JacobianPenalty(-1.0), "weight=-1.0"),
        (lambda: JacobianPenalty(projections=0), "projections=0"),
        (lambda: JacobianPenalty(unit="pixels"), "unit=pixels"),  # type: ignore[arg-type]
        (lambda: JacobianPenalty(unit="standardised"), "std=None"),
        (lambda: JacobianPenalty(outputs="prob"), "outputs=prob"),
        (lambda: JacobianPenalty(ramp_up=2.0), "ramp_up=2.0"),
        (lambda: JacobianPenalty(every_n_steps=0), "every_n_steps=0"),
        (lambda: SpectralPenalty(iterations=0), "iterations=0"),
        (lambda: BoundaryPenalty(distance=0.0), "distance=0.0"),
        (lambda: BoundaryPenalty(nearest="near"), "nearest=near"),  # type: ignore[arg-type]
        (lambda: BoundaryPenalty()(*small()[:2]), "BoundaryPenalty needs the classes"),
    ],
)
def test_bad_settings_are_refused(make: Callable[[], Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        make()
