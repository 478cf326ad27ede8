r"""Norms of Jacobians that do not fit in memory, from products alone.

1000 outputs × 150,528 pixels are 602 MB for one image. Its Frobenius norm and leading singular triplets need a few
dozen products :math:`J v` and :math:`J^\top u`, each at the cost and in the memory of one pass through the network.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from .errors import JacobianError
from .norms import in_float64
from .outputs import Output
from .products import Products, products
from .purity import Model

_ROUNDING = 100
"""A vector is rounding error if it is shorter than this many rounding errors of the largest singular value."""
_TINY = torch.finfo(torch.float64).tiny


class FrobeniusEstimate(NamedTuple):
    """An estimate of every sample's Frobenius norm."""

    value: Tensor
    """`[batch]`: the square root of `squared`."""
    standard_error: Tensor
    """`[batch]`: of `value`, to first order."""
    squared: Tensor
    """`[batch]`: an unbiased estimate of the squared norm."""
    squared_standard_error: Tensor
    """`[batch]`: of `squared`."""


def estimate_frobenius(
    model: Model,
    x: Tensor,
    output: Output = "logits",
    *,
    projections: int = 16,
    generator: torch.Generator | None = None,
) -> FrobeniusEstimate:
    r"""Frobenius norm of every sample's Jacobian from random projections of the outputs.

    For :math:`u` with independent entries ±1, :math:`\mathbb{E}\,\|J^\top u\|^2 = \|J\|_F^2`: the mean over n
    projections is unbiased, and their spread gives its standard error, which falls as :math:`1/\sqrt n`
    (Hutchinson, 1989; for Jacobians of networks, Hoffman, Roberts & Yaida, 2019). One forward and n
    backward passes.

    Args:
        model: as for `jacobian`.
        x: `[batch, *input_shape]`.
        output: as for `jacobian`.
        projections: n, at least 2.
        generator: where the random signs come from, and the next call's others; by default the same signs in every
            call, so averaging over calls gains nothing. The global generator is left alone either way.

    Returns:
        `FrobeniusEstimate(value, standard_error, squared, squared_standard_error)`.

    Raises:
        JacobianError: fewer than two projections.

    >>> model = torch.nn.Linear(4, 1)
    >>> estimate = estimate_frobenius(model, torch.rand(2, 4))
    >>> torch.allclose(estimate.value, model.weight.norm().expand(2))
    True
    """
    if projections < 2:
        raise JacobianError(f"projections={projections}; a standard error needs at least 2.")
    generator = generator or torch.Generator(x.device).manual_seed(0)
    squares = []
    with products(model, x, output) as at:
        for _ in range(projections):
            signs = torch.randint(0, 2, at.outputs.shape, generator=generator, device=x.device)
            g = at.vjp((2 * signs - 1).to(at.outputs.dtype))
            squares.append(in_float64(g.flatten(1)).square().sum(1))
    stacked = torch.stack(squares)
    squared, spread = stacked.mean(0), stacked.std(0) / projections**0.5
    value = squared.sqrt()
    error = spread / (2 * value).clamp_min(_TINY)
    return FrobeniusEstimate(*(t.to(x) for t in (value, error, squared, spread)))


class SingularTriplets(NamedTuple):
    """The leading singular values and vectors of every sample's Jacobian: `J v = σ u`."""

    values: Tensor
    """`[batch, k]`, descending."""
    left: Tensor
    """`[batch, k, outputs]`: unit vectors of outputs."""
    right: Tensor
    """`[batch, k, *input_shape]`: unit vectors of the input, the directions to which the outputs react most."""
    residual: Tensor
    """`[batch, k]`: `‖Jᵀu − σ v‖ / σ₁`; a singular value lies this close to `values`, relative to the largest."""
    iterations: int
    """Products with J, and as many with Jᵀ."""


def leading_singular_triplets(
    model: Model,
    x: Tensor,
    k: int = 1,
    output: Output = "logits",
    *,
    tolerance: float = 1e-4,
    max_iterations: int = 100,
    generator: torch.Generator | None = None,
) -> SingularTriplets:
    r"""The k largest singular values of every sample's Jacobian, with their vectors, by Lanczos bidiagonalisation.

    Golub and Kahan's recurrence builds orthonormal bases of the outputs and the inputs in which J is bidiagonal, from
    a random start and one product with J and one with Jᵀ a step; the singular triplets of the small matrix converge to
    the leading ones of J (Golub & Van Loan, Matrix Computations, §10.4). Bases are orthogonalised in full. Memory is
    that of one backward pass plus one input-sized vector a step.

    Args:
        model: as for `jacobian`.
        x: `[batch, *input_shape]`.
        k: how many triplets, at most `min(outputs, features)`.
        output: as for `jacobian`.
        tolerance: stop when every residual is below it, relative to the largest singular value.
        max_iterations: stop then at the latest, but not before step k; `residual` says how far it got.
        generator: where the random start comes from; the global generator is left alone either way.

    Returns:
        `SingularTriplets(values, left, right, residual, iterations)`.

    Raises:
        JacobianError: as for `jacobian`; k is out of range; or outputs are NaN or infinite.

    >>> model = torch.nn.Linear(5, 3)
    >>> top = leading_singular_triplets(model, torch.rand(2, 5), k=2)
    >>> torch.allclose(top.values[0], torch.linalg.svdvals(model.weight)[:2], rtol=1e-3)
    True
    """
    generator = generator or torch.Generator(x.device).manual_seed(0)
    with products(model, x, output) as at:
        features, outputs = x[:1].numel(), at.outputs.shape[1]
        if not 1 <= k <= min(features, outputs):
            raise JacobianError(f"k={k}; this Jacobian has {min(features, outputs)} singular values.")
        steps = min(max(max_iterations, k), outputs, features)
        return _bidiagonalise(at, x, k, tolerance, steps, generator)


