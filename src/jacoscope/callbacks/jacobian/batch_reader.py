"""From a batch of any structure to inputs and classes."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from jacoscope.errors import UserError
from jacoscope.lightning import rank_zero_warn


class BatchReader:
    """Finds inputs and classes in the batches of any data loader.

    Args:
        inputs_fn: takes the inputs out of a batch; by default its first element.
        labels_fn: takes the classes out of a batch, or ``None`` for none; by default its second element.
    """

    def __init__(
        self,
        inputs_fn: Callable[[Any], Tensor] | None = None,
        labels_fn: Callable[[Any], Tensor] | None = None,
    ) -> None:
        self._inputs_fn = inputs_fn or first_element
        self._labels_fn = labels_fn or second_element
        self._warned_about: set[str] = set()

    def inputs(self, batch: Any) -> Tensor:
        """Return the inputs.

        Raises:
            UserError: if it is not a tensor of floating point numbers.
        """
        x = self._inputs_fn(batch)
        if not isinstance(x, Tensor):
            raise UserError(
                f"JacobianCallback: {_name(self._inputs_fn)} of a batch is a {type(x).__name__}, not a tensor of "
                "inputs. Say where the inputs are: JacobianCallback(inputs_fn=lambda batch: batch['image'])"
            )
        if not x.is_floating_point():
            raise UserError(
                f"JacobianCallback: the inputs are {x.dtype}; a derivative needs floating point numbers. Convert them "
                "in the data set or in on_after_batch_transfer, or pass inputs_fn=lambda batch: batch[0].float() / 255 "
                "and a forward_fn that takes such inputs"
            )
        return x

    def samples(self, batch: Any) -> tuple[Tensor, Tensor]:
        """Return inputs and classes, ``[batch]``, on the CPU.

        Where no classes are found, they are −1, and a warning says why, once.
        """
        x = self.inputs(batch)
        count, labels = len(x), self._labels_fn(batch)
        if isinstance(labels, Tensor) and labels.shape in ((count,), (count, 1)) and not labels.is_floating_point():
            return x, labels.detach().reshape(count).cpu().long()
        if labels is not None:
            found = type(labels).__name__
            if isinstance(labels, Tensor):
                found = f"tensor {list(labels.shape)} of {str(labels.dtype).removeprefix('torch.')}"
            self._warn_once(
                "classes",
                f"JacobianCallback: {_name(self._labels_fn)} of a batch returns a {found}, not classes: "
                f"a tensor [{count}] of whole numbers. Say how to get them, for one-hot rows "
                "JacobianCallback(labels_fn=lambda batch: batch[1].argmax(1)); or, if there are none, "
                "labels_fn=lambda batch: None. Means by class and by outcome are left out",
            )
        return x, torch.full((count,), -1)

    def training_inputs(self, batch: Any) -> Tensor | None:
        """Return the inputs of a training batch; ``None``, with a warning, if it has another structure."""
        try:
            return self.inputs(batch)
        except Exception as error:  # a user's inputs_fn may raise anything for another kind of batch
            self._warn_once(
                "training batches",
                "JacobianCallback: no inputs were found in a training batch, so training samples are not measured: "
                f"{type(error).__name__}: {error}. Pass an inputs_fn that works for training and validation "
                "batches both, or JacobianCallback(train_samples=0)",
            )
            return None

    def _warn_once(self, about: str, message: str) -> None:
        if about not in self._warned_about:
            self._warned_about.add(about)
            rank_zero_warn(message)


def first_element(batch: Any) -> Any:
    """Return the inputs of a batch ``(inputs, …)``, or the batch itself if it is a tensor."""
    return batch[0] if isinstance(batch, Sequence) and len(batch) else batch


def second_element(batch: Any) -> Any:
    """Return the second element of a batch ``(inputs, classes, …)``; ``None`` if there is none."""
    return batch[1] if isinstance(batch, Sequence) and len(batch) > 1 else None


def _name(function: Callable[[Any], Any]) -> str:
    return str(getattr(function, "__name__", function))
