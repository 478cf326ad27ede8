"""A Jacobian may be asked for anywhere, and leaves nothing behind."""

import os
import threading
from contextlib import contextmanager, nullcontext, suppress
from functools import partial

import pytest
import torch
from torch import nn
from torch.ao import quantization

from jacoscope.jacobians import JacobianError, jacobian, jvp, leading_singular_triplets, vjp
from jacoscope.models import LeNet5

from .small import X, expected, network


@contextmanager
def everything_as_before(model, *tensors):
    """Bitwise: parameters, their grads and flags, buffers, modes, hooks, random state, global switches."""

    def look():
        return {
            "parameters": [p.detach().clone() for p in model.parameters()],
            "grads": [torch.zeros(0) if p.grad is None else p.grad.clone() for p in [*model.parameters(), *tensors]],
            "flags": [p.requires_grad for p in model.parameters()],
            "identity": [id(t) for t in [*model.parameters(), *model.buffers()]],
            "buffers": [b.clone() for b in model.buffers()],
            "modes": [m.training for m in model.modules()],
            "hooks": [(len(m._forward_hooks), len(m._backward_hooks)) for m in model.modules()],
            "random": torch.get_rng_state(),
            "given": [t.detach().clone() for t in tensors],
            "given_flags": [t.requires_grad for t in tensors],
        }

    def switches():
        return (
            torch.is_grad_enabled(),
            torch.is_inference_mode_enabled(),
            torch.get_default_dtype(),
            torch.is_autocast_enabled("cpu"),
            torch.backends.mha.get_fastpath_enabled(),
            torch.backends.cuda.flash_sdp_enabled(),
        )

    before, switched = look(), switches()
    yield
    assert switches() == switched
    torch.testing.assert_close(look(), before, rtol=0, atol=0)


def test_a_model_in_training_mode_is_evaluated_and_every_flag_restored():
    model = network().train()
    model[4].eval()
    with everything_as_before(model, X):
        J = jacobian(model, X)
    torch.testing.assert_close(J, expected())


def test_gradients_collected_so_far_stay():
    model = network()
    model(X).sum().backward()
    model.eval()
    with everything_as_before(model, X):
        jacobian(model, X)
        vjp(model, X, torch.ones(4, 3))
        jvp(model, X, torch.ones_like(X))
        leading_singular_triplets(model, X, 2)
    create = jacobian(model, X, create_graph=True)
    assert create.requires_grad


class Naughty(nn.Module):
    """Changes its buffers and its input, draws random numbers, and may give up half way."""

    def __init__(self, *, fail):
        super().__init__()
        self.fail = fail
        self.inner = nn.Linear(64, 3)
        self.register_buffer("calls", torch.zeros(()))
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x):
        torch.rand(3)
        self.calls += 1
        self.seen = self.seen + 1
        x.mul_(2)
        if self.fail:
            raise RuntimeError("given up")
        return self.inner(x.flatten(1))


@pytest.mark.parametrize("create_graph", [False, True])
@pytest.mark.parametrize("fail", [False, True])
def test_a_model_that_changes_things_leaves_them_as_they_were_also_when_it_raises(fail, create_graph):
    model = Naughty(fail=fail).train()
    x = X.clone()
    with everything_as_before(model, x):
        try:
            J = jacobian(model, x, create_graph=create_graph)
        except RuntimeError as error:
            given_up = str(error) == "given up"
            assert given_up == fail
        else:
            assert torch.allclose(J.detach().flatten(2), 2 * model.inner.weight.detach().expand(4, 3, 64))


