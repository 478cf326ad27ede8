"""Muon for whole networks: orthogonalised momentum for hidden weights, AdamW for all other parameters."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn


class Muon(torch.optim.Optimizer):
    r"""Optimizer that changes every hidden weight matrix by the same amount in all its directions.

    Hidden weights are all but the first and the last; a convolution has the matrix ``[out, in · kh · kw]``::

        m ← μ m + (1 − μ) g
        W ← (1 − lr · weight_decay) W − lr √max(1, rows / columns) · orthogonalize(μ m + (1 − μ) g)

    The first and last weight and all vectors (biases, without weight decay) are updated by AdamW with ``adam_lr``.
    Source: Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024. ``torch.optim.Muon`` takes
    matrices only and computes in bfloat16, which few CPUs support.

    Args:
        params: the parameters of a network, in its order.
        lr: learning rate of the hidden weights; the highest one, if a scheduler warms up.
        adam_lr: learning rate of all other parameters, likewise.
        momentum: μ.
        weight_decay: decoupled weight decay of all weights, but not of vectors.
        betas: of AdamW.
        eps: of AdamW.

    Raises:
        ValueError: if there are fewer than three weights, so that none is hidden.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        lr: float = 0.01,
        adam_lr: float = 3e-3,
        momentum: float = 0.95,
        weight_decay: float = 0.05,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        if lr <= 0 or adam_lr <= 0:
            raise ValueError(f"lr={lr} and adam_lr={adam_lr} must be positive")
        parameters = list(params)
        weights = [p for p in parameters if p.ndim >= 2]
        if len(weights) < 3:
            raise ValueError(f"Muon steps hidden weights, and a network with {len(weights)} weights has none")
        first, *hidden, last = weights
        groups: list[dict[str, Any]] = [
            {"params": hidden, "lr": lr, "orthogonal": True},
            {"params": [first, last], "lr": adam_lr},
            {"params": [p for p in parameters if p.ndim < 2], "lr": adam_lr, "weight_decay": 0.0},
        ]
        defaults = {
            "momentum": momentum,
            "weight_decay": weight_decay,
            "betas": tuple(betas),
            "eps": eps,
            "orthogonal": False,
        }
        super().__init__(groups, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Do one step, and return the loss of ``closure`` if it is given."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.mul_(1 - group["lr"] * group["weight_decay"])
                    (self._orthogonal_step if group["orthogonal"] else self._adam_step)(parameter, group)
        return loss

    def _orthogonal_step(self, parameter: Tensor, group: dict[str, Any]) -> None:
        state, gradient, momentum = self.state[parameter], parameter.grad, group["momentum"]
        assert gradient is not None
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        state["momentum"].lerp_(gradient, 1 - momentum)
        update = orthogonalize(gradient.lerp(state["momentum"], momentum).flatten(1))
        rows, columns = update.shape
        parameter.add_(update.view_as(parameter), alpha=-group["lr"] * max(1.0, rows / columns) ** 0.5)

    def _adam_step(self, parameter: Tensor, group: dict[str, Any]) -> None:
        state, gradient, (beta1, beta2) = self.state[parameter], parameter.grad, group["betas"]
        assert gradient is not None
        if not state:
            state["step"] = 0
            state["mean"], state["square"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
        state["step"] += 1
        state["mean"].lerp_(gradient, 1 - beta1)
        state["square"].mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        scale = (state["square"] / (1 - beta2 ** state["step"])).sqrt_().add_(group["eps"])
        parameter.addcdiv_(state["mean"], scale, value=-group["lr"] / (1 - beta1 ** state["step"]))


def orthogonalize(matrix: Tensor, steps: int = 5) -> Tensor:
    """Compute roughly U Vᵀ of ``matrix`` = U S Vᵀ, by a quintic Newton-Schulz iteration.

    The coefficients are those of Jordan, chosen for speed: singular values end between about 0.7 and 1.2.

    Args:
        matrix: ``[rows, columns]``.
        steps: iterations.

    >>> values = torch.linalg.svdvals(orthogonalize(torch.randn(20, 30)))
    >>> bool(values.max() < 1.3)
    True
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / (x.norm() + 1e-7)
    for _ in range(steps):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if tall else x
