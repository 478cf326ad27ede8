"""LeNet-5 as published in 1998; 60,000 trainable parameters."""

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from jacoscope.models.normalize import Normalize

# Table I of the paper: which of the six maps of S2 each of the sixteen maps of C3 reads.
C3_CONNECTIONS = (
    (0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (0, 4, 5), (0, 1, 5),
    (0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5), (0, 3, 4, 5), (0, 1, 4, 5), (0, 1, 2, 5),
    (0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5), (0, 1, 2, 3, 4, 5),
)  # fmt: skip

# The 7×12 pictures of the digits that are the centres of the output units, after figure 3 of the paper.
DIGIT_BITMAPS = (
    "...#... ..#.#.. .#...#. .#...#. #.....# #.....# #.....# #.....# .#...#. .#...#. ..#.#.. ...#...",
    "...#... ..##... .#.#... ...#... ...#... ...#... ...#... ...#... ...#... ...#... ...#... .#####.",
    ".#####. #.....# #.....# ......# ......# .....#. ....#.. ..##... .#..... #...... #...... #######",
    "####### .....#. ....#.. ...#... ..##### ......# ......# ......# ......# #.....# .#...#. ..###..",
    ".....#. ....##. ...#.#. ...#.#. ..#..#. .#...#. #....#. ####### .....#. .....#. .....#. .....#.",
    "####### #...... #...... #...... ######. ......# ......# ......# ......# #.....# #.....# .#####.",
    "..####. .#..... #...... #...... #...... ######. #.....# #.....# #.....# #.....# #.....# .#####.",
    "####### ......# .....#. .....#. ....#.. ....#.. ...#... ...#... ..#.... ..#.... .#..... .#.....",
    ".#####. #.....# #.....# #.....# .#...#. ..###.. .#...#. #.....# #.....# #.....# #.....# .#####.",
    ".#####. #.....# #.....# #.....# #.....# .###### ......# ......# ......# ......# .....#. .####..",
)


class ScaledTanh(nn.Module):
    """``1.7159 tanh(2 x / 3)``, which maps ±1 to ±1 where its curvature is largest (appendix A)."""

    def forward(self, x: Tensor) -> Tensor:
        return 1.7159 * torch.tanh(x * (2 / 3))


class Subsampling(nn.Module):
    """Sum each 2×2 block, multiply by a trainable coefficient and add a trainable bias, both one for each map."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.coefficient = nn.Parameter(torch.full((channels, 1, 1), 0.25))
        self.bias = nn.Parameter(torch.zeros(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return 4 * F.avg_pool2d(x, 2) * self.coefficient + self.bias


class PartialConv2d(nn.Module):
    """A 5×5 convolution in which output map o reads only the input maps ``connections[o]``."""

    inputs: Tensor
    outputs: Tensor

    def __init__(self, in_channels: int, connections: tuple[tuple[int, ...], ...]) -> None:
        super().__init__()
        pairs = [(o, i) for o, inputs in enumerate(connections) for i in inputs]
        self.shape = (len(connections), in_channels, 5, 5)
        self.register_buffer("outputs", torch.tensor([o for o, _ in pairs]), persistent=False)
        self.register_buffer("inputs", torch.tensor([i for _, i in pairs]), persistent=False)
        fan_in = torch.tensor([25.0 * len(connections[o]) for o, _ in pairs]).view(-1, 1, 1)
        self.kernels = nn.Parameter((2 * torch.rand(len(pairs), 5, 5) - 1) * 2.4 / fan_in)
        self.bias = nn.Parameter(torch.zeros(len(connections)))

    def forward(self, x: Tensor) -> Tensor:
        weight = self.kernels.new_zeros(self.shape).index_put((self.outputs, self.inputs), self.kernels)
        return F.conv2d(x, weight, self.bias)


class RBFOutput(nn.Module):
    """Gaussian units: the logit of class k is ``-‖x - w_k‖²``, with w_k the fixed ±1 bitmap of the digit."""

    centres: Tensor

    def __init__(self) -> None:
        super().__init__()
        bitmaps = [[1.0 if c == "#" else -1.0 for c in art if c != " "] for art in DIGIT_BITMAPS]
        self.register_buffer("centres", torch.tensor(bitmaps), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return -(x.unsqueeze(1) - self.centres).square().sum(2)


class LeNet5Of1998(nn.Sequential):
    """The published LeNet-5: trainable subsampling, the C3 connection table, scaled tanh and RBF outputs.

    The input is 28×28 digits, white on black as in MNIST. They are padded to 32×32 and scaled so that the background
    is -0.1 and the ink 1.175, as in the paper. Train it with :class:`~jacoscope.training.RubbishClassLoss`, equation 9.

    Source: LeCun, Bottou, Bengio and Haffner, "Gradient-based learning applied to document recognition",
    Proceedings of the IEEE 86(11), 1998, sections II-B, II-C and appendix A.

    Shapes:
        pixels in [0, 1] ``[batch, 1, 28, 28]`` to logits ``[batch, 10]``: negative squared distances.

    >>> model = LeNet5Of1998()
    >>> model(torch.rand(2, 1, 28, 28)).shape
    torch.Size([2, 10])
    >>> sum(p.numel() for p in model.parameters())
    60000
    """

    def __init__(self) -> None:
        super().__init__(
            OrderedDict(
                field=nn.ZeroPad2d(2),
                normalize=Normalize([0.1 / 1.275], [1 / 1.275]),
                c1=nn.Conv2d(1, 6, 5),
                act1=ScaledTanh(),
                s2=Subsampling(6),
                act2=ScaledTanh(),
                c3=PartialConv2d(6, C3_CONNECTIONS),
                act3=ScaledTanh(),
                s4=Subsampling(16),
                act4=ScaledTanh(),
                c5=nn.Conv2d(16, 120, 5),
                act5=ScaledTanh(),
                flatten=nn.Flatten(),
                f6=nn.Linear(120, 84),
                act6=ScaledTanh(),
                output=RBFOutput(),
            )
        )
        for name, parameter in self.named_parameters():
            if name in ("c1.weight", "c5.weight", "f6.weight"):  # uniform in ±2.4 / fan-in, appendix A
                fan_in = parameter[0].numel()
                nn.init.uniform_(parameter, -2.4 / fan_in, 2.4 / fan_in)
            elif name in ("c1.bias", "c5.bias", "f6.bias"):
                nn.init.zeros_(parameter)
