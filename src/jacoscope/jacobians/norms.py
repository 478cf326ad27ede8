r"""Norms and ranks of a Jacobian: pure functions from `[batch, outputs, *input_shape]` to a number a sample.

Throughout, :math:`J` stands for one sample's matrix with a row for each output and a column for each input
feature: the linear map that sends a small change of the input to the change of the outputs. Its units are
output per unit of input; for pixels in [0, 1] a norm of 3 means that a change of the image of L2 length 0.1
changes the outputs by at most (spectral) 0.3.
"""

import torch
from torch import Tensor

from .errors import JacobianError

_CACHE_ENTRIES = 1 << 17
_TINY = 1e-24
"""A sum of squares so large has lost nothing that counts to the smallest float32."""


def as_matrix(J: Tensor) -> Tensor:
    """The Jacobian as one matrix a sample, features first: `[batch, features, outputs]`.

    For a digit and ten classes this is 784×10, with entry `[b, i, k]` = ∂ output k / ∂ pixel i. A view;
    nothing is copied.

    Raises JacobianError if `J` is not `[batch, outputs, *input_shape]` of a floating point type.

    >>> as_matrix(torch.zeros(2, 10, 1, 28, 28)).shape
    torch.Size([2, 784, 10])
    """
    return as_rows(J).transpose(1, 2)


def frobenius_norm(J: Tensor) -> Tensor:
    r"""Frobenius norm :math:`\|J\|_F = \sqrt{\sum_{k,i} J_{ki}^2}`, `[batch]`.

    The overall sensitivity: for random noise of standard deviation ε on every input feature, the expected squared
    change of the outputs is :math:`\varepsilon^2 \|J\|_F^2` to first order.

    Raises JacobianError if `J` is not `[batch, outputs, *input_shape]` of a floating point type.

    >>> frobenius_norm(torch.tensor([[[3.0, 0.0], [0.0, 4.0]]]))
    tensor([5.])
    """
    # Output by output: over both dimensions of a result that is a transposed view, PyTorch takes nine times as long.
    norm: Tensor = torch.linalg.vector_norm(output_norms(J), dim=1)
    return norm


def output_norms(J: Tensor, p: float = 2.0) -> Tensor:
    r"""Norm of every output's gradient, :math:`\|\nabla_x f_k\|_p`, `[batch, outputs]`.

    Args:
        J: `[batch, outputs, *input_shape]`.
        p: order of the norm of a gradient; `float("inf")` is its largest entry.

    Raises:
        JacobianError: `J` has another shape, or is not of a floating point type.

    >>> output_norms(torch.tensor([[[3.0, 4.0], [0.0, 1.0]]]))
    tensor([[5., 1.]])
    """
    norms: Tensor = torch.linalg.vector_norm(as_rows(J), ord=p, dim=2)
    return norms


def l1_operator_norm(J: Tensor) -> Tensor:
    r"""Operator norm from L1 to L1, :math:`\max_i \sum_k |J_{ki}|`, `[batch]`.

    The largest total change of the outputs that a single input feature can cause, per unit.

    Raises JacobianError if `J` is not `[batch, outputs, *input_shape]` of a floating point type.

    >>> l1_operator_norm(torch.tensor([[[3.0, 4.0], [0.0, 1.0]]]))
    tensor([5.])
    """
    return _largest(as_rows(J).abs().sum(1))


def linf_operator_norm(J: Tensor) -> Tensor:
    r"""Operator norm from L∞ to L∞, :math:`\max_k \sum_i |J_{ki}|`, `[batch]`.

    The largest change of any output when every input feature may move by one unit: what an L∞ adversary
    attacks.

    Raises JacobianError if `J` is not `[batch, outputs, *input_shape]` of a floating point type.

    >>> linf_operator_norm(torch.tensor([[[3.0, 4.0], [0.0, 1.0]]]))
    tensor([7.])
    """
    return _largest(as_rows(J).abs().sum(2))


def singular_values(J: Tensor) -> Tensor:
    r"""All singular values in descending order, `[batch, min(outputs, features)]`.

    Computed as the square roots of the eigenvalues of the smaller Gram matrix (:math:`J J^\top` for fewer outputs than
    features), formed and solved in float64. The absolute error is about :math:`10^{-8} \sigma_1`, below the resolution
    of float32; for float64 Jacobians, whose own resolution is finer, a full SVD is taken.

    Raises JacobianError if `J` is not `[batch, outputs, *input_shape]` of a floating point type.

    >>> singular_values(torch.tensor([[[3.0, 0.0, 0.0], [0.0, 4.0, 0.0]]]))
    tensor([[4., 3.]])
    """
    A = as_rows(J)
    if 0 in A.shape:
        return A.new_zeros(A.shape[0], min(A.shape[1:]))
    # LAPACK gives up on the whole batch when one matrix is not finite; only that sample's answer is unknown.
    if A.dtype == torch.float64 or A.requires_grad:
        broken = ~A.isfinite().all(2).all(1)
        exact: Tensor = torch.linalg.svdvals(A.masked_fill(broken.view(-1, 1, 1), 0.0))
        return exact.masked_fill(broken.unsqueeze(1), torch.nan)
    gram = _gram(A)
    broken = ~gram.isfinite().all(2).all(1)
    eigenvalues = torch.linalg.eigvalsh(gram.masked_fill_(broken.view(-1, 1, 1), 0.0))
    values: Tensor = eigenvalues.clamp_(min=0).sqrt_().flip(1).masked_fill_(broken.unsqueeze(1), torch.nan)
    return values.to(J)


