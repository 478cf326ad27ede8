"""Norms, ranks, geometry and maps against their definitions."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from jacoscope.jacobians import (
    JacobianError,
    as_matrix,
    boundary_distance,
    class_mean_maps,
    effective_rank,
    frobenius_norm,
    input_alignment,
    jacobian,
    l1_operator_norm,
    linf_operator_norm,
    log_probs_jacobian_from_logits,
    nuclear_norm,
    output_norms,
    probs_jacobian_from_logits,
    sensitivity_map,
    singular_values,
    spectral_norm,
    stable_rank,
)
from jacoscope.models import LeNet5

SHAPES = [(3, 10, 1, 28, 28), (2, 5, 3), (4, 1, 6), (2, 4), (1, 3, 2, 2, 2, 2)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_norms_are_those_of_linalg(shape, dtype):
    J = torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(0))
    A = as_matrix(J)
    assert A.shape == (shape[0], math.prod(shape[2:]), shape[1])
    s = torch.linalg.svdvals(A.double())
    pairs = [
        (singular_values(J), s),
        (spectral_norm(J), torch.linalg.matrix_norm(A.double(), 2)),
        (nuclear_norm(J), torch.linalg.matrix_norm(A.double(), "nuc")),
        (frobenius_norm(J), torch.linalg.matrix_norm(A.double(), "fro")),
        # as_matrix is the transpose of the map from inputs to outputs
        (l1_operator_norm(J), torch.linalg.matrix_norm(A.double().mT, 1)),
        (linf_operator_norm(J), torch.linalg.matrix_norm(A.double().mT, torch.inf)),
        (output_norms(J), torch.linalg.vector_norm(A.double(), dim=1)),
        (stable_rank(J), s.square().sum(1) / s[:, 0] ** 2),
    ]
    for ours, theirs in pairs:
        assert ours.dtype == dtype
        torch.testing.assert_close(ours.double(), theirs, rtol=1e-6 if dtype == torch.float32 else 1e-12, atol=0)


@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 2**16))
@settings(max_examples=40, deadline=None, derandomize=True)
def test_ranks_lie_between_one_and_the_rank_and_ignore_scale(outputs, features, seed):
    J = torch.randn(3, outputs, features, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    for rank in (stable_rank, effective_rank):
        assert ((rank(J) >= 1 - 1e-9) & (rank(J) <= min(outputs, features) + 1e-9)).all()
        torch.testing.assert_close(rank(1e3 * J), rank(J))


def test_small_singular_values_survive_the_gram_matrix():
    # float32 Gram matrices would lose everything below 3e-4 of the largest
    values = torch.tensor([1.0, 1e-2, 1e-4, 1e-6], dtype=torch.float64)
    g = torch.Generator().manual_seed(0)
    U = torch.linalg.qr(torch.randn(4, 4, generator=g, dtype=torch.float64))[0]
    V = torch.linalg.qr(torch.randn(50, 4, generator=g, dtype=torch.float64))[0]
    J = (U * values @ V.mT).unsqueeze(0).float()
    torch.testing.assert_close(singular_values(J)[0].double(), values, rtol=0, atol=1e-7)
    # The ranks of the diagonal matrix of the singular values are those of J, without a second decomposition.
    torch.testing.assert_close(effective_rank(torch.diag_embed(singular_values(J))), effective_rank(J))


def test_zero_tiny_empty_and_broken_jacobians():
    zero = torch.zeros(2, 3, 5)
    for norm in (frobenius_norm, spectral_norm, nuclear_norm, stable_rank, effective_rank):
        torch.testing.assert_close(norm(zero), torch.zeros(2))
    tiny = torch.full((1, 2, 5), 1e-30)
    assert stable_rank(tiny).item() == pytest.approx(1)
    assert spectral_norm(torch.zeros(0, 3, 5)).shape == (0,)
    broken = torch.ones(3, 2, 4)
    broken[1, 0, 0] = torch.nan
    for J in (broken, broken.double()):
        for norm in (spectral_norm, nuclear_norm, stable_rank, effective_rank):
            assert norm(J).isnan().tolist() == [False, True, False]
    with pytest.raises(JacobianError, match="int64"):
        frobenius_norm(torch.ones(2, 3, 4, dtype=torch.int64))


def test_norms_are_differentiable():
    J = torch.randn(2, 3, 5, dtype=torch.float64, requires_grad=True)
    for norm in (frobenius_norm, spectral_norm, nuclear_norm, l1_operator_norm, effective_rank):
        assert torch.autograd.gradcheck(norm, J)


def test_jacobians_of_probabilities_follow_from_those_of_logits():
    model, x = LeNet5(), torch.rand(5, 1, 28, 28)
    J, logits = jacobian(model, x, return_outputs=True)
    for convert, output in ((probs_jacobian_from_logits, "probs"), (log_probs_jacobian_from_logits, "log_probs")):
        before = J.clone()
        torch.testing.assert_close(convert(J, logits), jacobian(model, x, output), rtol=1e-4, atol=1e-6)
        assert torch.equal(J, before)
        with pytest.raises(JacobianError, match="same samples"):
            convert(J, logits[:2])


@pytest.mark.parametrize("convert", [probs_jacobian_from_logits, log_probs_jacobian_from_logits])
@pytest.mark.parametrize("margin", [0.0, 8.0, 16.0, 40.0])
def test_they_keep_their_digits_where_the_network_is_confident(convert, margin):
    J, z = torch.randn(20, 10, 30, dtype=torch.float64), torch.randn(20, 10, dtype=torch.float64)
    z[:, 3] += margin
    p = z.softmax(1)
    apart = J.unsqueeze(2) - J.unsqueeze(1)  # Σ_j p_j (J_k - J_j): no difference of almost equal sums
    exact = (apart * p.view(20, 1, 10, 1)).sum(2) * (p.unsqueeze(2) if convert is probs_jacobian_from_logits else 1)
    found = convert(J.float(), z.float()).double()
    largest = exact.abs().amax(2, keepdim=True)  # of each class: the likeliest one too
    assert ((found - exact).abs() <= 2e-5 * largest).all()


def test_the_linearised_decision_changes_at_the_boundary_distance_and_no_sooner():
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Flatten(), nn.Linear(12, 4)).double(), torch.rand(20, 3, 4, dtype=torch.float64)
    J, z = jacobian(model, x, return_outputs=True)
    distance, nearest, direction = boundary_distance(J, z)
    step = distance.view(-1, 1, 1) * direction
    assert (model(x + 0.999 * step).argmax(1) == z.argmax(1)).all()
    assert (model(x + 1.001 * step).argmax(1) == nearest).all()
    torch.testing.assert_close(direction.flatten(1).norm(dim=1), torch.ones(20, dtype=torch.float64))
    anywhere = torch.randn(200, 20, 3, 4, dtype=torch.float64)
    anywhere = 0.999 * distance.view(-1, 1, 1) * anywhere / anywhere.flatten(2).norm(dim=2)[..., None, None]
    assert (model((x + anywhere).flatten(0, 1)).argmax(1).view(200, 20) == z.argmax(1)).all()


def test_boundary_distance_of_a_misclassified_sample_is_negative_and_of_a_constant_model_infinite():
    J, z = torch.tensor([[[1.0, 0.0], [-1.0, 0.0]]]), torch.tensor([[3.0, 1.0]])
    wrong = boundary_distance(J, z, torch.tensor([1]))
    assert (wrong.distance.item(), wrong.nearest.item(), wrong.direction.tolist()) == (-1, 0, [[1, 0]])
    constant = boundary_distance(torch.zeros(1, 3, 2), torch.tensor([[1.0, 3.0, 2.0]]))
    assert (constant.distance.item(), constant.nearest.item(), constant.direction.tolist()) == (math.inf, 2, [[0, 0]])
    with pytest.raises(JacobianError, match="two outputs"):
        boundary_distance(torch.zeros(1, 1, 2), torch.zeros(1, 1))


def test_maps():
    J = torch.randn(6, 3, 2, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(sensitivity_map(J).square().sum((1, 2)) * 3, frobenius_norm(J).square())
    classes = torch.tensor([0, 0, 2, 2, 2, 0])
    maps = class_mean_maps(J, classes)
    torch.testing.assert_close(maps[2], J[2:5, 2].abs().mean(0))
    assert maps[1].isnan().all()
    torch.testing.assert_close(class_mean_maps(J, signed=True), J.mean(0))
    with pytest.raises(JacobianError, match="one class a sample"):
        class_mean_maps(J, classes[:2])


def test_alignment_is_a_cosine():
    x = torch.rand(2, 3, 4)
    J = torch.stack([x, -2 * x, torch.zeros_like(x)], 1)
    torch.testing.assert_close(input_alignment(J, x), torch.tensor([[1.0, -1, 0]] * 2))
    with pytest.raises(JacobianError, match="expected"):
        input_alignment(J, x[:1])
