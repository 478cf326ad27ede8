"""The Jacobian is right, for every model and by every strategy."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from jacoscope.jacobians import STRATEGIES, check, jacobian
from jacoscope.models import MLP, LeNet5, LeNet5Of1998, ResNet18

from . import architectures
from .architectures import OUTPUTS, networks

COMMON = settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


def backward_passes(model, x):
    """The oracle: one ordinary backward pass for every sample and output.

    Each sample goes with a copy of itself: PyTorch (2.14, 2.15) differentiates BatchNorm2d wrongly for a single image
    in channels-last strides, as attention leaves it, and finite differences are with the engine there.
    """
    rows = []
    for image in x:
        leaf = torch.stack([image, image]).requires_grad_()
        z = model(leaf * 1)[0]
        rows.append(torch.stack([torch.autograd.grad(zk, leaf, retain_graph=True)[0][0] for zk in z]))
    return torch.stack(rows)


def largest_error(J, oracle):
    return ((J.double() - oracle.double()).abs().max() / oracle.abs().max().clamp_min(1e-30)).item()


@COMMON
@given(networks())
def test_every_architecture_has_the_derivatives_of_ordinary_backward_passes(network):
    model, shape = network
    model = model.double()
    x = torch.randn(3, *shape, dtype=torch.float64)
    oracle = backward_passes(model, x)
    assert largest_error(jacobian(model, x), oracle) < 1e-10
    assert largest_error(jacobian(model, x, chunk_size=2), oracle) < 1e-10


@COMMON
@given(networks())
def test_float32_is_as_precise_as_ordinary_backward_passes(network):
    model, shape = network
    x = torch.randn(3, *shape)
    J, plain = jacobian(model, x), backward_passes(model, x)
    double = backward_passes(model.double(), x.double())
    # Rounding decides near a kink, and some random networks amplify it: no better than PyTorch itself is asked.
    assert min(largest_error(J, plain), largest_error(J, double)) < max(1e-5, 3 * largest_error(plain, double))


@settings(COMMON, max_examples=20)
@given(networks(smooth=True))
def test_smooth_networks_agree_with_finite_differences(network):
    model, shape = network
    x = torch.randn(2, *shape, dtype=torch.float64)
    report = check(model.double(), x, step=3e-6, directions=3)
    assert report.compared > 0
    assert report.max_error < 1e-7


@settings(COMMON, max_examples=12)
@given(networks(), st.sampled_from(sorted(STRATEGIES)))
def test_every_strategy_gives_the_same(network, strategy):
    model, shape = network
    if any(isinstance(module, architectures.ByHand) for module in model.modules()) and "vmap" in strategy:
        return  # torch.func does not take functions of the old style
    x = torch.randn(3, *shape, dtype=torch.float64)
    assert largest_error(jacobian(model.double(), x, strategy=strategy), backward_passes(model, x)) < 1e-10


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_attention_in_a_small_vision_transformer(strategy):
    model = architectures.attentive().double()
    x = torch.rand(2, 3, 16, 16, dtype=torch.float64)
    assert largest_error(jacobian(model, x, strategy=strategy), backward_passes(model, x)) < 1e-10


@pytest.mark.parametrize(
    ("build", "shape", "tolerance"),
    [
        (LeNet5, (1, 28, 28), 1e-5),
        (lambda: LeNet5(activation=nn.ReLU, pooling=nn.MaxPool2d), (1, 28, 28), 1e-5),
        (LeNet5Of1998, (1, 28, 28), 1e-5),
        (MLP, (1, 28, 28), 1e-5),
        (ResNet18, (3, 32, 32), 1e-4),
    ],
    ids=["lenet5", "lenet5_relu", "lenet5_1998", "mlp", "resnet18"],
)
@pytest.mark.parametrize("output", ["logits", "probs", "log_probs"])
def test_float32_of_the_models_is_close_to_float64(build, shape, tolerance, output):
    torch.manual_seed(0)
    model = build().eval()
    x = torch.rand(3, *shape)
    single = jacobian(model, x, output)
    double = jacobian(model.double(), x.double(), output, strategy="vmap-jacrev")
    assert largest_error(single, double) < tolerance


def test_probs_sum_to_one_so_their_derivatives_sum_to_zero():
    model = LeNet5().double()
    J = jacobian(model, torch.rand(4, 1, 28, 28, dtype=torch.float64), "probs")
    assert J.sum(1).abs().max() < 1e-12 * J.abs().max()


def test_large_batches_in_uneven_chunks_are_one_result():
    model, x = LeNet5(), torch.rand(37, 1, 28, 28)
    whole = jacobian(model, x, chunk_size=None)
    torch.testing.assert_close(jacobian(model, x, chunk_size=8), whole, rtol=0, atol=1e-6)
    torch.testing.assert_close(jacobian(model, x, memory_budget=1 << 20), whole, rtol=0, atol=1e-6)


def test_rows_are_split_too_where_one_sample_exceeds_the_budget():
    model, x = LeNet5(num_classes=40), torch.rand(2, 1, 28, 28)
    torch.testing.assert_close(jacobian(model, x, memory_budget=1), jacobian(model, x), rtol=0, atol=1e-6)


def test_more_outputs_than_inputs_goes_forward(caplog):
    model, x = nn.Sequential(nn.Linear(3, 50), nn.Tanh()).double(), torch.rand(4, 3, dtype=torch.float64)
    with caplog.at_level("DEBUG", "jacoscope.jacobians"):
        J = jacobian(model, x)
    assert "vmap-jacfwd" in caplog.text
    oracle = backward_passes(model, x)
    assert largest_error(J, oracle) < 1e-12
    assert largest_error(jacobian(model, x, strategy="vmap-jacfwd", memory_budget=1), oracle) < 1e-12, (
        "an input at a time"
    )


def test_the_choice_is_explained_and_stable(caplog):
    model, x = LeNet5(), torch.rand(5, 1, 28, 28)
    with caplog.at_level("DEBUG", "jacoscope.jacobians"):
        jacobian(model, x)
        jacobian(model, x)
    first, second = [record.getMessage() for record in caplog.records]
    assert "vmap-vjp" in first
    assert first.split("(a budget")[0] == second.split("(a budget")[0]


GRAPHS = ["auto", *(name for name in STRATEGIES if name != "vmap-jacfwd")]


@pytest.mark.parametrize("strategy", GRAPHS)
@pytest.mark.parametrize("outputs", [3, 9])  # fewer and more than inputs
def test_create_graph_gives_the_gradient_of_a_norm_of_the_jacobian(strategy, outputs):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.LayerNorm(7), nn.Linear(7, outputs)).double()
    x = torch.rand(4, 5, dtype=torch.float64)
    J = jacobian(model, x, create_graph=True, strategy=strategy)
    weight = model[0].weight
    (gradient,) = torch.autograd.grad(J.square().sum(), weight)
    step = torch.randn_like(weight)
    numeric = []
    for sign in (1, -1):
        with torch.no_grad():
            weight += sign * 1e-6 * step
        numeric.append(jacobian(model, x).square().sum())
        with torch.no_grad():
            weight -= sign * 1e-6 * step
    assert (gradient * step).sum().item() == pytest.approx(((numeric[0] - numeric[1]) / 2e-6).item(), rel=1e-6)


def test_create_graph_gives_the_gradient_with_respect_to_the_input_by_every_strategy():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 8), nn.LayerNorm(8), nn.GLU(), nn.Linear(4, 6)).double()
    found = {}
    for strategy in GRAPHS:
        x = torch.linspace(-1, 1, 20, dtype=torch.float64).view(4, 5).requires_grad_()
        J, outputs = jacobian(model, x, create_graph=True, strategy=strategy, return_outputs=True)
        (found[strategy],) = torch.autograd.grad(J.square().sum() + outputs.sum(), x)
    for gradient in found.values():
        torch.testing.assert_close(gradient, found["backward"])


def test_check_finds_a_wrong_entry_and_counts_kinks():
    model, x = LeNet5().double(), torch.rand(2, 1, 28, 28, dtype=torch.float64)
    J = jacobian(model, x)
    assert check(model, x, jacobian=J, step=1e-5).max_error < 1e-7
    J[0, 3] *= 1.01
    assert check(model, x, jacobian=J, step=1e-5).max_error > 1e-4
    kinked = nn.Sequential(nn.Linear(4, 3, bias=False), nn.ReLU()).double()
    report = check(kinked, torch.zeros(2, 4), directions=5)
    assert (report.compared, report.skipped) == (0, 10)


def test_a_single_image_in_channels_last_strides_has_the_derivatives_of_finite_differences():
    torch.manual_seed(0)
    model = nn.Sequential(architectures.Attention(4, 2), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(144, 4))
    report = check(model.double().eval(), torch.randn(1, 4, 6, 6, dtype=torch.float64))
    assert report.compared > 0
    assert report.max_error < 1e-7


@pytest.mark.parametrize("in_place", [False, True])
def test_a_pending_factor_is_applied_once_where_a_sum_has_two_readers(in_place):
    torch.manual_seed(0)
    norm = torch.nn.BatchNorm1d(2)
    norm.running_var.uniform_(0.3, 3)
    layers = [architectures.Residual(torch.nn.Conv1d(2, 2, 1), in_place=in_place), norm, torch.nn.Conv1d(2, 3, 1)]
    model = torch.nn.Sequential(*layers, torch.nn.Flatten(), torch.nn.Linear(18, 4)).double().eval()
    x = torch.randn(3, 2, 6, dtype=torch.float64)
    assert largest_error(jacobian(model, x), backward_passes(model, x)) < 1e-10


class Tapered(nn.Module):
    """A linear layer on the input, entered in one of the ways that leave its pull-back to the last moment."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way = way
        self.first, self.second = nn.Linear(16, 9), nn.Linear(16, 9)
        self.last = nn.Linear(9, OUTPUTS)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        entered = {
            "as it is": lambda: x.flatten(1),
            "scaled": lambda: ((x - 0.1) / 0.3).flatten(1),
            "scaled by position": lambda: (x * torch.linspace(1, 2, 4)).flatten(1),
            "by an activation": lambda: x.tanh().flatten(1),
            "pooled": lambda: nn.functional.avg_pool2d(nn.functional.pad(x, (2, 2, 2, 2)), 2).flatten(1),
            "in another order": lambda: x.transpose(2, 3).flatten(1),
            "twice": lambda: x.flatten(1),
        }[self.way]()
        hidden = self.first(entered)
        if self.way == "twice":
            hidden = hidden + self.second(2 * entered)
        return self.last(hidden.tanh())