class Unversioned(nn.Module):
    """Writes into its buffers as fused kernels do, without a version; sets, makes, resizes and deletes some."""

    def __init__(self, *, fail):
        super().__init__()
        self.fail = fail
        self.inner = nn.Linear(64, 3)
        self.register_buffer("scale", torch.ones(3))
        self.register_buffer("odd", torch.tensor([torch.nan, 1.0]))
        self.register_buffer("range", torch.empty(0))
        self.register_buffer("cache", None)
        self.register_buffer("gone", torch.ones(2))
        self.register_buffer("expanded", torch.ones(1).expand(4))

    def forward(self, x):
        self.scale.data.mul_(2)
        self.odd.numpy()[:] = 3
        self.range.resize_(3).fill_(1.0)
        self.cache = torch.ones(1)
        if "gone" in self._buffers:
            del self.gone
            self.register_buffer("new", torch.ones(1))
        if self.fail:
            raise JacobianError("given up")
        return self.inner(x.flatten(1))


@pytest.mark.parametrize("create_graph", [False, True])
@pytest.mark.parametrize("fail", [False, True])
def test_buffers_are_as_they_were_however_they_are_written(fail, create_graph):
    model = Unversioned(fail=fail)
    before = {name: None if buffer is None else buffer.clone() for name, buffer in model._buffers.items()}
    versions = {name: buffer._version for name, buffer in model.named_buffers()}
    with pytest.raises(JacobianError, match="given up") if fail else nullcontext():
        jacobian(model, X, create_graph=create_graph)
    assert set(model._buffers) == set(before)
    assert model.cache is None
    for name, buffer in before.items():
        torch.testing.assert_close(getattr(model, name), buffer, rtol=0, atol=0, equal_nan=True)
    assert model.scale._version == versions["scale"], "a graph that has saved it may still be walked back"


def quantised():
    model = nn.Sequential(quantization.QuantStub(), network()).train()
    model.qconfig = model[1].qconfig = quantization.get_default_qat_qconfig("x86")
    return quantization.prepare_qat(model)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("warm", [False, True])
def test_quantisation_aware_models_are_left_as_they_were_and_say_what_to_switch_off(warm):
    model = quantised()
    if warm:
        model(X)
    with everything_as_before(model, X), pytest.raises(JacobianError, match=r"apply\(.*disable_observer\)"):
        jacobian(model, X)
    model(X)
    model.apply(quantization.disable_observer)
    with everything_as_before(model, X):
        J = jacobian(model, X)
    assert (J - jacobian(model, X, strategy="backward")).abs().max() < 1e-6


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("make", [torch.jit.script, lambda model: torch.jit.trace(model, X)], ids=["script", "trace"])
def test_frozen_models(make):
    model = torch.jit.freeze(make(network().eval()))
    for _ in range(3):  # the interpreter optimises from the second call on
        torch.testing.assert_close(jacobian(model, X), expected())
    torch.testing.assert_close(jvp(model, X, X), torch.einsum("bkchw,bchw->bk", expected(), X))


class Converting(nn.Module):
    """Takes float32, and computes in another type."""

    def __init__(self, dtype, *, back):
        super().__init__()
        self.inner, self.dtype, self.back = network().to(dtype), dtype, back

    def forward(self, x):
        y = self.inner(x.to(self.dtype))
        return y.to(x.dtype) if self.back else y


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("back", [False, True])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_models_that_convert_their_input_themselves(dtype, back, batch):
    model, x, reference = Converting(dtype, back=back).eval(), X[:batch], expected()[:batch]
    rounding = {"rtol": 0, "atol": float(4 * torch.finfo(dtype).eps) * float(reference.abs().max()) + 1e-6}
    for options in ({}, {"strategy": "vmap-jacrev"}, {"chunk_size": 1}, {"create_graph": True}):
        with everything_as_before(model, x):
            J = jacobian(model, x, **options)
        assert J.dtype == torch.float32
        torch.testing.assert_close(J.detach(), reference, **rounding)
    torch.testing.assert_close(vjp(model, x, torch.ones(batch, 3)), reference.sum(1), **rounding)
    assert (jvp(model, x, x) - torch.einsum("bkchw,bchw->bk", reference, x)).abs().max() < 0.05
    top = leading_singular_triplets(model, x).values
    torch.testing.assert_close(top[:, 0], torch.linalg.matrix_norm(reference.flatten(2), 2), rtol=0.02, atol=0)


