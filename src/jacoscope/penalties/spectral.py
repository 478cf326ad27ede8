"""The largest singular value of the Jacobian, by power iteration."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import normalize

from jacoscope.jacobians.convolution import gradients_of_inputs_only

from .forward_pass import ForwardPass
from .penalty import Penalty, Unit, require


class SpectralPenalty(Penalty):
    r"""Half the mean squared spectral norm, :math:`R = \frac{1}{2B} \sum_b \sigma_1(J_b)^2`.

    Power iteration, :math:`u \leftarrow J J^\top u / \|J J^\top u\|`, finds the direction :math:`u` of outputs that
    belongs to :math:`\sigma_1 = \|J^\top u\|`. The gradient is that of :math:`\|J^\top u\|^2` with u fixed, which is
    exact where :math:`u` is (Danskin's theorem). With a few iterations R is a lower bound. Sources: Yoshida and
    Miyato, "Spectral norm regularization", 2017, arXiv:1705.10941, for weights; Sokolić et al., "Robust large margin
    deep neural networks", 2017, arXiv:1605.08254, for Jacobians.

    Where the same samples come again, :meth:`top_direction` continues from the vectors of the step before, and one
    iteration is enough.

    ``unit``, ``std``, ``outputs``, ``ramp_up``, ``every_n_steps`` and ``seed`` are those of :class:`Penalty`.

    Args:
        weight: λ.
        iterations: of the power iteration, from a random start; each costs two backward passes.

    Raises:
        ValueError: if a setting is not allowed.

    >>> model = torch.nn.Linear(4, 3)
    >>> penalty = SpectralPenalty(iterations=100)
    >>> sigma = torch.linalg.matrix_norm(model.weight, 2)
    >>> torch.isclose(penalty(model, torch.rand(2, 4)), sigma**2 / 2, rtol=1e-3)
    tensor(True)
    """

    def __init__(
        self,
        weight: float = 1.0,
        iterations: int = 4,
        *,
        unit: Unit = "pixel",
        std: Sequence[float] | None = None,
        outputs: str = "logits",
        ramp_up: float = 0.0,
        every_n_steps: int = 1,
        seed: int = 0,
    ) -> None:
        super().__init__(weight, unit, std, outputs, ramp_up, every_n_steps, seed)
        require("iterations", iterations, iterations >= 1, "1 or more")
        self.iterations = iterations

    def at(self, forward: ForwardPass, y: Tensor | None = None, generator: torch.Generator | None = None) -> Tensor:  # noqa: ARG002
        values = self.values(forward)
        u = self.top_direction(forward, generator=generator)
        return self.squared_lengths(forward.pull_back(values, u), forward).sum() / (2 * len(forward.x))

    def top_direction(
        self, forward: ForwardPass, start: Tensor | None = None, generator: torch.Generator | None = None
    ) -> Tensor:
        """Return the unit vectors of outputs after the iterations, ``[batch, outputs]``, without a graph.

        Args:
            forward: the forward pass.
            start: vectors to begin from, ``[batch, outputs]``; by default random ones.
            generator: where random ones come from.
        """
        values = self.values(forward)
        u = self.directions(1, values, generator)[0] if start is None else start.detach().clone()
        # Jᵀu is linear in u, so its derivative in the direction w, one more backward pass, is J w.
        anchor = u.requires_grad_()
        linear = forward.pull_back(values, anchor)
        gradient = linear.detach()
        for step in range(self.iterations):
            if step:
                gradient = forward.pull_back(values, u, create_graph=False)
            # D² Jᵀu: in standardised units the Jacobian is J D.
            across = self.in_unit(self.in_unit(gradient, forward), forward)
            with gradients_of_inputs_only(), torch.autocast(forward.x.device.type, enabled=False):
                (image,) = torch.autograd.grad(linear, anchor, across, retain_graph=True)
            u = normalize(image, dim=1)
        return u.detach()
