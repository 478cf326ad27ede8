"""Pictures of a Jacobian: which input features matter, per sample and per class."""

import torch
from torch import Tensor

from .errors import JacobianError
from .norms import check_jacobian
from .outputs import check_classes


def sensitivity_map(J: Tensor) -> Tensor:
    r"""Root mean square over the outputs, :math:`\sqrt{\frac1K \sum_k J_{ki}^2}`, `[batch, *input_shape]`.

    How much the outputs as a whole react to every input feature, whatever the sign.

    Raises JacobianError if `J` is not `[batch, outputs, *input_shape]` of a floating point type.

    >>> sensitivity_map(torch.tensor([[[3.0, 0.0], [3.0, 4.0]]]))
    tensor([[3.0000, 2.8284]])
    """
    check_jacobian(J)
    rms: Tensor = torch.linalg.vector_norm(J, dim=1) / J.shape[1] ** 0.5
    return rms


def class_mean_maps(J: Tensor, classes: Tensor | None = None, *, signed: bool = False) -> Tensor:
    r"""Mean map of every output over the samples, `[outputs, *input_shape]`.

    The mean of :math:`|J_{ki}|`, or of :math:`J_{ki}` itself if `signed`.

    Args:
        J: `[batch, outputs, *input_shape]`.
        classes: `[batch]`; if given, the map of output k is the mean over the samples of class k only, and
            NaN if there is no such sample.
        signed: average the derivatives themselves, so that opposite signs cancel.

    Raises:
        JacobianError: `J` is not a Jacobian, or `classes` has another shape or a number that is not an output.

    >>> class_mean_maps(torch.tensor([[[1.0, -2.0]], [[3.0, 2.0]]]))
    tensor([[2., 2.]])
    """
    check_jacobian(J)
    values = J if signed else J.abs()
    if classes is None:
        return values.mean(0)
    if classes.shape != J.shape[:1]:
        raise JacobianError(f"classes has shape {list(classes.shape)}; expected one class a sample, [{J.shape[0]}].")
    check_classes(classes, J.shape[1])
    weights = torch.nn.functional.one_hot(classes.to(J.device, torch.int64), J.shape[1]).to(J.dtype)
    return torch.einsum("bk,bk...->k...", weights / weights.sum(0), values)


def input_alignment(J: Tensor, x: Tensor) -> Tensor:
    r"""Cosine of the angle between the input and every output's gradient, `[batch, outputs]`.

    .. math:: \cos\angle(x, \nabla_x f_k) = \frac{\langle x, \nabla_x f_k \rangle}{\|x\|_2 \, \|\nabla_x
    f_k\|_2}

    Robust networks have gradients that look like the image (Etmann et al., On the connection between adversarial
    robustness and saliency map interpretability, 2019). 0 where either vector is zero.

    Args:
        J: `[batch, outputs, *input_shape]`.
        x: `[batch, *input_shape]`.

    Raises:
        JacobianError: `J` is not a Jacobian, or the shapes do not match.

    >>> input_alignment(torch.tensor([[[2.0, 0.0], [0.0, 1.0]]]), torch.tensor([[1.0, 0.0]]))
    tensor([[1., 0.]])
    """
    check_jacobian(J)
    if J.shape[:1] + J.shape[2:] != x.shape:
        raise JacobianError(
            f"J has shape {list(J.shape)} and x {list(x.shape)}; expected "
            "[batch, outputs, *input_shape] and [batch, *input_shape]."
        )
    gradients = J.flatten(2)
    image = x.to(J.dtype).flatten(1).unsqueeze(2)
    lengths = torch.linalg.vector_norm(gradients, dim=2) * torch.linalg.vector_norm(image, dim=1)
    products = (gradients @ image).squeeze(2)
    cosines: Tensor = (products / lengths).where(lengths > 0, torch.zeros_like(lengths))
    return cosines
