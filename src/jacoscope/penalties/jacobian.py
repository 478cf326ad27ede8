"""The squared Frobenius norm of the Jacobian, exact or by random projections."""

from collections.abc import Sequence

import torch
from torch import Tensor

from .forward_pass import ForwardPass
from .penalty import Penalty, Unit, require


class JacobianPenalty(Penalty):
    r"""Half the mean squared Frobenius norm, :math:`R = \frac{1}{2B} \sum_b \|J_b\|_F^2`.

    With n projections it is estimated without bias,

    .. math:: \|J_b\|_F^2 \approx \frac{C}{n} \sum_{i=1}^n \|J_b^\top v_{bi}\|_2^2 ,

    with C outputs and :math:`v_{bi}` uniform on their unit sphere, independent for each sample. One projection costs
    one backward pass and its derivative. Source: Hoffman, Roberts and Yaida, "Robust Learning with Jacobian
    Regularization", 2019, arXiv:1908.02729, algorithm 1. They differentiate with respect to standardised pixels.

    ``unit``, ``std``, ``outputs``, ``ramp_up``, ``every_n_steps`` and ``seed`` are those of :class:`Penalty`.

    Args:
        weight: λ.
        projections: n, or None for the exact norm.

    Raises:
        ValueError: if a setting is not allowed.

    >>> model = torch.nn.Linear(4, 3)
    >>> penalty = JacobianPenalty(projections=None)
    >>> torch.isclose(penalty(model, torch.rand(2, 4)), model.weight.square().sum() / 2)
    tensor(True)
    """

    def __init__(
        self,
        weight: float = 1.0,
        projections: int | None = 1,
        *,
        unit: Unit = "pixel",
        std: Sequence[float] | None = None,
        outputs: str = "logits",
        ramp_up: float = 0.0,
        every_n_steps: int = 1,
        seed: int = 0,
    ) -> None:
        super().__init__(weight, unit, std, outputs, ramp_up, every_n_steps, seed)
        require("projections", projections, projections is None or projections >= 1, "1 or more, or null: exact")
        self.projections = projections

    def at(self, forward: ForwardPass, y: Tensor | None = None, generator: torch.Generator | None = None) -> Tensor:  # noqa: ARG002
        values = self.values(forward)
        if self.projections is None:
            squares = [self.squared_lengths(part, forward).sum() for part in forward.parts(values)]
            return torch.stack(squares).sum() / (2 * len(forward.x))
        v = self.directions(self.projections, values, generator)
        gradient = forward.pull_back(values, v[0] if self.projections == 1 else v)
        return values.shape[1] * self.squared_lengths(gradient, forward).sum() / (2 * self.projections * len(forward.x))
