"""The pull-back of a convolution as a forward convolution in blocks, for any geometry; and of pooling."""

import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from jacoscope.jacobians.convolution import Geometry, can_pull_back, pull_back
from jacoscope.jacobians.pooling import spread


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
    geometry = Geometry.of(k, n, t, p, d, groups)
    assert geometry.output_size == tuple(y.shape[2:])
    assume(can_pull_back(geometry, m))  # not where more is padded than the kernel reaches
    (expected,) = torch.autograd.grad(y, x, g)
    torch.testing.assert_close(pull_back(g, weight, geometry, m), expected)


@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 40))
@settings(max_examples=40, deadline=None, derandomize=True)
def test_spreading_over_windows_repeats_every_position(rows, columns, width):
    torch.manual_seed(0)
    values = torch.randn(2, 3, 1, 4, width)
    expected = values.repeat_interleave(rows, -2).repeat_interleave(columns, -1)
    torch.testing.assert_close(spread(values, (rows, columns)), expected)
