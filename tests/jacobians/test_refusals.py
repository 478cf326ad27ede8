"""What has no Jacobian is refused, and the message says what would work."""

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from jacoscope.jacobians import (
    STRATEGIES,
    JacobianError,
    NonFiniteJacobianError,
    boundary_distance,
    class_mean_maps,
    estimate_frobenius,
    jacobian,
    leading_singular_triplets,
    vjp,
)

from .small import X, expected, network


@pytest.mark.parametrize(
    ("model", "x", "said"),
    [
        (network(), (X * 255).to(torch.uint8), r"x\.float\(\) / 255"),
        (network(), X.double(), "x is torch.float64 and the model torch.float32"),
        (network().double(), X, "x is torch.float32 and the model torch.float64"),
        (network().bfloat16(), X, "x is torch.float32 and the model torch.bfloat16"),
        (network(), torch.tensor(1.0), r"\[batch, \*input_shape\]"),
        (lambda x: (x, x), X, r"tuple of 2.*output=lambda r: r\[0\]"),
        (lambda x: {"logits": x}, X, "keys 'logits'"),
        (lambda x: x, X, r"\[1, 1, 8, 8\].*flatten"),
        (lambda x: x.flatten(1).sum(1), X, "unsqueeze"),
        (lambda x: x.flatten(1).detach(), X, "detach"),
        (lambda x: x.flatten(1).argmax(1, keepdim=True), X, "floating point"),
        (nn.Sequential(nn.BatchNorm2d(1, track_running_stats=False), nn.Flatten()), X, "track_running_stats"),
        (lambda x: (x - x.mean(0)).flatten(1), X, "samples depend on each other"),
        (lambda x: (x - x.mean(0)).flatten(1), X.bfloat16(), "samples depend on each other"),
        (lambda x: x.flatten(1).cumsum(0), X, "samples depend on each other"),
        (lambda x: (x - x.mean(0)).flatten(1).where(X[:1].flatten(1) > 0.5, -torch.inf), X, "depend on each other"),
        (network(), X.to_sparse(), r"to_dense\(\)"),
        (network().state_dict(), X, "OrderedDict"),
        (nn.Sequential(nn.Flatten(), nn.LazyLinear(3)), X, r"lazy layers.*model\(x\)"),
        (lambda x: nn.functional.dropout(x.flatten(1)), X, "random"),
    ],
)
def test_errors_say_what_would_work(model, x, said):
    with pytest.raises(JacobianError, match=f"(?s){said}"):
        jacobian(model, x)


class InPlace(nn.Module):
    """Writes into a tensor whose value autograd needs, or into a view that it does not let be written."""

    def __init__(self, *, into_view):
        super().__init__()
        self.into_view, self.inner = into_view, nn.Linear(64, 3)

    def forward(self, x):
        y = torch.exp(x.flatten(1))
        if self.into_view:
            y.chunk(2, 1)[0].mul_(2)
        else:
            y.mul_(2)
        return self.inner(y)


class FixedBatch(nn.Module):
    def __init__(self, batch):
        super().__init__()
        self.batch, self.inner = batch, nn.Linear(64, 3)

    def forward(self, x):
        return self.inner(x.view(self.batch, 64))


UNFIT = "(Guard failed|Expected input)"  # of a newer and of an older PyTorch
GUARDS = pytest.mark.skipif(
    torch.__version__ < (2, 9), reason="an older PyTorch has a check of its own, in other words"
)


def exported(batch):
    return torch.export.export(network().eval(), (X[:batch],)).module()


def traced(batch):
    return torch.jit.trace(FixedBatch(batch), X[:batch])


def total_vjp(model, x):
    return vjp(model, x, torch.ones(len(x), 3))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("ask", [jacobian, total_vjp, estimate_frobenius, leading_singular_triplets])
@pytest.mark.parametrize(
    ("model", "x", "said"),
    [
        (lambda: network(), torch.rand(4), r"\[4\].*x\.unsqueeze\(0\).*x\.unsqueeze\(1\)"),
        (lambda: lambda x: x[:, None], torch.rand(4), r"\[4\].*\[batch, \*input_shape\]"),
        (lambda: network(), X[0], r"called with a tensor \[1, 8, 8\].*takes x\.unsqueeze\(0\), \[1, 1, 8, 8\]"),
        (lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 3)), X[0, 0], r"takes x\.unsqueeze\(0\), \[1, 8, 8\]"),
        (lambda: FixedBatch(4), X, "takes a batch of 4, but not of 1.*RuntimeError"),
        (lambda: FixedBatch(1), X, "takes a batch of 1, but not of 4.*RuntimeError"),
        (lambda: traced(4), X, "takes a batch of 4, but not of 1"),
        (lambda: exported(4), X, f"takes a batch of 4, but not of 1.*dynamic batch dimension.*{UNFIT}"),
        (lambda: exported(1), X, "takes a batch of 1, but not of 4"),
        pytest.param(lambda: exported(3), X, "Guard failed.*does not take x", marks=GUARDS),
        (lambda: InPlace(into_view=False), X, "Ordinary backward passes.*in place"),
        (lambda: InPlace(into_view=False), X[:1], "Ordinary backward passes.*in place"),
        (lambda: InPlace(into_view=True), X, "Without gradients it can be computed.*in place"),
    ],
)
def test_a_model_that_cannot_be_called_or_differentiated_so_says_what_was_tried(ask, model, x, said):
    with pytest.raises(JacobianError, match=f"(?s){said}"):
        ask(model(), x)


