r"""Products with the Jacobian, without the Jacobian: :math:`J v` and :math:`J^\top u` for every sample of a batch."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from .checks import check_independence, check_inputs
from .diagnosis import coarsest_type, first_forward, not_differentiable
from .engine import ForwardPass, as_function
from .errors import JacobianError
from .outputs import Output
from .purity import Model
from .strategies import Function


def jvp(model: Model, x: Tensor, v: Tensor, output: Output = "logits") -> Tensor:
    r"""The directional derivative of every sample, :math:`J_b v_b`, by forward differentiation.

    How the outputs move, per unit, when the input moves along `v`.

    Args:
        model: as for `jacobian`.
        x: `[batch, *input_shape]`.
        v: one direction for each sample, `[batch, *input_shape]`; or several, `[n, batch, *input_shape]`.
        output: as for `jacobian`.

    Returns:
        `[batch, outputs]`, or `[n, batch, outputs]`.

    Raises:
        JacobianError: `v` has another shape, or the model has backward hooks.

    >>> model = torch.nn.Linear(4, 3)
    >>> x, v = torch.rand(2, 4), torch.rand(2, 4)
    >>> torch.allclose(jvp(model, x, v), v @ model.weight.T, atol=1e-6)
    True
    """
    with products(model, x, output) as at:
        return _for_each(at.jvp, v, x, "x")


def vjp(model: Model, x: Tensor, u: Tensor, output: Output = "logits") -> Tensor:
    r"""The gradient of a weighted sum of the outputs of every sample, :math:`J_b^\top u_b`, by one backward pass.

    Args:
        model: as for `jacobian`.
        x: `[batch, *input_shape]`.
        u: weights of the outputs of each sample, `[batch, outputs]`; or several, `[n, batch, outputs]`.
        output: as for `jacobian`.

    Returns:
        `[batch, *input_shape]`, or `[n, batch, *input_shape]`.

    Raises:
        JacobianError: `u` has another shape.

    >>> model = torch.nn.Linear(4, 3)
    >>> x, u = torch.rand(2, 4), torch.rand(2, 3)
    >>> torch.allclose(vjp(model, x, u), u @ model.weight, atol=1e-6)
    True
    """
    with products(model, x, output) as at:
        return _for_each(at.vjp, u, at.outputs, "the outputs")


class Products:
    """The Jacobian at a batch, as a linear map: one forward pass, kept for as many products as are wanted."""

    def __init__(self, function: Function, x: Tensor) -> None:
        self._function = function
        self._pass = ForwardPass.of(function, x.detach(), x)

    @property
    def outputs(self) -> Tensor:
        """`[batch, outputs]`."""
        return self._pass.outputs.detach()

    def vjp(self, u: Tensor) -> Tensor:
        """`[batch, outputs]` to `[batch, *input_shape]`."""
        leaf, outputs = self._pass.leaf, self._pass.outputs
        try:
            with torch.autocast(u.device.type, enabled=False):
                (product,) = torch.autograd.grad(
                    outputs, leaf, u.to(outputs.dtype), retain_graph=True, materialize_grads=True
                )
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:  # NotImplementedError too
            raise not_differentiable("Ordinary backward passes", error) from error
        return product

    def jvp(self, v: Tensor) -> Tensor:
        """`[batch, *input_shape]` to `[batch, outputs]`."""
        if self._pass.hooked:
            raise JacobianError(
                "The model has backward hooks, or registers hooks on tensors while it runs, and forward "
                "differentiation does not run them. Use vjp, or jacobian(…, strategy='backward')."
            )
        x = self._pass.leaf.detach()
        try:
            tangent = torch.func.jvp(lambda x: self._function(x.clone()), (x,), (v.to(x.dtype),))[1]
        except (JacobianError, torch.OutOfMemoryError):
            raise
        except RuntimeError as error:
            raise not_differentiable("Forward differentiation", error) from error
        product: Tensor = tangent.detach()
        return product


@contextmanager
def products(model: Model, x: Tensor, output: Output) -> Iterator[Products]:
    """The Jacobian at `x` as a linear map, while the model is held as a pure function."""
    check_inputs(model, x)
    with as_function(model, x, output, freeze=True) as function:
        if x.is_inference():
            x = x.clone()
        at = Products(function, x)
        if len(x) > 1:
            alone = first_forward(function, x[-1:].detach(), x)[1].detach()
            check_independence(at.outputs[-1:], alone, lambda: coarsest_type(function, x[-1:]))
        yield at


def _for_each(product: Function, vectors: Tensor, like: Tensor, name: str) -> Tensor:
    if not isinstance(vectors, Tensor):
        raise JacobianError(f"The vectors are a {type(vectors).__name__}; expected a tensor of the shape of {name}.")
    if vectors.shape == like.shape:
        result: Tensor = product(vectors)
        return result
    if vectors.shape[1:] == like.shape and vectors.ndim == like.ndim + 1:
        return torch.stack([product(vector) for vector in vectors])
    raise JacobianError(
        f"The vectors have shape {list(vectors.shape)}; expected that of {name}, {list(like.shape)}, or several of "
        f"them, [n, {', '.join(map(str, like.shape))}]."
    )
