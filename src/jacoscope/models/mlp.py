"""A multilayer perceptron on pixels."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Literal

from torch import nn

from jacoscope.models.normalize import Normalize


class MLP(nn.Sequential):
    """Linear layers with an activation between them, on the flattened image.

    Args:
        input_shape: ``(C, H, W)`` of one image.
        num_classes: number of logits.
        mean: mean of each channel, in pixel units.
        std: standard deviation of each channel, in pixel units.
        hidden: units of each hidden layer; an empty list makes softmax regression.
        activation: makes the activation after each hidden layer.
        init: ``torch`` for PyTorch's own initial weights; ``glorot`` for those of Glorot and Bengio, uniform with
            variance 2 / (fan-in + fan-out), and biases as PyTorch draws them.

    Raises:
        ValueError: if ``init`` is neither.

    Shapes:
        pixels in [0, 1] ``[batch, C, H, W]`` to logits ``[batch, num_classes]``.

    >>> import torch
    >>> MLP(hidden=(32,))(torch.rand(2, 1, 28, 28)).shape
    torch.Size([2, 10])
    """

    def __init__(
        self,
        input_shape: Sequence[int] = (1, 28, 28),
        num_classes: int = 10,
        mean: Sequence[float] = (0.1307,),
        std: Sequence[float] = (0.3081,),
        hidden: Sequence[int] = (256, 128),
        activation: Callable[[], nn.Module] = nn.ReLU,
        init: Literal["torch", "glorot"] = "torch",
    ) -> None:
        if init not in ("torch", "glorot"):
            raise ValueError(f"init={init} is not allowed; it is torch or glorot")
        widths = [math.prod(input_shape), *hidden]
        layers: list[nn.Module] = [Normalize(mean, std), nn.Flatten()]
        for before, after in pairwise(widths):
            layers += [nn.Linear(before, after), activation()]
        super().__init__(*layers, nn.Linear(widths[-1], num_classes))
        if init == "glorot":
            for layer in self:
                if isinstance(layer, nn.Linear):
                    nn.init.xavier_uniform_(layer.weight)
