"""From a batch of any structure to inputs and classes, and the checks that come first."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from pytorch_lightning import LightningModule
from pytorch_lightning.utilities import rank_zero_warn
from torch import Tensor, nn

from jacoscope.errors import UserError
from jacoscope.jacobians import JacobianError, jacobian
from jacoscope.jacobians.outputs import output_function

Model = nn.Module | Callable[[Tensor], Any]
"""Inputs to whatever the logits are found in."""


class BatchReader:
    """Finds inputs, classes and logits in what someone's loaders and module give; see JacobianCallback."""

    def __init__(
        self,
        inputs_fn: Callable[[Any], Tensor] | None = None,
        labels_fn: Callable[[Any], Tensor] | None = None,
        forward_fn: Callable[[LightningModule, Tensor], Any] | None = None,
        output: Callable[[Any], Tensor] | None = None,
    ) -> None:
        self._inputs_fn = inputs_fn or first_element
        self._labels_fn = labels_fn or second_element
        self._forward_fn = forward_fn
        self.output: Any = output or "logits"
        self.is_checked = False
        self._told: set[str] = set()

    def model(self, pl_module: LightningModule) -> Model:
        """Give what is differentiated, but for ``output``."""
        forward_fn = self._forward_fn
        return pl_module if forward_fn is None else lambda x: forward_fn(pl_module, x)

    def check(self, pl_module: LightningModule, batch: Any) -> None:
        """Refuse, at the first batch, what cannot be measured."""
        require_input_gradient(self.model(pl_module), inputs_of(batch, self._inputs_fn), self.output)
        self.is_checked = True

    def samples(self, batch: Any) -> tuple[Tensor, Tensor]:
        """Give inputs and classes; classes are −1, and a warning tells why, where what is found is none."""
        x = inputs_of(batch, self._inputs_fn)
        try:
            return x, labels_of(batch, self._labels_fn, len(x))
        except UserError as error:
            self._warn_once("classes", f"{error}. Means by class and by outcome are left out")
            return x, torch.full((len(x),), -1)

    def training_inputs(self, batch: Any) -> Tensor | None:
        """Give the inputs of a training batch; of one that is made otherwise than a validation batch, nothing."""
        try:
            return inputs_of(batch, self._inputs_fn)
        except Exception as error:  # whatever someone's inputs_fn raises at what it was not made for
            self._warn_once(
                "training batches",
                "JacobianCallback: no inputs were found in a training batch, so training samples are not measured: "
                f"{type(error).__name__}: {error}. Give an inputs_fn that takes them out of training and validation "
                "batches both, or JacobianCallback(train_samples=0)",
            )
            return None

    def _warn_once(self, about: str, message: str) -> None:
        if about not in self._told:
            self._told.add(about)
            rank_zero_warn(message)


def first_element(batch: Any) -> Any:
    """Give the inputs of a batch ``(inputs, …)``, or the batch itself if it is a tensor."""
    return batch[0] if isinstance(batch, Sequence) and len(batch) else batch


def second_element(batch: Any) -> Any:
    """Give the second element of a batch ``(inputs, classes, …)``; ``None`` where there is none."""
    return batch[1] if isinstance(batch, Sequence) and len(batch) > 1 else None


def inputs_of(batch: Any, inputs_fn: Callable[[Any], Any]) -> Tensor:
    """Take the inputs out of a batch.

    Raises:
        UserError: if what is found is no tensor of floating point numbers.
    """
    x = inputs_fn(batch)
    if not isinstance(x, Tensor):
        raise UserError(
            f"JacobianCallback: {getattr(inputs_fn, '__name__', inputs_fn)} of a batch is no tensor of inputs but a "
            f"{type(x).__name__}. Say where they are: JacobianCallback(inputs_fn=lambda batch: batch['image'])"
        )
    if not x.is_floating_point():
        raise UserError(
            f"JacobianCallback: the inputs are {x.dtype}; a derivative needs floating point numbers. Convert them "
            "in the data set or in on_after_batch_transfer, or give inputs_fn=lambda batch: batch[0].float() / 255 "
            "and a forward_fn that takes such inputs"
        )
    return x


def labels_of(batch: Any, labels_fn: Callable[[Any], Any], count: int) -> Tensor:
    """Take the classes out of a batch of so many samples, ``[count]``, on the CPU; −1 where there are none.

    Raises:
        UserError: if there is something, but no tensor ``[count]`` or ``[count, 1]`` of whole numbers.
    """
    labels = labels_fn(batch)
    if labels is None:
        return torch.full((count,), -1)
    if isinstance(labels, Tensor) and labels.shape in ((count,), (count, 1)) and not labels.is_floating_point():
        return labels.detach().reshape(count).cpu().long()
    found = type(labels).__name__
    if isinstance(labels, Tensor):
        found = f"tensor {list(labels.shape)} of {str(labels.dtype).removeprefix('torch.')}"
    raise UserError(
        f"JacobianCallback: {getattr(labels_fn, '__name__', labels_fn)} of a batch gives no classes but a {found}; "
        f"expected is a tensor [{count}] of whole numbers. Say how to get them, such as those of one-hot rows: "
        "JacobianCallback(labels_fn=lambda batch: batch[1].argmax(1)); or that there are none: "
        "labels_fn=lambda batch: None"
    )


def require_input_gradient(model: Model, x: Tensor, output: Any) -> None:
    """Check that the logits are what is expected and have a gradient with respect to the input.

    Args:
        model: in evaluation mode.
        x: a batch of inputs.
        output: ``"logits"``, or a callable that picks the logits.

    Raises:
        UserError: if not, or if the model has no Jacobian for another reason; with what to do.
    """
    with torch.inference_mode(False), torch.enable_grad():
        few = x[:2].detach().clone().requires_grad_()
        logits = output_function(output)(model(few))
        if not isinstance(logits, Tensor) or logits.ndim != 2:
            what = f"shape {list(logits.shape)}" if isinstance(logits, Tensor) else f"type {type(logits).__name__}"
            raise UserError(
                f"JacobianCallback: forward gives something of {what}; expected logits [batch, classes]. Say how "
                "to get them: JacobianCallback(output=lambda returned: returned['logits'])"
            )
        gradient = None
        if logits.requires_grad:
            (gradient,) = torch.autograd.grad(logits.sum(), few, allow_unused=True)
    if gradient is None:
        raise UserError(
            "JacobianCallback: the logits have no gradient with respect to the input. Something on the way cuts it: "
            ".detach(), torch.no_grad(), argmax, a conversion to NumPy, or integer indices. Remove it, or give a "
            "forward_fn that leads around it"
        )
    try:
        jacobian(model, few.detach(), output, check_finite=False)
    except JacobianError as error:
        raise UserError(f"JacobianCallback: {error}") from error