def _bidiagonalise(
    at: Products, x: Tensor, k: int, tolerance: float, steps: int, generator: torch.Generator
) -> SingularTriplets:
    (batch, outputs), features = at.outputs.shape, x[0].numel()
    if not bool((finite := at.outputs.isfinite().all(1)).all()):
        raise JacobianError(f"The outputs are NaN or infinite for samples {(~finite).nonzero().flatten().tolist()}.")
    # The start is on the side of the outputs: Jᵀu lies in the row space, so no step is lost on what J cannot see.
    largest = torch.zeros(batch, 1, device=x.device, dtype=x.dtype)
    us = [_next_direction(torch.zeros(batch, outputs, device=x.device, dtype=x.dtype), [], largest, generator)[0]]
    vs: list[Tensor] = []
    B = torch.zeros(batch, steps + 1, steps, dtype=torch.float64)
    begun_anew = torch.zeros(batch, 1, dtype=torch.bool, device=x.device)
    for step in range(steps):
        v, alpha = _next_direction(at.vjp(us[-1]).to(x.dtype).flatten(1), vs, largest, generator)
        vs.append(v)
        largest = largest.maximum(alpha)
        u, beta = _next_direction(at.jvp(v.view_as(x)).to(x.dtype), us, largest, generator)
        us.append(u)
        largest = largest.maximum(beta)
        # Jᵀ U = V Bᵀ holds exactly and J V = U B + β u eᵀ: what is left over is the last β.
        B[:, step, step], B[:, step + 1, step] = alpha.squeeze(1).to(B), beta.squeeze(1).to(B)
        # The bases may span a space that J does not lead out of, and repeated singular values may lie beyond it: go on
        # there with random directions, until nothing is left that J does not map to zero.
        at_an_end = (alpha == 0) | (beta == 0)
        is_all = torch.where(begun_anew, alpha == 0, ~at_an_end)
        begun_anew |= at_an_end
        rows = step + 2 if step + 1 == features else step + 1  # V spans all inputs: the last β is known, not left over
        P, sigma, Qh = torch.linalg.svd(B[:, :rows, : step + 1], full_matrices=False)
        if step + 1 < k:
            continue
        residual = (rows == step + 1) * B[:, step + 1, step, None] * Qh[:, :k, -1].abs() / sigma[:, :1].clamp_min(_TINY)
        if bool((residual <= tolerance).all() and is_all.all()):
            break
    left = P[:, :, :k].mT.to(x) @ torch.stack(us[:rows], 1)
    right = Qh[:, :k].to(x) @ torch.stack(vs, 1)
    return SingularTriplets(sigma[:, :k].to(x), left, right.view(batch, k, *x.shape[1:]), residual.to(x), step + 1)


def _next_direction(
    vector: Tensor, basis: list[Tensor], largest: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """What is new in a vector beside a basis, of unit length, and its length.

    Where it is nothing but rounding beside `largest`, a random direction that is new, and 0.
    """
    found = _orthogonal(vector, basis)
    length = torch.linalg.vector_norm(found, dim=1, keepdim=True)
    is_new = length > _ROUNDING * torch.finfo(vector.dtype).eps * largest
    if not bool(is_new.all()):
        random = torch.randn(vector.shape, generator=generator, device=vector.device, dtype=vector.dtype)
        found = found.where(is_new, _orthogonal(random, basis))
    return torch.nn.functional.normalize(found, dim=1), length.where(is_new, torch.zeros_like(length))


def _orthogonal(vector: Tensor, basis: list[Tensor]) -> Tensor:
    """Gram-Schmidt, twice: once is not enough (Kahan)."""
    if basis:
        Q = torch.stack(basis, 2)
        for _ in range(2):
            vector = vector - (Q @ (Q.mT @ vector.unsqueeze(2))).squeeze(2)
    return vector
