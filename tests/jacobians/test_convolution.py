"""The pull-back of a convolution as a forward convolution in blocks, for any geometry."""

import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from jacoscope.jacobians.convolution import Convolution, block_kernel
from jacoscope.jacobians.cotangents import Cotangent


@given(st.data())
@settings(max_examples=150, deadline=None, derandomize=True)
def test_every_block_size_gives_the_gradient_of_the_input(data):
    dim = data.draw(st.integers(1, 2))

    def axes(low, high):
        return tuple(data.draw(st.integers(low, high)) for _ in range(dim))

    n, k, t, p, d, m = axes(5, 12), axes(1, 5), axes(1, 3), axes(0, 3), axes(1, 2), axes(1, 4)
    assume(all(a + 2 * b >= e * (c - 1) + 1 for a, b, c, e in zip(n, p, k, d, strict=True)))
    groups, ins, outs = data.draw(st.integers(1, 2)), data.draw(st.integers(1, 3)), data.draw(st.integers(1, 3))
    torch.manual_seed(0)
    weight = torch.randn(outs * groups, ins, *k, dtype=torch.float64)
    x = torch.randn(2, ins * groups, *n, dtype=torch.float64, requires_grad=True)
    y = torch.ops.aten.convolution(x, weight, None, t, p, d, False, [0] * dim, groups)
    g = torch.randn_like(y)
    kernel = block_kernel(weight, Convolution(t, p, d, groups, n, tuple(y.shape[2:])), m)
    assume(kernel is not None)  # more padding than the kernel reaches
    (expected,) = torch.autograd.grad(y, x, g)
    blocks = Cotangent(kernel(g).unsqueeze(0), owned=True, block=kernel.block, size=n)
    assert blocks.shape == x.shape
    torch.testing.assert_close(blocks.dense()[0], expected)
    written = torch.empty_like(expected)
    Cotangent(kernel(g).unsqueeze(0), block=kernel.block, size=n).times(torch.tensor([2.0])).write(written[None])
    torch.testing.assert_close(written, 2 * expected)


@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 40), st.booleans())
@settings(max_examples=40, deadline=None, derandomize=True)
def test_spreading_over_windows_is_a_kronecker_product(rows, columns, width, with_factor):
    torch.manual_seed(0)
    base = torch.randn(2, 3, 1, 4, width)
    factor = torch.randn(3, 1, 4 * rows, columns * width)
    expected = base.repeat_interleave(rows, -2).repeat_interleave(columns, -1) * (factor if with_factor else 1)
    spread = Cotangent(base).spread((rows, columns), factor if with_factor else None)
    torch.testing.assert_close(spread.dense(), expected)
    total = Cotangent(torch.ones_like(expected)).plus(spread)
    torch.testing.assert_close(total.dense(), 1 + expected)