def spectral_norm(J: Tensor) -> Tensor:
    r"""Spectral norm, the largest singular value :math:`\sigma_1 = \max_{\|v\|_2 = 1} \|J v\|_2`, `[batch]`.

    The worst case: how far the outputs move, in L2, for the most harmful small change of the input of unit
    length. The relative error is of the order of the resolution of J's type.

    Raises JacobianError if `J` is not `[batch, outputs, *input_shape]` of a floating point type.

    >>> spectral_norm(torch.tensor([[[3.0, 0.0, 0.0], [0.0, 4.0, 0.0]]]))
    tensor([4.])
    """
    A = as_rows(J)
    if A.dtype != torch.float32 or A.requires_grad or 0 in A.shape:
        return _largest(singular_values(J))
    # The largest singular value, unlike the small ones, keeps its digits in a float32 Gram matrix, which is formed
    # several times as fast; unless squares leave the range of the type.
    gram = torch.bmm(A, A.mT) if A.shape[1] <= A.shape[2] else torch.bmm(A.mT, A)
    trace = gram.diagonal(dim1=1, dim2=2).sum(1)
    if not ((trace > _TINY) & trace.isfinite()).all():
        return _largest(singular_values(J))
    values: Tensor = torch.linalg.eigvalsh(in_float64(gram))[:, -1].sqrt()
    return values.to(J)


def nuclear_norm(J: Tensor) -> Tensor:
    r"""Nuclear norm, the sum of the singular values :math:`\sum_i \sigma_i`, `[batch]`.

    A convex substitute for the rank; large if the outputs respond to many independent directions.

    Raises JacobianError if `J` is not `[batch, outputs, *input_shape]` of a floating point type.

    >>> nuclear_norm(torch.tensor([[[3.0, 0.0, 0.0], [0.0, 4.0, 0.0]]]))
    tensor([7.])
    """
    return singular_values(J).sum(1)


def stable_rank(J: Tensor) -> Tensor:
    r"""Stable rank :math:`\|J\|_F^2 / \sigma_1^2`, between 1 and the rank, `[batch]`; 0 for a zero Jacobian.

    How many directions carry as much as the strongest. Small perturbations barely change it, unlike the rank
    (Rudelson & Vershynin, Sampling from large matrices, 2007).

    Raises JacobianError if `J` is not `[batch, outputs, *input_shape]` of a floating point type.

    >>> stable_rank(torch.eye(3).unsqueeze(0))
    tensor([3.])
    """
    s = singular_values(J)
    largest = _largest(s)
    # Divided before they are squared, so that neither tiny nor huge Jacobians leave the range of the type.
    return (s / largest.where(largest != 0, torch.ones_like(largest)).unsqueeze(1)).square().sum(1)


def effective_rank(J: Tensor) -> Tensor:
    r"""Effective rank :math:`\exp(-\sum_i q_i \ln q_i)` with :math:`q_i = \sigma_i / \sum_j \sigma_j`,
    `[batch]`.

    0 for a zero Jacobian.

    The number of equal singular values that would have the same entropy: between 1 and the rank
    (Roy & Vetterli, The effective rank, 2007).

    Raises JacobianError if `J` is not `[batch, outputs, *input_shape]` of a floating point type.

    >>> effective_rank(torch.eye(4).unsqueeze(0))
    tensor([4.])
    """
    s = singular_values(J)
    total = s.sum(1, keepdim=True)
    q = s / total.where(total != 0, torch.ones_like(total))
    rank: Tensor = torch.special.entr(q).sum(1).exp()
    return rank.where(total.squeeze(1) != 0, torch.zeros_like(rank))


def check_jacobian(J: Tensor) -> None:
    """Raise if `J` is not a Jacobian of a batch."""
    if J.ndim < 2 or not J.is_floating_point():
        raise JacobianError(
            "Expected a Jacobian [batch, outputs, *input_shape] of a floating point type, "
            f"got {J.dtype} {list(J.shape)}."
        )


def as_rows(J: Tensor) -> Tensor:
    """One matrix a sample, a row for each output: `[batch, outputs, features]`."""
    check_jacobian(J)
    return J.unsqueeze(2) if J.ndim == 2 else J.flatten(2)


def _gram(A: Tensor) -> Tensor:
    """The smaller of A Aᵀ and Aᵀ A in float64, a cache-sized piece of the batch at a time."""
    if A.shape[1] > A.shape[2]:
        A = A.transpose(1, 2)
    step = max(1, _CACHE_ENTRIES // (A.shape[1] * A.shape[2]))
    gram = in_float64(A[:0]).new_empty(A.shape[0], A.shape[1], A.shape[1])
    for start in range(0, A.shape[0], step):
        piece = in_float64(A[start : start + step])
        torch.bmm(piece, piece.mT, out=gram[start : start + step])
    return gram


def in_float64(values: Tensor) -> Tensor:
    """The same in float64; on the CPU where the device, as Apple's, has no such numbers."""
    return values.cpu().double() if values.device.type == "mps" else values.double()


def _largest(values: Tensor) -> Tensor:
    return values.amax(1) if values.shape[1] else values.new_zeros(values.shape[0])
