"""A small network with a layer of each kind, its input and its Jacobian."""

import torch
from torch import nn

from jacoscope.jacobians import jacobian


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Dropout(0.5), nn.Flatten(),
        nn.Linear(36, 3),
    )  # fmt: skip


X = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def expected():
    return jacobian(network().eval(), X)
