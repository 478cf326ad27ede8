"""The peer from JAX: `jit(vmap(jacrev))` of the same network with the same weights."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import torch
from torch import Tensor, nn

from jacoscope.models import Normalize


def jax_jacobian(model: nn.Module, output: str) -> Callable[[Tensor], Tensor]:
    """The Jacobian of a model that is a plain stack of layers, by JAX.

    Raises:
        TypeError: a layer that this translation does not know.
    """
    steps = [_layer(layer) for layer in model.modules() if not list(layer.children())]

    def sample(x: jax.Array) -> jax.Array:
        for step in steps:
            x = step(x)
        return jax.nn.softmax(x) if output == "probs" else x

    jacrev = jax.jit(jax.vmap(jax.jacrev(sample)))

    def run(x: Tensor) -> Tensor:
        return torch.from_numpy(np.array(jacrev(jnp.asarray(x.numpy()))))

    return run


def _layer(layer: nn.Module) -> Callable[[jax.Array], jax.Array]:
    if isinstance(layer, Normalize):
        mean, std = layer.mean.numpy(), layer.std.numpy()
        return lambda x: (x - mean) / std
    if isinstance(layer, nn.Conv2d):
        w, b = layer.weight.numpy(), layer.bias.numpy()[:, None, None]  # type: ignore[union-attr]
        padding = [(int(p), int(p)) for p in layer.padding]
        stride = layer.stride
        return lambda x: jax.lax.conv_general_dilated(x[None], w, stride, padding)[0] + b
    if isinstance(layer, nn.Linear):
        w, b = layer.weight.numpy(), layer.bias.numpy()
        return lambda x: w @ x + b
    if isinstance(layer, nn.Flatten):
        return lambda x: x.reshape(-1)
    if isinstance(layer, nn.Tanh):
        return jnp.tanh
    if isinstance(layer, nn.ReLU):
        return jax.nn.relu
    if isinstance(layer, nn.AvgPool2d):
        return lambda x: x.reshape(x.shape[0], x.shape[1] // 2, 2, x.shape[2] // 2, 2).mean((2, 4))
    if isinstance(layer, nn.MaxPool2d):
        return lambda x: jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 2, 2), (1, 2, 2), "VALID")
    if isinstance(layer, nn.Dropout | nn.Identity):
        return lambda x: x
    raise TypeError(f"No JAX form of {type(layer).__name__}")
