"""What JacobianCallback may be told, checked, and what follows from it for a training."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from numbers import Integral
from typing import TYPE_CHECKING

from jacoscope.errors import UserError, require_choice
from jacoscope.jacobians import STRATEGIES, JacobianError
from jacoscope.lightning import rank_zero_warn

if TYPE_CHECKING:  # jacoscope.measure works without Lightning
    from jacoscope.lightning import Trainer

OUTPUTS = ("logits", "probs")
"""Whose Jacobians can be logged."""

_LEAST = {"train_samples": 0, "images_every_n_epochs": 0, "dataloader_idx": 0}
_MAY_BE_LEFT_OUT = ("every_n_steps",)


def check_arguments(
    counts: Mapping[str, int | None],
    probe_indices: Sequence[int] | None,
    outputs: Sequence[str],
    strategy: str,
    name: str | None,
) -> None:
    """Check the arguments of the callback.

    Args:
        counts: those that are whole numbers, by their names.
        probe_indices: samples that are drawn.
        outputs: whose Jacobians are logged.
        strategy: how they are computed.
        name: of the callback.

    Raises:
        UserError: if one of them is not allowed.
    """
    for argument, value in counts.items():
        if value is None and argument in _MAY_BE_LEFT_OUT:
            continue
        least = _LEAST.get(argument, 1)
        if not _is_whole(value) or value < least:  # type: ignore[operator]
            raise UserError(
                f"JacobianCallback: {argument}={value!r} is not allowed; it is a whole number, {least} or more"
            )
    if probe_indices is not None and not all(_is_whole(index) and index >= 0 for index in probe_indices):
        raise UserError(
            f"JacobianCallback: probe_indices={list(probe_indices)} is not allowed; each is a whole number, 0 or more"
        )
    if name is not None and (not re.fullmatch(r"[\w.-]+", str(name)) or name in ("train", "val", "test")):
        raise UserError(
            f"JacobianCallback: name={name!r} is not allowed; it is letters, digits and the signs _ - . alone, and "
            "not train, val or test: name='clean'"
        )
    if not outputs or set(outputs) - set(OUTPUTS):
        raise UserError(f"JacobianCallback: outputs={list(outputs)!r}; allowed are {list(OUTPUTS)}")
    require_choice("strategy", strategy, ("auto", *STRATEGIES), "JacobianCallback: ")


@contextmanager
def explained() -> Iterator[None]:
    """Raise UserError for a module that has no Jacobian; the message says why, and what to do."""
    try:
        yield
    except JacobianError as error:
        raise UserError(
            f"JacobianCallback: {error}\n"
            "To choose what is differentiated: JacobianCallback(forward_fn=lambda module, x: module.net(x)), or, of "
            "what forward returns, JacobianCallback(output=lambda returned: returned['logits'])"
        ) from error


def names_of_outputs(given: Sequence[str] | None, trainer: "Trainer", count: int) -> list[str]:
    """Return the names of the classes: those that were given, else the data module's, else numbers.

    If two are the same, their numbers are added to them.

    Raises:
        UserError: if as many names were not given as there are outputs.
    """
    known = given or getattr(getattr(trainer, "datamodule", None), "class_names", None) or ()
    if given is not None and len(known) != count:
        raise UserError(f"JacobianCallback: {len(known)} class_names were given, but there are {count} outputs")
    if len(known) != count:
        return [str(k) for k in range(count)]
    often = Counter(map(str, known))
    return [f"{name} ({k})" if often[str(name)] > 1 else str(name) for k, name in enumerate(known)]


def loader_to_measure(wanted: int, count: int, trainer: "Trainer") -> int:
    """Return the number of the loader that is measured; the first where a validation or test has fewer than a training.

    Args:
        wanted: what the callback was told.
        count: how many loaders there are.
        trainer: what runs.

    Raises:
        UserError: if a training has no such loader.
    """
    if wanted < count:
        return wanted
    message = f"JacobianCallback: dataloader_idx={wanted}, but there are {count} loaders: 0 to {count - 1}"
    if trainer.state.fn == "fit":
        raise UserError(message)
    rank_zero_warn(f"{message}. Loader 0 is measured")  # a test need not have as many as the training had
    return 0


def warn_without_validation(trainer: "Trainer") -> None:
    """Warn if a training validates nothing: then there is nothing to measure."""
    if not trainer.enable_validation:
        rank_zero_warn(
            "JacobianCallback measures validation samples, but this fit has no validation: it needs a validation "
            "loader, a validation_step and limit_val_batches above 0. Nothing will be logged"
        )


def _is_whole(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)
