"""Products with the Jacobian, and norms from products alone, agree with the dense Jacobian."""

import pytest
import torch

from jacoscope.jacobians import (
    JacobianError,
    as_matrix,
    estimate_frobenius,
    frobenius_norm,
    jacobian,
    jvp,
    leading_singular_triplets,
    singular_values,
    vjp,
)
from jacoscope.models import LeNet5


@pytest.fixture(scope="module")
def case():
    torch.manual_seed(0)
    model, x = LeNet5().double(), torch.rand(3, 1, 28, 28, dtype=torch.float64)
    return model, x, jacobian(model, x)


@pytest.mark.parametrize("output", ["logits", "probs"])
def test_products_are_those_with_the_dense_jacobian(case, output):
    model, x, _ = case
    A = as_matrix(jacobian(model, x, output))
    v, u = torch.randn_like(x), torch.randn(3, 10, dtype=x.dtype)
    torch.testing.assert_close(jvp(model, x, v, output), (A.mT @ v.flatten(1).unsqueeze(2)).squeeze(2))
    torch.testing.assert_close(vjp(model, x, u, output).flatten(1), (A @ u.unsqueeze(2)).squeeze(2))


def test_several_vectors_at_once_and_wrong_shapes(case):
    model, x, _ = case
    v, u = torch.randn(4, *x.shape, dtype=x.dtype), torch.randn(4, 3, 10, dtype=x.dtype)
    torch.testing.assert_close(jvp(model, x, v)[2], jvp(model, x, v[2]))
    torch.testing.assert_close(vjp(model, x, u)[2], vjp(model, x, u[2]))
    # ⟨u, J v⟩ = ⟨Jᵀ u, v⟩
    left, right = (u * jvp(model, x, v)).sum(2), (vjp(model, x, u) * v).flatten(2).sum(2)
    torch.testing.assert_close(left, right)
    with pytest.raises(JacobianError, match=r"\[3, 10\]"):
        vjp(model, x, u[0, :, :4])


def test_the_frobenius_estimate_is_unbiased_with_an_honest_standard_error(case):
    model, x, J = case
    truth = frobenius_norm(J)
    estimate = estimate_frobenius(model, x, projections=400)
    assert ((estimate.squared - truth**2).abs() < 4 * estimate.squared_standard_error).all()
    assert ((estimate.value - truth).abs() < 4 * estimate.standard_error).all()
    assert (estimate.standard_error < 0.1 * truth).all()
    generator = torch.Generator()
    short = [estimate_frobenius(model, x, projections=4, generator=generator.manual_seed(i)) for i in range(150)]
    errors = torch.stack([e.squared for e in short]) - truth**2
    stated = torch.stack([e.squared_standard_error for e in short]).square().mean(0).sqrt()
    assert (errors.mean(0).abs() < 4 * errors.std(0) / 150**0.5).all()
    torch.testing.assert_close(errors.std(0), stated, rtol=0.25, atol=0)


def test_singular_triplets_are_those_of_the_dense_jacobian(case):
    model, x, J = case
    top = leading_singular_triplets(model, x, 3, tolerance=1e-9)
    torch.testing.assert_close(top.values, singular_values(J)[:, :3])
    A = as_matrix(J).mT
    right, left = top.right.flatten(2), top.left
    torch.testing.assert_close(right @ A.mT, top.values.unsqueeze(2) * left)
    torch.testing.assert_close(left @ A, top.values.unsqueeze(2) * right)
    assert (top.residual <= 1e-9).all()


def test_few_iterations_report_how_far_they_got(case):
    model, x, J = case
    top = leading_singular_triplets(model, x, max_iterations=2)
    assert top.iterations == 2
    s = singular_values(J)
    gaps = (s - top.values).abs().min(1).values
    assert (gaps <= top.residual.squeeze(1) * s[:, 0] + 1e-9).all()
    assert leading_singular_triplets(model, x, tolerance=1e-2).iterations < 10


def test_float32_and_out_of_range():
    torch.manual_seed(0)
    model, x = LeNet5(), torch.rand(2, 1, 28, 28)
    top = leading_singular_triplets(model, x, 2)
    torch.testing.assert_close(top.values, singular_values(jacobian(model, x))[:, :2], rtol=1e-4, atol=0)
    with pytest.raises(JacobianError, match="10 singular values"):
        leading_singular_triplets(model, x, 11)
    with pytest.raises(JacobianError, match="at least 2"):
        estimate_frobenius(model, x, projections=1)


def test_attention_and_a_network_of_many_outputs():
    from torchvision.models import VisionTransformer

    torch.manual_seed(0)
    model = VisionTransformer(32, 8, 2, 2, 32, 64, num_classes=100)
    torch.nn.init.normal_(model.heads.head.weight)
    x = torch.rand(1, 3, 32, 32)
    J = jacobian(model, x)
    top = leading_singular_triplets(model, x, 2)
    torch.testing.assert_close(top.values, singular_values(J)[:, :2], rtol=1e-3, atol=0)
    estimate = estimate_frobenius(model, x, projections=64)
    assert ((estimate.value - frobenius_norm(J)).abs() < 4 * estimate.standard_error).all()


def test_backward_hooks_are_run_or_refused(case):
    model, x, J = case
    handle = model.fc1.register_full_backward_hook(lambda module, given, g: (given[0] * 3,))
    try:
        torch.testing.assert_close(vjp(model, x, torch.ones(3, 10, dtype=x.dtype)), 3 * J.sum(1))
        with pytest.raises(JacobianError, match=r"backward hooks.*Use vjp"):
            jvp(model, x, torch.ones_like(x))
    finally:
        handle.remove()


def orthogonal(rows, columns, dtype):
    return torch.linalg.qr(torch.randn(rows, columns, dtype=dtype)).Q


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("k", [1, 2, 3])
@pytest.mark.parametrize("kind", ["identity", "repeated", "rank one", "zero", "more outputs than inputs"])
def test_repeated_and_missing_singular_values_are_found(kind, k, dtype):
    torch.manual_seed(0)
    spectrum = torch.tensor([3.0, 3.0, 2.0, 2.0], dtype=dtype).diag()
    W = {
        "identity": lambda: torch.eye(3, 5, dtype=dtype),
        "repeated": lambda: orthogonal(8, 4, dtype) @ spectrum @ orthogonal(12, 4, dtype).T,
        "rank one": lambda: torch.outer(torch.randn(6, dtype=dtype), torch.randn(9, dtype=dtype)),
        "zero": lambda: torch.zeros(4, 6, dtype=dtype),
        "more outputs than inputs": lambda: torch.randn(30, 5, dtype=dtype),
    }[kind]()
    top = leading_singular_triplets(lambda x: x @ W.T, torch.rand(2, W.shape[1], dtype=dtype), k)
    tolerance = {"rtol": 0, "atol": 1e-5 if dtype == torch.float32 else 1e-12}
    torch.testing.assert_close(top.values, torch.linalg.svdvals(W)[:k].expand(2, k), **tolerance)
    torch.testing.assert_close(top.right @ W.T, top.values.unsqueeze(2) * top.left, **tolerance)
    for vectors in (top.left, top.right):
        torch.testing.assert_close(vectors @ vectors.mT, torch.eye(k, dtype=dtype).expand(2, k, k), **tolerance)
