"""A batch of Jacobians and what follows from them: the quantities that all measures are computed from."""

from functools import cached_property

import torch
from torch import Tensor

from jacoscope.jacobians import log_probs_jacobian_from_logits, probs_jacobian_from_logits

PIECE_ENTRIES = 1 << 20
"""Entries of Jacobians that are reduced at a time: what stays in the cache is read from memory once."""


class Workspace:
    """Memory that is used again for the next batch: new pages from the system cost a sixth of the time."""

    def __init__(self) -> None:
        self._buffers: dict[str, Tensor] = {}

    def take(self, name: str, shape: torch.Size, like: Tensor, dtype: torch.dtype) -> Tensor:
        """Return a tensor of this shape, with arbitrary content; it is valid until the name is taken again."""
        size = shape.numel()
        buffer = self._buffers.get(name)
        if buffer is None or buffer.numel() < size or buffer.dtype != dtype or buffer.device != like.device:
            buffer = self._buffers[name] = torch.empty(size, dtype=dtype, device=like.device)
        return buffer[:size].view(shape)


class JacobianBatch:
    r"""Jacobians of a batch of samples, and what follows from them. Each quantity is computed once, when first used.

    Nearly all measures follow from the Gram matrix of a sample's gradients, :math:`G = J J^\top`, computed in float64,
    where products of float32 numbers are exact: the singular values are the roots of its eigenvalues, the Frobenius
    norm is the root of its trace, and :math:`\|\nabla (z_y - z_j)\|^2 = G_{yy} + G_{jj} - 2 G_{yj}`.

    Args:
        x: the inputs, ``[batch, *input_shape]``.
        J: Jacobians of the logits, ``[batch, outputs, *input_shape]``.
        logits: ``[batch, outputs]``.
        labels: true classes, ``[batch]``; −1 where unknown, and by default.
        workspace: memory to use again, where many batches follow each other.

    >>> J = torch.tensor([[[3.0, 0.0, 0.0], [0.0, 4.0, 0.0]]])
    >>> batch = JacobianBatch(torch.rand(1, 3), J, torch.tensor([[1.0, 0.0]]))
    >>> batch.singular_values, batch.output_norms, batch.finite
    (tensor([[4., 3.]], dtype=torch.float64), tensor([[3., 4.]], dtype=torch.float64), tensor([True]))
    >>> batch.of("probs").J.sum(1).abs().max() < 1e-6
    tensor(True)
    """

    def __init__(
        self,
        x: Tensor,
        J: Tensor,
        logits: Tensor,
        labels: Tensor | None = None,
        workspace: Workspace | None = None,
    ) -> None:
        self.x = x
        self.J = J
        self.logits = logits
        self.labels = torch.full((len(J),), -1) if labels is None else labels
        self.output = "logits"
        self.of_logits: JacobianBatch = self
        """The Jacobians of the logits, of the same samples."""
        self._workspace = workspace or Workspace()

    def of(self, output: str) -> "JacobianBatch":
        """Return the Jacobians of ``"logits"``, ``"probs"`` or ``"log_probs"``, computed from those of the logits."""
        if output == self.output:
            return self
        J = of_output(self.of_logits.J, self.logits, output)
        batch = JacobianBatch(self.x, J, self.logits, self.labels, self._workspace)
        batch.output, batch.of_logits = output, self.of_logits
        return batch

    @property
    def rows(self) -> Tensor:
        """J as one matrix for each sample, ``[batch, outputs, features]``; a view."""
        return self.J.flatten(2) if self.J.ndim > 2 else self.J.unsqueeze(2)

    @cached_property
    def finite(self) -> Tensor:
        """Whether the logits and all derivatives of a sample are finite, ``[batch]``; where not, nothing else holds."""
        finite = self.logits.isfinite().all(1).to(self._gram.device) & _squares(self._gram).sum(1).isfinite()
        return finite if self.of_logits is self else finite & self.of_logits.finite

    @cached_property
    def gram(self) -> Tensor:
        """G, ``[batch, outputs, outputs]``, in float64; 0 where a sample is not finite, which has no eigenvalues."""
        return self._gram.where(self.finite.view(-1, 1, 1), 0.0)

    @cached_property
    def singular_values(self) -> Tensor:
        """All singular values of J in descending order, ``[batch, min(outputs, features)]``, in float64."""
        eigenvalues: Tensor = torch.linalg.eigvalsh(self.gram)
        return eigenvalues.clamp_(min=0).sqrt_().flip(1)[:, : self.rows.shape[2]]

    @cached_property
    def output_norms(self) -> Tensor:
        """L2 norm of each output's gradient, ``[batch, outputs]``, in float64."""
        return _squares(self.gram).sqrt()

    @cached_property
    def magnitudes(self) -> Tensor:
        """|J|, ``[batch, outputs, features]``; with a shared workspace, valid until the next batch's are computed."""
        rows = self.rows
        memory = self._workspace.take(f"magnitudes of {self.output}", rows.shape, rows, rows.dtype)
        return torch.abs(rows, out=memory)

    @cached_property
    def boundary(self) -> tuple[Tensor, Tensor]:
        """First-order L2 distance to the decision boundary, and the class behind it, both ``[batch]``.

        The same as :func:`jacoscope.jacobians.boundary_distance` returns.
        """
        if self.of_logits is not self:
            return self.of_logits.boundary
        logits = self.logits.to(self.gram)
        y = logits.argmax(1, keepdim=True)
        squares = _squares(self.gram)
        row = self.gram.gather(1, y.unsqueeze(2).expand(-1, 1, self.gram.shape[2])).squeeze(1)
        slopes = (squares.gather(1, y) + squares - 2 * row).clamp(min=0).sqrt()
        # What is left of the largest gradient after rounding is no slope.
        slopes = slopes.where(slopes > 1e-7 * squares.amax(1, keepdim=True).sqrt(), torch.zeros_like(slopes))
        margins = logits.gather(1, y) - logits
        distances = (margins / slopes).where(slopes > 0, torch.full_like(slopes, torch.inf)).scatter(1, y, torch.inf)
        distance, nearest = distances.min(1)
        # Where every distance is infinite, min() may name the sample's own class.
        runner_up = logits.scatter(1, y, -torch.inf).argmax(1)
        return distance, runner_up.where(distance.isinf(), nearest)

    @cached_property
    def predictions(self) -> Tensor:
        """Output with the largest logit, ``[batch]``."""
        return self.logits.argmax(1)

    @cached_property
    def correct(self) -> Tensor:
        """Whether the prediction is the true class, ``[batch]``."""
        return self.predictions == self.labels

    @cached_property
    def probabilities(self) -> Tensor:
        """Softmax of the logits, ``[batch, outputs]``."""
        return self.logits.softmax(1)

    @cached_property
    def _gram(self) -> Tensor:
        """G as it comes out, NaN or infinite too."""
        rows = self.rows.cpu() if self.J.device.type == "mps" else self.rows  # Apple's GPUs have no float64
        columns = rows.mT  # for which BLAS is twice as fast
        gram = torch.empty(*rows.shape[:2], rows.shape[1], dtype=torch.float64, device=rows.device)
        step = max(1, PIECE_ENTRIES // max(1, rows.shape[1] * rows.shape[2]))
        for start in range(0, len(rows), step):
            piece = columns[start : start + step]
            precise = self._workspace.take("float64", piece.shape, piece, torch.float64).copy_(piece)
            torch.bmm(precise.mT, precise, out=gram[start : start + step])
        return gram


def of_output(J: Tensor, logits: Tensor, output: str) -> Tensor:
    """Return the Jacobian of ``"logits"``, ``"probs"`` or ``"log_probs"``, computed from that of the logits.

    Args:
        J: Jacobian of the logits, ``[batch, outputs, *input_shape]``.
        logits: ``[batch, outputs]``.
        output: what is differentiated.
    """
    if output == "probs":
        return probs_jacobian_from_logits(J, logits)
    return log_probs_jacobian_from_logits(J, logits) if output == "log_probs" else J


def _squares(gram: Tensor) -> Tensor:
    """Squared length of each output's gradient, ``[batch, outputs]``."""
    return gram.diagonal(dim1=1, dim2=2)
