"""One forward pass of a batch that is differentiated with respect to the input and, afterwards, to the parameters."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from jacoscope.jacobians.convolution import gradients_of_inputs_only
from jacoscope.jacobians.outputs import outputs_of
from jacoscope.jacobians.strategies import forward

Model = Callable[[Tensor], Any]


@dataclass(frozen=True)
class ForwardPass:
    """A batch, what a model returned for it, and the graph between them, for as many products with J as are wanted.

    A loss of ``logits`` and a penalty share the pass, so that the penalty costs backward passes only. The model runs in
    the mode that it is in: in training mode, J is the Jacobian of the network that dropout leaves, as in Hoffman et al.
    With batch normalisation in training mode, samples depend on each other, and products are with the Jacobian of the
    whole batch.

    Attributes:
        x: the inputs, ``[batch, *input_shape]``, a leaf of the graph.
        logits: what the model returned, ``[batch, outputs]``.

    >>> model = torch.nn.Linear(4, 3)
    >>> forward = ForwardPass.of(model, torch.rand(2, 4))
    >>> torch.equal(forward.pull_back(forward.logits, torch.eye(3)[:2]), model.weight[:2])
    True
    """

    x: Tensor
    logits: Tensor

    @classmethod
    def of(cls, model: Model, x: Tensor) -> "ForwardPass":
        """Run the forward pass.

        Args:
            model: a module or function from ``[batch, *input_shape]`` to ``[batch, outputs]``.
            x: the inputs.

        Raises:
            JacobianError: if the model does not return a tensor ``[batch, outputs]``.
        """
        leaf, logits = forward(outputs_of(model, "logits"), x.detach(), cotangents=len(x))
        return cls(leaf, logits)

    def pull_back(self, outputs: Tensor, u: Tensor, *, create_graph: bool = True) -> Tensor:
        r"""Return :math:`J_b^\top u_b` for every sample.

        Args:
            outputs: computed from ``logits``, or these themselves, ``[batch, outputs]``.
            u: weights of the outputs, ``[batch, outputs]``, or several, ``[n, batch, outputs]``.
            create_graph: whether the result is to be differentiated again.

        Returns:
            ``[batch, *input_shape]``, or ``[n, batch, *input_shape]``.
        """

        def of_one(cotangent: Tensor) -> Tensor:
            (gradient,) = torch.autograd.grad(
                outputs, self.x, cotangent, retain_graph=True, create_graph=create_graph, materialize_grads=True
            )
            return gradient

        u = u.to(outputs.dtype)
        # Not in the reduced precision of the forward pass: the operations of a backward pass have types of their own.
        with gradients_of_inputs_only(), torch.autocast(self.x.device.type, enabled=False):
            return of_one(u) if u.ndim == outputs.ndim else torch.func.vmap(of_one)(u)

    def parts(self, outputs: Tensor) -> Iterator[Tensor]:
        """Yield the Jacobian with its graph, some outputs at a time, ``[outputs, batch, *input_shape]``.

        On a CPU a part is one output: what is computed of it stays in the cache, also for its derivative.
        """
        basis = self._basis(outputs)
        for part in torch.split(basis, 1 if self.x.device.type == "cpu" else len(basis)):
            yield self.pull_back(outputs, part[0]).unsqueeze(0) if len(part) == 1 else self.pull_back(outputs, part)

    def jacobian(self, outputs: Tensor) -> Tensor:
        """Return the whole Jacobian without a graph, ``[batch, outputs, *input_shape]``."""
        return self.pull_back(outputs, self._basis(outputs), create_graph=False).transpose(0, 1)

    def _basis(self, outputs: Tensor) -> Tensor:
        """Return the cotangents that are one at one output of every sample, ``[outputs, batch, outputs]``."""
        basis = torch.eye(outputs.shape[1], dtype=outputs.dtype, device=outputs.device)
        return basis.unsqueeze(1).expand(-1, *outputs.shape)