def test_a_model_that_fails_whatever_it_is_given_raises_its_own_error():
    with pytest.raises(ZeroDivisionError):
        jacobian(lambda x: x.flatten(1) * (1 / 0), X)


@pytest.mark.parametrize("batch", [2, 3, 4])
@pytest.mark.parametrize("chunk_size", [1, 2, 3, None])
@pytest.mark.parametrize(
    ("strategy", "create_graph"),
    [(name, False) for name in ("auto", *STRATEGIES)]
    + [(name, True) for name in ("auto", *STRATEGIES) if name != "vmap-jacfwd"],  # which refuses it
)
def test_samples_that_depend_on_each_other_are_refused_in_chunks_of_any_size(batch, chunk_size, create_graph, strategy):
    settings = {"chunk_size": chunk_size, "create_graph": create_graph, "strategy": strategy}
    with pytest.raises(JacobianError, match="samples depend on each other"):
        jacobian(lambda x: (x - x.mean(0)).flatten(1), X[:batch], **settings)


@pytest.mark.parametrize("strategy", ["vmap-jacrev", "vmap-jacfwd"])
def test_a_strategy_that_cannot_carry_out_a_step_says_so(strategy):
    with pytest.raises(JacobianError, match=f"(?s){strategy} cannot.*Use 'auto'"):
        jacobian(lambda x: x.flatten(1) if x.sum() > 0 else -x.flatten(1), X, strategy=strategy)


def last_of_a_sequence(x):
    torch.manual_seed(0)
    return nn.LSTM(8, 3)(x.squeeze(1))[0][:, -1]  # a forgotten batch_first: the batch is taken for time


@pytest.mark.parametrize("ask", [jacobian, estimate_frobenius, leading_singular_triplets])
@pytest.mark.parametrize(
    ("model", "x", "said"),
    [
        (last_of_a_sequence, X, "samples depend on each other"),
        (network(), (X * 255).to(torch.uint8), r"x\.float\(\) / 255"),
        (network(), X.double(), "float64"),
    ],
)
def test_products_refuse_what_the_jacobian_refuses(ask, model, x, said):
    with pytest.raises(JacobianError, match=f"(?s){said}"):
        ask(model, x)


def test_singular_triplets_of_what_is_not_finite_are_refused_by_sample():
    with pytest.raises(JacobianError, match=r"samples \[0, 1, 2, 3\]"):
        leading_singular_triplets(lambda x: x.flatten(1) / 0, X)


def test_classes_beyond_the_outputs_are_named():
    J, logits = torch.rand(2, 3, 4), torch.rand(2, 3)
    for ask in (lambda c: boundary_distance(J, logits, c), lambda c: class_mean_maps(J, c)):
        with pytest.raises(JacobianError, match="from 1 to 3, but the outputs are 0 to 2"):
            ask(torch.tensor([1, 3]))


def test_the_softmax_of_one_output_is_refused():
    with pytest.raises(JacobianError, match=r"output=torch\.sigmoid"):
        jacobian(nn.Sequential(nn.Flatten(), nn.Linear(64, 1)), X, "probs")


def test_reentrant_checkpointing_says_what_to_use():
    inner = network().eval()
    with pytest.raises(JacobianError, match="use_reentrant=False"):
        jacobian(lambda x: checkpoint(inner, x, use_reentrant=True), X)
    torch.testing.assert_close(jacobian(lambda x: checkpoint(inner, x, use_reentrant=False), X), expected())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"output": "logit"}, "'logits', 'probs', 'log_probs'"),
        ({"strategy": "fast"}, "vmap-jacrev"),
        ({"strategy": "vmap-jacfwd", "create_graph": True}, "create_graph"),
        ({"chunk_size": 0}, "chunk_size"),
        ({"memory_budget": 0}, "memory_budget"),
        ({"memory_budget": "1G"}, "memory_budget='1G'"),
    ],
)
def test_wrong_options_are_named(options, said):
    with pytest.raises(JacobianError, match=said):
        jacobian(network(), X, **options)


def test_samples_without_a_finite_jacobian_are_named_and_the_rest_is_there():
    x = X.clone()
    x[2] = torch.nan
    with pytest.raises(NonFiniteJacobianError, match=r"1 of 4 samples \(2\)") as caught:
        jacobian(lambda x: (x**3).flatten(1), x)
    assert caught.value.samples == [2]
    J = jacobian(lambda x: (x**3).flatten(1), x, check_finite=False)
    assert J[[0, 1, 3]].isfinite().all()
    torch.testing.assert_close(caught.value.jacobian, J, equal_nan=True)
    root = torch.zeros(2, 3)
    with pytest.raises(NonFiniteJacobianError, match="derivatives alone"):
        jacobian(torch.sqrt, root)
