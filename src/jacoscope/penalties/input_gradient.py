"""The gradient of the loss with respect to the input: double backpropagation."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from .forward_pass import ForwardPass
from .penalty import Penalty, Unit, classes_of


class InputGradientPenalty(Penalty):
    r"""Half the mean squared gradient of the loss, :math:`R = \frac{1}{2B} \sum_b \|\nabla_x \ell(f(x_b), y_b)\|_2^2`.

    It costs one backward pass and its derivative, and it is small wherever the loss is small. Sources: Drucker and
    LeCun, "Improving generalization performance using double backpropagation", 1992; Ross and Doshi-Velez, "Improving
    the adversarial robustness and interpretability of deep neural networks by regularizing their input gradients",
    2018, arXiv:1711.09404.

    ``unit``, ``std``, ``ramp_up``, ``every_n_steps`` and ``seed`` are those of :class:`Penalty`.

    Args:
        weight: λ.
        loss: of logits and classes, a mean over the batch; by default cross-entropy.

    Raises:
        ValueError: if a setting is not allowed.

    >>> model = torch.nn.Linear(4, 3)
    >>> x, y = torch.rand(2, 4), torch.tensor([0, 2])
    >>> slope = model(x).softmax(1) - torch.nn.functional.one_hot(y, 3)
    >>> torch.isclose(InputGradientPenalty()(model, x, y), (slope @ model.weight).square().sum() / 4)
    tensor(True)
    """

    def __init__(
        self,
        weight: float = 1.0,
        loss: Callable[[Tensor, Tensor], Tensor] = cross_entropy,
        *,
        unit: Unit = "pixel",
        std: Sequence[float] | None = None,
        ramp_up: float = 0.0,
        every_n_steps: int = 1,
        seed: int = 0,
    ) -> None:
        super().__init__(weight, unit, std, "logits", ramp_up, every_n_steps, seed)
        self.loss = loss

    def at(self, forward: ForwardPass, y: Tensor | None = None, generator: torch.Generator | None = None) -> Tensor:  # noqa: ARG002
        with torch.enable_grad():
            # The loss is a mean: its derivative with respect to one sample's logits is that of its own loss / B.
            total = len(forward.x) * self.loss(forward.logits, classes_of(y, self))
        (slopes,) = torch.autograd.grad(total, forward.logits, create_graph=True)
        return self.squared_lengths(forward.pull_back(forward.logits, slopes), forward).sum() / (2 * len(forward.x))
