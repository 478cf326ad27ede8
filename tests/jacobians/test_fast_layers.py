"""Layers that are carried out in another way have PyTorch's own values and derivatives, on any processor."""

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from jacoscope.jacobians import STRATEGIES, StrategyError, fast_layers, jacobian
from jacoscope.jacobians.convolution import BlockConvolution, Geometry
from jacoscope.jacobians.fast_layers import ChannelScaling, FastLayers
from jacoscope.jacobians.pooling import TiledPool, places_of_maxima
from jacoscope.models import LeNet5

COMMON = settings(max_examples=60, deadline=None, derandomize=True)


@pytest.fixture(params=[8, 16], ids=["8 lanes", "16 lanes"])
def lanes(request, monkeypatch):
    monkeypatch.setattr(fast_layers, "vector_lanes", lambda: request.param)
    return request.param


def used(function, *given):
    """Which functions autograd knows in the graph of a result, by name."""
    names, stack = set(), [function(*given).grad_fn]
    while stack:
        node = stack.pop()
        if node is not None:
            names.add(type(node).__name__)
            try:
                stack += [following for following, _ in node.next_functions]
            except RuntimeError as error:
                pytest.skip(f"This PyTorch does not show the graph behind an autograd.Function: {error}")
    return names


@st.composite
def layers(draw):
    """A layer that may be carried out in another way, in many forms; and its input."""
    torch.manual_seed(draw(st.integers(0, 999)))
    channels, height, width = draw(st.integers(1, 4)), draw(st.integers(4, 12)), draw(st.integers(4, 12))
    x = torch.randn(3, channels, height, width)
    kind = draw(st.sampled_from(["conv", "conv1d", "average", "max", "norm"]))
    if kind in ("average", "max"):
        make = nn.AvgPool2d if kind == "average" else nn.MaxPool2d
        before = draw(st.sampled_from([nn.Identity(), nn.Tanh(), nn.ReLU(), nn.ReLU(inplace=True), nn.Sigmoid()]))
        return nn.Sequential(before, make(draw(st.sampled_from([2, (1, 2), (2, 1), 3])))), x.round()  # with ties
    if kind == "norm":
        norm = nn.BatchNorm2d(channels)
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
        return norm.eval(), x
    k, stride, padding, dilation = (draw(st.integers(a, b)) for a, b in ((1, 4), (1, 2), (0, 2), (1, 2)))
    assume(min(height, width) + 2 * padding >= dilation * (k - 1) + 1)
    make, x = (nn.Conv1d, x[:, :, 0]) if kind == "conv1d" else (nn.Conv2d, x)
    return make(channels, draw(st.integers(1, 5)), k, stride, padding, dilation), x


@COMMON
@given(layers(), st.sampled_from([8, 16]), st.sampled_from(["vmap-jacrev", "vmap-vjp"]))
def test_values_are_bitwise_and_derivatives_but_for_rounding_those_of_pytorch(layer_and_input, lanes, strategy):
    layer, x = layer_and_input
    model = nn.Sequential(layer.requires_grad_(False), nn.Flatten())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fast_layers, "vector_lanes", lambda: lanes)
        with FastLayers():
            fast = model(x)
        assert torch.equal(fast, model(x))
        J = jacobian(model, x, strategy=strategy)
    torch.testing.assert_close(J, jacobian(model, x, strategy="backward"), rtol=1e-4, atol=1e-5)


def test_lenet_goes_through_fast_layers_whatever_the_vector_width(lanes):
    for model in (LeNet5(), LeNet5(activation=nn.ReLU, pooling=nn.MaxPool2d)):
        x = torch.rand(4, 1, 28, 28, requires_grad=True)
        with FastLayers():
            names = used(model.eval(), x)
        assert "BlockConvolutionBackward" in names
        assert "TiledPoolBackward" in names


def twice(x):
    y = x.tanh()
    return F.avg_pool2d(y, 2).flatten(1) + y.flatten(1)[:, :16]


def with_a_step_between(x):
    y = x.tanh()
    z = F.pad(y[:, :, 1:-1], (0, 0, 1, 1))
    return F.max_pool2d(z, 2).flatten(1)


def detached(x):
    with torch.no_grad():
        y = x.relu()
    return F.avg_pool2d(y, 2).flatten(1) + x.flatten(1)[:, :16]


