"""A hinge on the first-order distance to the decision boundary."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from jacoscope.jacobians.boundary import boundary_distance
from jacoscope.jacobians.outputs import check_classes

from .forward_pass import ForwardPass
from .penalty import Penalty, Unit, classes_of, require

EPSILON = 1e-6
"""Of the length of a gradient, so that a network that depends on nothing has a finite penalty; as Elsayed et al. do."""


class BoundaryPenalty(Penalty):
    r"""A hinge on the distance to the decision boundary, :math:`R = \frac{1}{B} \sum_b \max(0, \gamma - d_b)`.

    To first order the distance is

    .. math:: d = \min_{j \ne y} \frac{z_y - z_j}{\|\nabla_x (z_y - z_j)\|_2 + \varepsilon} ,

    negative for samples that are classified wrongly. The nearest class j is found from the whole Jacobian, without its
    graph; then one backward pass and its derivative give the gradient of R, which is exact. Source: Elsayed, Krishnan,
    Mobahi, Regan and Bengio, "Large margin deep networks for classification", 2018, arXiv:1803.05598, with the L2 norm.

    ``unit``, ``std``, ``ramp_up``, ``every_n_steps`` and ``seed`` are those of :class:`Penalty`.

    Args:
        weight: λ.
        distance: γ, in the unit that is chosen; samples that lie farther from the boundary have no penalty.
        nearest: ``exact``, or ``runner_up`` for the class with the largest other logit, which costs less.

    Raises:
        ValueError: if a setting is not allowed.

    >>> model = torch.nn.Linear(4, 2, bias=False)
    >>> slope = model.weight[0] - model.weight[1]
    >>> x = 0.25 * (slope / slope.norm()).detach().unsqueeze(0)  # its distance is 0.25
    >>> torch.isclose(BoundaryPenalty(distance=1.0)(model, x, torch.tensor([0])), torch.tensor(0.75), atol=1e-4)
    tensor(True)
    """

    def __init__(
        self,
        weight: float = 1.0,
        distance: float = 1.0,
        nearest: Literal["exact", "runner_up"] = "exact",
        *,
        unit: Unit = "pixel",
        std: Sequence[float] | None = None,
        ramp_up: float = 0.0,
        every_n_steps: int = 1,
        seed: int = 0,
    ) -> None:
        super().__init__(weight, unit, std, "logits", ramp_up, every_n_steps, seed)
        require("distance", distance, distance > 0, "more than 0")
        require("nearest", nearest, nearest in ("exact", "runner_up"), "exact or runner_up")
        self.distance = distance
        self.nearest = nearest

    def at(self, forward: ForwardPass, y: Tensor | None = None, generator: torch.Generator | None = None) -> Tensor:  # noqa: ARG002
        y = classes_of(y, self)
        check_classes(y, forward.logits.shape[1])
        other = self._other_class(forward, y)
        pair = torch.stack([y, other], 1)
        signs = forward.logits.new_tensor([[1.0, -1.0]]).expand(len(y), 2)
        u = torch.zeros_like(forward.logits).scatter(1, pair, signs)
        slope = self.squared_lengths(forward.pull_back(forward.logits, u), forward).clamp_min(EPSILON**2).sqrt()
        distance = (forward.logits * u).sum(1) / (slope + EPSILON)
        return torch.relu(self.distance - distance).mean()

    def _other_class(self, forward: ForwardPass, y: Tensor) -> Tensor:
        """Return the class behind the nearest boundary, ``[batch]``."""
        logits = forward.logits.detach()
        if self.nearest == "runner_up":
            return logits.scatter(1, y.unsqueeze(1), -torch.inf).argmax(1)
        return boundary_distance(self.in_unit(forward.jacobian(forward.logits), forward), logits, y).nearest
