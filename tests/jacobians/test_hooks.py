"""Hooks of a model and of its tensors are run as PyTorch runs them."""

import pytest
import torch
from torch import nn

from jacoscope.jacobians import JacobianError, jacobian

from .small import X, expected, network


class HookedInside(nn.Module):
    """Registers a hook on a tensor, or on a node, in its forward pass."""

    def __init__(self, *, on_node):
        super().__init__()
        self.on_node, self.inner = on_node, nn.Linear(64, 3)

    def forward(self, x):
        y = torch.tanh(x.flatten(1))
        if self.on_node:
            y.grad_fn.register_prehook(lambda g: (g[0] * 3,))
        else:
            y.register_hook(lambda g: g * 3)
        return self.inner(y)


def hooked(kind):
    """A network whose hooks make every derivative three times as large, and the network without them."""
    if kind in ("tensor", "node"):
        model = HookedInside(on_node=kind == "node")
        return model, nn.Sequential(nn.Flatten(), nn.Tanh(), model.inner)
    model = network().eval()
    if kind == "module":
        model[6].register_full_backward_hook(lambda module, given, g: (given[0] * 3,))
    elif kind == "module, before":
        model[6].register_full_backward_pre_hook(lambda module, g: (g[0] * 3,))
    else:
        model[5].register_backward_hook(lambda module, given, g: (given[0] * 3,))
    return model, network().eval()


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("kind", ["module", "module, before", "module, old style", "tensor", "node"])
def test_hooks_that_change_derivatives_are_run(kind, batch, caplog):
    model, plain = hooked(kind)
    with caplog.at_level("DEBUG", "jacoscope.jacobians"):
        J = jacobian(model, X[:batch])
    torch.testing.assert_close(J, 3 * jacobian(plain, X[:batch]))
    assert "hooks" in caplog.text
    for blind in ("vmap-jacrev", "vmap-vjp", "vmap-jacfwd"):
        with pytest.raises(JacobianError, match="'backward'"):
            jacobian(model, X[:batch], strategy=blind)


def test_hooks_on_the_forward_pass_change_what_is_differentiated_and_nothing_else(caplog):
    model = network().eval()
    handle = model[6].register_forward_hook(lambda module, given, out: out * 2)
    with caplog.at_level("DEBUG", "jacoscope.jacobians"):
        torch.testing.assert_close(jacobian(model, X), 2 * expected())
    assert "strategy vmap-vjp" in caplog.text
    handle.remove()


def test_a_hook_that_is_not_linear_works_on_each_output():
    linear = nn.Linear(6, 3)

    def model(x):
        y = x.tanh()
        y.register_hook(lambda g: g.clamp(-0.1, 0.1))
        return linear(y)

    x = torch.rand(2, 6, generator=torch.Generator().manual_seed(0))
    expected = linear.weight.detach().clamp(-0.1, 0.1) * (1 - x.tanh().square()).unsqueeze(1)
    torch.testing.assert_close(jacobian(model, x), expected)