@pytest.mark.parametrize("model", [twice, with_a_step_between, detached])
def test_an_activation_before_a_pooling_counts_once_and_as_it_stands(model):
    x = torch.randn(30, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    for strategy in ("vmap-vjp", "vmap-jacrev"):
        J = jacobian(model, x, strategy=strategy, check=False)
        torch.testing.assert_close(J, jacobian(model, x, strategy="backward"), rtol=1e-5, atol=1e-6)


def test_what_is_not_fast_is_left_to_pytorch():
    plain = [
        (nn.Conv2d(1, 2, 3).double(), torch.float64),
        (nn.Conv2d(32, 32, 3), torch.float32),
        (nn.Conv2d(1, 2, 3, padding="same"), torch.float32),
        (nn.AvgPool2d(2, stride=1), torch.float32),
        (nn.MaxPool2d(3), torch.float32),
        (nn.BatchNorm2d(32).train(), torch.float32),
    ]
    for layer, dtype in plain:
        x = torch.rand(2, getattr(layer, "in_channels", 32), 8, 8, dtype=dtype, requires_grad=True)
        with FastLayers():
            assert not {name for name in used(layer, x) if name.startswith(("Block", "Tiled", "Channel"))}


def average_after_tanh(x):
    y = x.tanh()
    return TiledPool.apply(x, F.avg_pool2d(y.detach(), 2), 1 - y * y, (2, 2), 1 / 4)


def maximum_after_tanh(x):
    y = x.tanh()
    pooled, places = F.max_pool2d(y.detach(), 2, return_indices=True)
    return TiledPool.apply(x, pooled, places_of_maxima(y.detach(), places) * (1 - y * y), (2, 2), 1.0)


def test_derivatives_of_the_derivatives_are_right():
    """Of the convolution with respect to everything, of the others with respect to the input; by finite differences."""
    torch.manual_seed(0)
    x = torch.randn(2, 1, 8, 8, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(3, 1, 3, 3, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(3, dtype=torch.float64, requires_grad=True)
    geometry = Geometry.of((3, 3), (8, 8), (1, 1), (1, 1), (1, 1), 1)

    def convolution(x, weight, bias):
        return BlockConvolution.apply(x, weight, bias, geometry, (4, 2)).tanh()

    assert torch.autograd.gradcheck(convolution, (x, weight, bias))
    assert torch.autograd.gradgradcheck(convolution, (x, weight, bias))
    fixed = (torch.zeros(1).double(), torch.full((1,), 2.0).double(), None, None, 1e-5)
    for layer in (
        average_after_tanh,
        maximum_after_tanh,
        lambda x: ChannelScaling.apply(x.tanh(), *fixed),
    ):
        assert torch.autograd.gradcheck(layer, x)
        assert torch.autograd.gradgradcheck(layer, x)


@pytest.mark.parametrize("strategy", ["auto", "vmap-jacrev"])
@pytest.mark.parametrize("pooling", [nn.AvgPool2d, nn.MaxPool2d])
def test_training_for_a_small_jacobian_has_the_gradients_of_plain_pytorch(strategy, pooling, lanes):
    torch.manual_seed(0)
    model, x = LeNet5(pooling=pooling), torch.rand(12, 1, 28, 28)

    def gradients(J):
        return torch.autograd.grad(J.square().sum(), list(model.parameters()), allow_unused=True)

    fast = gradients(jacobian(model, x, create_graph=True, strategy=strategy))
    sample = torch.func.jacrev(lambda image: model(image.unsqueeze(0)).squeeze(0))
    for ours, plain in zip(fast, gradients(torch.func.vmap(sample)(x)), strict=True):
        if plain is None:
            assert ours is None or not ours.any()
        else:
            assert (ours - plain).abs().max() <= 1e-4 * plain.abs().max()


class WronglyBatched(torch.autograd.Function):
    """Its rule for vmap doubles the derivative."""

    @staticmethod
    def forward(x):
        return x * 3

    @staticmethod
    def setup_context(ctx, inputs, output):
        pass

    @staticmethod
    def backward(ctx, g):
        return Tripled.apply(g)

    @staticmethod
    def vmap(info, in_dims, x):
        return WronglyBatched.apply(x), in_dims[0]


class Tripled(torch.autograd.Function):
    @staticmethod
    def forward(g):
        return g * 3

    @staticmethod
    def setup_context(ctx, inputs, output):
        pass

    @staticmethod
    def backward(ctx, g):
        return g * 3

    @staticmethod
    def vmap(info, in_dims, g):
        return g * 6, in_dims[0]


@pytest.mark.parametrize("batch", [1, 3])
def test_a_wrong_rule_for_vmap_is_noticed(batch, caplog):
    torch.manual_seed(0)
    head, x = nn.Linear(5, 3), torch.rand(batch, 5)

    def model(x):
        return head(WronglyBatched.apply(x))

    with caplog.at_level("DEBUG", "jacoscope.jacobians"):
        torch.testing.assert_close(jacobian(model, x), 3 * head.weight.detach().expand(batch, -1, -1))
    assert "differ" in caplog.text
    with pytest.raises(StrategyError, match=r"differ.*ordinary backward pass"):
        jacobian(model, x, strategy="vmap-vjp")
    wrong = jacobian(model, x, strategy="vmap-vjp", check=False)
    torch.testing.assert_close(wrong, 6 * head.weight.detach().expand(batch, -1, -1))


def test_every_strategy_can_be_asked_for_without_the_check():
    model, x = LeNet5(), torch.rand(3, 1, 28, 28)
    for strategy in STRATEGIES:
        torch.testing.assert_close(
            jacobian(model, x, strategy=strategy, check=False), jacobian(model, x), rtol=0, atol=1e-6
        )