def test_outputs_that_are_rounded_on_the_way_are_no_dependence_of_samples():
    class Rounded(nn.Module):  # as kernels that add up in another order for another batch, in a coarse type
        def forward(self, x):
            y = x.flatten(1).bfloat16() * (1 + 2**-7 * (len(x) > 1))
            return y.float()

    jacobian(Rounded(), X)
    with pytest.raises(JacobianError, match="depend on each other"):
        jacobian(lambda x: x.flatten(1) * (1 + 2**-7 * (len(x) > 1)), X)


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_any_gradient_mode(context):
    model = network()
    with context():
        J = jacobian(model, X)
        torch.testing.assert_close(J, expected())
        torch.testing.assert_close(jacobian(model, X.clone()), expected())
    assert not J.requires_grad
    torch.testing.assert_close(J * 2, expected() * 2)


def test_a_model_made_in_inference_mode():
    with torch.inference_mode():
        model = network()
        torch.testing.assert_close(jacobian(model, X), expected())


def test_frozen_parameters_and_inputs_that_require_gradients():
    model, x = network().requires_grad_(False), X.clone().requires_grad_()
    with everything_as_before(model, x):
        J = jacobian(model, x)
    assert not J.requires_grad
    torch.testing.assert_close(J, expected())


@pytest.mark.parametrize(
    "x",
    [
        X.permute(0, 1, 3, 2).contiguous().permute(0, 1, 3, 2),
        X[:1].expand(4, -1, -1, -1),
        torch.cat([X, X])[::2],
        X.contiguous(memory_format=torch.channels_last),
    ],
    ids=["permuted", "expanded", "strided", "channels_last"],
)
def test_any_memory_layout(x):
    model = network()
    torch.testing.assert_close(jacobian(model, x), jacobian(model, x.clone(memory_format=torch.contiguous_format)))
    model = model.to(memory_format=torch.channels_last)
    torch.testing.assert_close(jacobian(model, x), jacobian(network(), x))


@pytest.mark.parametrize("batch", [0, 1, 2])
@pytest.mark.parametrize("create_graph", [False, True])
def test_any_batch_size(batch, create_graph):
    J, outputs = jacobian(network(), X[:batch], return_outputs=True, create_graph=create_graph)
    assert outputs.shape == (batch, 3)
    torch.testing.assert_close(J.detach(), expected()[:batch])


def test_outputs_come_along():
    model = network().eval()
    J, outputs = jacobian(model, X, "probs", return_outputs=True)
    torch.testing.assert_close(outputs, model(X).softmax(1).detach())
    assert J.dtype == X.dtype


def test_float64():
    J = jacobian(network().double(), X.double())
    assert J.dtype == torch.float64
    torch.testing.assert_close(J.float(), expected(), rtol=1e-5, atol=1e-6)


def test_autocast_is_as_precise_as_bfloat16():
    with torch.autocast("cpu", torch.bfloat16):
        J = jacobian(network(), X)
    assert J.dtype == torch.float32
    assert (J - expected()).abs().max() < 0.05 * expected().abs().max()


def test_wrapped_models():
    model = network().eval()
    torch.testing.assert_close(jacobian(nn.DataParallel(model), X), expected())
    compiled = torch.compile(model)  # unwrapped, so never compiled here
    torch.testing.assert_close(jacobian(compiled, X), expected())
    torch.testing.assert_close(jacobian(torch.compile(lambda x: model(x)), X), expected())
    inside = nn.Sequential(compiled, nn.Identity())
    torch.testing.assert_close(jacobian(inside, X), expected())


