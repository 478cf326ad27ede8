"""Random architectures: every kind of layer that an image classifier is made of."""

from collections.abc import Callable

import torch
from hypothesis import strategies as st
from torch import Tensor, nn

Draw = Callable[[st.SearchStrategy], object]
OUTPUTS = 4


class Residual(nn.Module):
    def __init__(self, body: nn.Module, *, in_place: bool) -> None:
        super().__init__()
        self.body, self.in_place = body, in_place

    def forward(self, x: Tensor) -> Tensor:
        out = self.body(x)
        if self.in_place:
            out += x
            return out
        return torch.relu(out + x)


class Attention(nn.Module):
    """Positions attend to each other, in a transformer's encoder layer."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(channels, heads, 2 * channels, batch_first=True, activation="gelu")

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.flatten(2).transpose(1, 2)).transpose(1, 2).reshape(x.shape)


class SliceAssignment(nn.Module):
    """Writes into views of what it computed."""

    def forward(self, x: Tensor) -> Tensor:
        y = x * 2
        y[:, 0] = torch.sin(x[:, -1])
        y[:, :1].mul_(0.5)
        return torch.cat([y, x], 1)[:, : x.shape[1]]


class InPlace(nn.Module):
    """Overwrites what it computed; nothing saved it, so ordinary backward passes go through."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu_(x + 0.1)


class Squash(torch.autograd.Function):
    """A derivative written by hand, in the old style that torch.func does not take."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x / (1 + x.abs())

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return g / (1 + x.abs()) ** 2


SMOOTH = [nn.Tanh, nn.Sigmoid, nn.GELU, nn.SiLU, nn.Softplus, nn.ELU, nn.Mish]
KINKED = [nn.ReLU, InPlace, nn.LeakyReLU, nn.Hardswish, nn.PReLU, nn.ReLU6]


@st.composite
def networks(
    draw: Draw, *, dims: tuple[int, ...] = (1, 2, 3), smooth: bool = False
) -> tuple[nn.Module, tuple[int, ...]]:
    """A module in evaluation mode, with weights from a drawn seed, and the shape of one input."""
    dim = draw(st.sampled_from(dims))
    channels = draw(st.sampled_from([1, 2, 3, 4]))
    side = draw(st.integers(6, 9)) if dim < 3 else 5
    torch.manual_seed(draw(st.integers(0, 2**16)))
    layers: list[nn.Module] = []
    shape = (channels, *[side] * dim)
    for _ in range(draw(st.integers(1, 4))):
        layer = draw(_layers(shape, dim, smooth=smooth))
        layers.append(layer)
        with torch.no_grad():
            shape = tuple(nn.Sequential(*layers).eval()(torch.rand(1, channels, *[side] * dim)).shape[1:])
    features = int(torch.tensor(shape).prod())
    layers += [nn.Flatten(), nn.Linear(features, OUTPUTS)]
    if draw(st.booleans()):
        layers.append(draw(st.sampled_from([nn.Softmax(1), nn.LogSoftmax(-1), nn.Sigmoid()])))
    model = nn.Sequential(*layers)
    for module in model.modules():  # running statistics as after some training
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    return model.eval(), (channels, *[side] * dim)


@st.composite
def _layers(draw: Draw, shape: tuple[int, ...], dim: int, *, smooth: bool) -> nn.Module:
    c, smallest = shape[0], min(shape[1:])
    kinds = [
        "conv",
        "conv",
        "transposed",
        "norm",
        "average",
        "activation",
        "dropout",
        "residual",
        "assignment",
        "by hand",
    ]
    if dim < 3:
        kinds += ["adaptive"]
    if not smooth:
        kinds += ["max"]
    if c % 4 == 0 and smallest > 1:
        kinds += ["attention"]
    kind = draw(st.sampled_from(kinds))
    k = draw(st.integers(1, min(3, smallest)))
    stride, padding = draw(st.integers(1, 2)), draw(st.integers(0, k - 1))
    out = c * draw(st.integers(1, 3))
    if kind == "conv":
        dilation = draw(st.integers(1, 2)) if smallest >= 2 * (k - 1) + 1 else 1
        groups = draw(st.sampled_from([1, c]))
        return _of(dim, "Conv")(c, out, k, stride, padding, dilation, groups, bias=draw(st.booleans()))
    if kind == "transposed":
        extra = draw(st.integers(0, stride - 1))
        padding = min(padding, (k - 1) // 2)
        return _of(dim, "ConvTranspose")(c, out, k, stride, padding, extra, groups=draw(st.sampled_from([1, c])))
    if kind == "norm":
        norms = [_of(dim, "BatchNorm")(c), nn.GroupNorm(1, c), nn.LayerNorm(shape)]
        if smallest > 1:
            norms.append(_of(dim, "InstanceNorm")(c, affine=True))
        return draw(st.sampled_from(norms))
    if kind in ("average", "max"):
        name = "AvgPool" if kind == "average" else "MaxPool"
        k = min(max(k, 2), smallest)
        return _of(dim, name)(k, draw(st.sampled_from([1, k])), padding=draw(st.integers(0, k // 2)))
    if kind == "adaptive":
        name = draw(st.sampled_from(["AdaptiveAvgPool"] if smooth else ["AdaptiveAvgPool", "AdaptiveMaxPool"]))
        return _of(dim, name)(draw(st.integers(1, 3)))
    if kind == "dropout":
        return nn.Dropout(0.5)
    if kind == "residual":
        odd = draw(st.sampled_from([1, 3]))
        return Residual(_of(dim, "Conv")(c, c, odd, padding=odd // 2), in_place=smooth or draw(st.booleans()))
    if kind == "assignment":
        return SliceAssignment()
    if kind == "by hand":
        return ByHand()
    if kind == "attention":
        return Attention(c, 2)
    return draw(st.sampled_from(SMOOTH if smooth else SMOOTH + KINKED))()


class ByHand(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return Squash.apply(x)


def _of(dim: int, name: str) -> type[nn.Module]:
    return getattr(nn, f"{name}{dim}d")


def attentive() -> nn.Module:
    """A small vision transformer."""
    from torchvision.models import VisionTransformer

    torch.manual_seed(0)
    vit = VisionTransformer(16, 8, 2, 2, 16, 32, num_classes=OUTPUTS)
    nn.init.normal_(vit.heads.head.weight)
    return vit.eval()
