import pytest
import torch
from torch import nn

from jacoscope.models import MLP, LeNet5, LeNet5Of1998, Normalize, ResNet18
from jacoscope.models.lenet5_1998 import (
    C3_CONNECTIONS,
    DIGIT_BITMAPS,
    PartialConv2d,
    RBFOutput,
    ScaledTanh,
    Subsampling,
)


def trainable(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


@pytest.mark.parametrize(
    ("model", "shape", "parameters"),
    [
        (LeNet5(), (1, 28, 28), 61_706),
        (LeNet5(activation=nn.ReLU, pooling=nn.MaxPool2d), (1, 28, 28), 61_706),
        (LeNet5((3, 32, 32), mean=[0.5] * 3, std=[0.25] * 3), (3, 32, 32), 62_006),
        (LeNet5((1, 64, 64), num_classes=7), (1, 64, 64), None),
        (LeNet5Of1998(), (1, 28, 28), 60_000),
        (MLP(), (1, 28, 28), 784 * 256 + 256 + 256 * 128 + 128 + 1290),
        (MLP((3, 8, 8), 5, [0.5] * 3, [0.25] * 3, hidden=()), (3, 8, 8), 192 * 5 + 5),
        (ResNet18(), (3, 32, 32), 11_173_962),
        (ResNet18((1, 28, 28), mean=[0.5], std=[0.5]), (1, 28, 28), None),
    ],
)
def test_takes_pixels_and_gives_finite_logits(model: nn.Module, shape: tuple[int, ...], parameters: int | None) -> None:
    logits = model.eval()(torch.rand(3, *shape))
    classes = 7 if shape == (1, 64, 64) else 5 if shape == (3, 8, 8) else 10
    assert logits.shape == (3, classes)
    assert logits.isfinite().all()
    if parameters is not None:
        assert trainable(model) == parameters


def test_normalises_so_that_mean_and_std_become_0_and_1() -> None:
    x = torch.rand(50, 3, 8, 8)
    mean, std = x.mean((0, 2, 3)), x.std((0, 2, 3))
    y = Normalize(mean.tolist(), std.tolist())(x)
    torch.testing.assert_close(y.mean((0, 2, 3)), torch.zeros(3), atol=1e-6, rtol=0)
    torch.testing.assert_close(y.std((0, 2, 3)), torch.ones(3))


@pytest.mark.parametrize(("mean", "std"), [([0.5], [0.5, 0.5]), ([0.5], [0.0]), ([0.5], [-1.0])])
def test_refuses_a_normalisation_that_cannot_be(mean: list[float], std: list[float]) -> None:
    with pytest.raises(ValueError, match=r"channels|positive"):
        Normalize(mean, std)


def test_lenet5_refuses_images_that_are_not_square() -> None:
    with pytest.raises(ValueError, match="28×30"):
        LeNet5((1, 28, 30))


def test_c3_reads_exactly_the_maps_of_the_papers_table() -> None:
    layer = PartialConv2d(6, C3_CONNECTIONS)
    x = torch.rand(1, 6, 5, 5)
    jacobian = torch.autograd.functional.jacobian(layer, x)[0, :, 0, 0, 0]  # [16 outputs, 6 inputs, 5, 5]
    reads = jacobian.flatten(2).abs().sum(2) > 0
    expected = torch.tensor([[i in inputs for i in range(6)] for inputs in C3_CONNECTIONS])
    assert torch.equal(reads, expected)
    assert sum(map(len, C3_CONNECTIONS)) == 60
    assert trainable(layer) == 1516


def test_subsampling_scales_the_sum_of_each_block() -> None:
    layer = Subsampling(2)
    nn.init.constant_(layer.coefficient, 3.0)
    nn.init.constant_(layer.bias, 1.0)
    x = torch.arange(32.0).view(1, 2, 4, 4)
    expected = 3 * x.unfold(2, 2, 2).unfold(3, 2, 2).sum((-1, -2)) + 1
    torch.testing.assert_close(layer(x), expected)


def test_scaled_tanh_maps_one_to_one() -> None:
    torch.testing.assert_close(ScaledTanh()(torch.tensor([-1.0, 1.0])), torch.tensor([-1.0, 1.0]), atol=1e-4, rtol=0)


def test_output_units_know_their_own_bitmap() -> None:
    output = RBFOutput()
    logits = output(output.centres)
    assert logits.diagonal().eq(0).all()
    assert logits.argmax(1).tolist() == list(range(10))
    torch.testing.assert_close(logits, -torch.cdist(output.centres, output.centres).square())
    assert all(len(row) == 7 for art in DIGIT_BITMAPS for row in art.split())


def test_dropout_changes_neither_the_initial_weights_nor_their_names_nor_an_evaluation() -> None:
    torch.manual_seed(0)
    plain = LeNet5()
    torch.manual_seed(0)
    dropping = LeNet5(dropout=0.5)
    for (name, ours), (expected_name, expected) in zip(
        dropping.named_parameters(), plain.named_parameters(), strict=True
    ):
        assert name == expected_name
        assert torch.equal(ours, expected)
    x = torch.rand(4, 1, 28, 28)
    assert torch.equal(dropping.eval()(x), plain.eval()(x))
    assert not torch.equal(dropping.train()(x), dropping(x))


def test_glorot_weights_have_their_variance() -> None:
    first = MLP(hidden=(200, 200), init="glorot")[2]
    assert isinstance(first, nn.Linear)
    assert first.weight.var().item() == pytest.approx(2 / (784 + 200), rel=0.02)
    assert first.weight.abs().max().item() <= (6 / (784 + 200)) ** 0.5
    with pytest.raises(ValueError, match="init=he"):
        MLP(init="he")  # type: ignore[arg-type]