def test_distributed_data_parallel(tmp_path):
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    torch.distributed.init_process_group("gloo", f"file://{tmp_path / 'rendezvous'}", rank=0, world_size=1)
    try:
        model = nn.parallel.DistributedDataParallel(network())
        torch.testing.assert_close(jacobian(model, X), expected())
    finally:
        torch.distributed.destroy_process_group()


GLOBAL = network()


@pytest.mark.parametrize("holds", ["method", "closure", "partial", "global"])
def test_a_function_is_evaluated_in_evaluation_mode_and_what_it_holds_on_to_is_left_as_it_was(holds):
    model = GLOBAL if holds == "global" else network()
    model.train()
    functions = {
        "method": model.forward,
        "closure": lambda x: model(x),
        "partial": partial(lambda net, x: net(x), model),
        "global": lambda x: GLOBAL(x),
    }
    before = {name: value.clone() for name, value in model.state_dict().items()}
    torch.testing.assert_close(jacobian(functions[holds], X), expected())
    assert all(module.training for module in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_buffers_made_in_inference_mode():
    model, x = LeNet5(), torch.rand(2, 1, 28, 28)
    J = jacobian(model, x)
    with torch.inference_mode():
        model.load_state_dict(model.state_dict())
        for module in model.modules():
            for name, buffer in module.named_buffers(recurse=False):
                module.register_buffer(name, buffer.clone())
    torch.testing.assert_close(jacobian(model, x), J)


def test_another_default_device_leaves_nothing_behind():
    torch.manual_seed(0)
    model, x = LeNet5(channels=(5, 7)), torch.rand(40, 1, 28, 28)
    with torch.device("meta"), suppress(RuntimeError, NotImplementedError):
        jacobian(model, x)
    torch.testing.assert_close(jacobian(model, x), jacobian(model, x, strategy="vmap-jacrev"), rtol=0, atol=1e-6)


def test_an_output_is_picked_from_what_the_model_returns():
    model = network().eval()
    J = jacobian(lambda x: {"out": (model(x), x)}, X, output=lambda r: r["out"][0])
    torch.testing.assert_close(J, expected())


@pytest.mark.parametrize("outputs", [3, 50], ids=["fewer outputs than inputs", "more"])
def test_a_model_that_begins_in_place_leaves_what_it_was_given(outputs):
    torch.manual_seed(0)
    linear = nn.Linear(4, outputs).double()
    x, v = torch.rand(3, 4, dtype=torch.float64), torch.rand(2, 3, 4, dtype=torch.float64)

    def model(x):
        return linear(x.mul_(2)).tanh()

    expected = torch.stack([torch.autograd.functional.jacobian(lambda x: model(x.clone()), one) for one in x])
    with everything_as_before(linear, x, v):
        torch.testing.assert_close(jacobian(model, x), expected)
        torch.testing.assert_close(jacobian(model, x, chunk_size=1), expected)
        torch.testing.assert_close(jvp(model, x, v), torch.einsum("boi,nbi->nbo", expected, v))
        found = leading_singular_triplets(model, x, 2).values
        torch.testing.assert_close(found, torch.linalg.svdvals(expected)[:, :2], rtol=1e-3, atol=0)


def test_steps_that_are_compiled_in_place():
    model = network().eval()
    model[0].compile(backend="aot_eager")
    act = torch.compile(lambda z: z.tanh() * z.sigmoid(), backend="aot_eager")
    torch.testing.assert_close(jacobian(model, X), expected())
    plain = jacobian(lambda x: (lambda z: z.tanh() * z.sigmoid())(x.flatten(1)), X)
    torch.testing.assert_close(jacobian(lambda x: act(x.flatten(1)), X), plain)


def test_threads_that_share_a_model_take_turns():
    model, results = network().train(), []
    reference = expected()

    def ask():
        for _ in range(10):
            results.append(jacobian(model, X))

    with everything_as_before(model, X):
        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(results) == 30
    for J in results:
        torch.testing.assert_close(J, reference)