WAYS = ["as it is", "scaled", "scaled by position", "by an activation", "pooled", "in another order", "twice"]


@pytest.mark.parametrize("samples", [1, 5])
@pytest.mark.parametrize("way", WAYS)
def test_a_first_layer_that_is_a_product_is_written_straight_into_the_result(way, samples):
    torch.manual_seed(0)
    model, x = Tapered(way).double(), torch.rand(samples, 1, 4, 4, dtype=torch.float64)
    oracle = backward_passes(model, x)
    assert largest_error(jacobian(model, x), oracle) < 1e-12
    assert largest_error(jacobian(model, x, memory_budget=1), oracle) < 1e-12, "a row at a time"


class Prototypes(nn.Module):
    """Distances to prototypes; PyTorch 2.15 has a wrong rule for vmap of their derivative."""

    def __init__(self) -> None:
        super().__init__()
        self.prototypes = nn.Parameter(torch.rand(5, 8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return -torch.cdist(x, self.prototypes)


class Bumps(nn.Module):
    """Distances to prototypes, cut off: far from all of them every derivative is zero."""

    def __init__(self) -> None:
        super().__init__()
        self.prototypes, self.head = nn.Parameter(torch.rand(5, 8)), nn.Linear(5, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.relu(3 - torch.cdist(x, self.prototypes)))


@pytest.mark.parametrize("spoil", [torch.nan, 100.0])
def test_a_trial_that_could_not_tell_is_made_again(spoil):
    """Of the first chunk, all is zero or not finite: it does not show that vmap has a wrong rule for this step."""
    torch.manual_seed(0)
    model, x = Bumps().double(), torch.rand(5, 8, dtype=torch.float64)
    x[:2] = spoil
    J, oracle = jacobian(model, x, chunk_size=3, check_finite=False), backward_passes(model, x)
    assert largest_error(J[2:], oracle[2:]) < 1e-12


class Fourier(nn.Module):
    """A product with complex weights in the frequency domain."""

    def __init__(self) -> None:
        super().__init__()
        self.real, self.imaginary = nn.Parameter(torch.randn(2, 8, 5)), nn.Parameter(torch.randn(2, 8, 5))
        self.head = nn.Linear(128, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        spectrum = torch.fft.rfft2(x) * torch.complex(self.real, self.imaginary)
        return self.head((torch.fft.irfft2(spectrum / (1 + 2j), s=x.shape[-2:])).tanh().flatten(1))


class TwoOutputs(torch.autograd.Function):
    """Returns two tensors, of which the caller may use one."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.sin(), x.cos()

    @staticmethod
    def backward(ctx, g_sin, g_cos):
        (x,) = ctx.saved_tensors
        return g_sin * x.cos() - g_cos * x.sin()


class OneOfTwo(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return TwoOutputs.apply(x)[0]


@pytest.mark.parametrize(
    ("make", "shape"),
    [(Prototypes, (8,)), (Fourier, (2, 8, 8)), (OneOfTwo, (6,))],
    ids=["prototypes", "fourier", "one of two outputs"],
)
def test_steps_that_cannot_be_batched_or_are_complex_are_right(make, shape):
    torch.manual_seed(0)
    model, x = make().double(), torch.rand(3, *shape, dtype=torch.float64)
    assert largest_error(jacobian(model, x), backward_passes(model, x)) < 1e-12


def test_what_has_no_forward_derivative_goes_backward_where_inputs_are_fewer_than_outputs(caplog):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 50), architectures.ByHand()).double()
    x = torch.rand(4, 3, dtype=torch.float64)
    with caplog.at_level("DEBUG", "jacoscope.jacobians"):
        J = jacobian(model, x)
    assert "vmap-jacfwd cannot carry out a step" in caplog.text
    assert largest_error(J, backward_passes(model, x)) < 1e-12
