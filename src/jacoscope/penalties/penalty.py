"""What all penalties have in common: their weight over a training, their units, and where they draw from."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from jacoscope.jacobians.outputs import OUTPUTS, output_function

from .forward_pass import ForwardPass, Model

Unit = Literal["pixel", "standardised"]
UNITS = ("pixel", "standardised")


class Penalty(nn.Module, ABC):
    r"""A term :math:`\lambda R(f; x, y)` that is added to a loss.

    ``loss + penalty.weight * penalty(model, x, y)`` is what is minimised. To share the forward pass with the loss::

        forward = ForwardPass.of(model, x)
        loss = cross_entropy(forward.logits, y) + penalty.weight * penalty.at(forward, y)

    Args:
        weight: λ.
        unit: ``pixel`` for derivatives with respect to the input as it is, in [0, 1]; ``standardised`` for derivatives
            with respect to ``(input − mean) / std``, which are ``std`` times as large.
        std: deviation of each channel, for ``unit="standardised"``.
        outputs: what is differentiated: ``logits``, ``probs`` or ``log_probs``.
        ramp_up: share of the training during which λ grows linearly from 0.
        every_n_steps: the penalty is added in every n-th step only, n times as large.
        seed: of what is drawn, together with the number of the step.

    Attributes:
        process: number of this process, of those that train together.
        processes: how many there are.

    Raises:
        ValueError: if a setting is not allowed.
    """

    def __init__(
        self,
        weight: float = 1.0,
        unit: Unit = "pixel",
        std: Sequence[float] | None = None,
        outputs: str = "logits",
        ramp_up: float = 0.0,
        every_n_steps: int = 1,
        seed: int = 0,
    ) -> None:
        super().__init__()
        require("weight", weight, weight >= 0, "0 or more")
        require("unit", unit, unit in UNITS, " or ".join(UNITS))
        require("std", std, unit == "pixel" or bool(std), "the deviation of each channel, for unit='standardised'")
        require("outputs", outputs, outputs in OUTPUTS, ", ".join(OUTPUTS))
        require("ramp_up", ramp_up, 0 <= ramp_up <= 1, "a share of the training, 0 to 1")
        require("every_n_steps", every_n_steps, every_n_steps >= 1, "1 or more")
        self.weight = weight
        self.unit = unit
        self.std = std if unit == "standardised" else None
        self.outputs = outputs
        self.ramp_up = ramp_up
        self.every_n_steps = every_n_steps
        self.seed = seed
        self.process, self.processes = 0, 1

    def forward(
        self, model: Model, x: Tensor, y: Tensor | None = None, generator: torch.Generator | None = None
    ) -> Tensor:
        """Compute R with its gradients.

        Args:
            model: a module or function from ``[batch, *input_shape]`` to logits ``[batch, outputs]``.
            x: the inputs.
            y: classes, ``[batch]``, for penalties that need them.
            generator: where random vectors come from; by default the global one of the device.

        Returns:
            A scalar, the mean over the batch, not multiplied by λ.
        """
        return self.at(ForwardPass.of(model, x), y, generator)

    @abstractmethod
    def at(self, forward: ForwardPass, y: Tensor | None = None, generator: torch.Generator | None = None) -> Tensor:
        """Compute R from a forward pass that the loss shares."""

    def weight_at(self, step: int, total_steps: int) -> float:
        """Return λ at a step, 0 where the penalty is left out.

        Args:
            step: counted from 0.
            total_steps: of the whole training.

        >>> from jacoscope.penalties import JacobianPenalty
        >>> penalty = JacobianPenalty(0.1, ramp_up=0.5, every_n_steps=2)
        >>> [round(penalty.weight_at(step, 8), 3) for step in range(8)]
        [0.05, 0.0, 0.15, 0.0, 0.2, 0.0, 0.2, 0.0]
        """
        if step % self.every_n_steps:
            return 0.0
        ramp = self.ramp_up * total_steps
        return self.weight * self.every_n_steps * (min(1.0, (step + 1) / ramp) if ramp else 1.0)

    def generator(self, step: int, device: torch.device) -> torch.Generator:
        """Return a generator for one step, counted from 0: a resumed training draws the same numbers."""
        digest = hashlib.blake2b(repr((self.seed, step)).encode(), digest_size=8).digest()
        return torch.Generator(device).manual_seed(int.from_bytes(digest, "little"))

    def directions(self, count: int, values: Tensor, generator: torch.Generator | None) -> Tensor:
        """Draw unit vectors of outputs, uniform on the sphere, ``[count, batch, outputs]``.

        Several processes that train together draw those of their common batch, of which sample i of process r is
        number ``i · processes + r``. So they draw what one process would.
        """
        batch, outputs = values.shape
        shape = (count, batch, self.processes, outputs)
        v = torch.randn(shape, generator=generator, device=values.device)[:, :, self.process]
        return nn.functional.normalize(v, dim=-1).to(values.dtype)

    def values(self, forward: ForwardPass) -> Tensor:
        """Return the outputs that are differentiated, ``[batch, outputs]``."""
        values: Tensor = output_function(self.outputs)(forward.logits)
        return values

    def squared_lengths(self, gradient: Tensor, forward: ForwardPass) -> Tensor:
        """Return the squared L2 length of gradients, ``[…, *input_shape]``, in the chosen unit, in float32 at least."""
        if gradient.dtype in (torch.float16, torch.bfloat16):
            gradient = gradient.float()
        return self.in_unit(gradient, forward).square().flatten(1 - forward.x.ndim).sum(-1)

    def in_unit(self, gradient: Tensor, forward: ForwardPass) -> Tensor:
        """Return D g: gradients, ``[…, *input_shape]``, in the chosen unit; D are the deviations of the channels."""
        if self.std is None:
            return gradient
        return gradient * gradient.new_tensor(self.std).view(-1, *[1] * (forward.x.ndim - 2))

    def extra_repr(self) -> str:
        return f"weight={self.weight}, unit={self.unit}, outputs={self.outputs}"


class NoPenalty(Penalty):
    """No penalty: nothing is computed.

    >>> NoPenalty().weight_at(0, 100)
    0.0
    """

    def __init__(self) -> None:
        super().__init__(0.0)

    def at(self, forward: ForwardPass, y: Tensor | None = None, generator: torch.Generator | None = None) -> Tensor:  # noqa: ARG002
        return forward.logits.new_zeros(())


def require(name: str, value: object, allowed: bool, what: str) -> None:
    """Raise ValueError if a setting is not allowed."""
    if not allowed:
        raise ValueError(f"{name}={value} is not allowed; it is {what}")


def classes_of(y: Tensor | None, penalty: Penalty) -> Tensor:
    """Return the classes, or raise ValueError if they were not given."""
    if y is None:
        raise ValueError(f"{type(penalty).__name__} needs the classes of the samples, y")
    return y
