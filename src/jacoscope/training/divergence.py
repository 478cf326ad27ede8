"""Stop a training whose loss, gradients or weights are NaN or infinite, before the optimizer takes the step."""

from pathlib import Path

import torch
from torch import Tensor

from jacoscope.errors import UserError
from jacoscope.lightning import LightningModule


def require_finite_step(module: LightningModule, loss: Tensor) -> None:
    """Check the loss and all gradients, with one norm.

    With a gradient scaler (``precision=16-mixed``), gradients are not checked: it skips steps with infinite ones.

    Args:
        module: is being trained, and has the gradients of a whole step.
        loss: of the step, a scalar.

    Raises:
        UserError: if one is NaN or infinite. The message names it, the step and the last good checkpoint.
    """
    scaled = getattr(module.trainer.precision_plugin, "scaler", None) is not None
    named = [] if scaled else [(name, p.grad) for name, p in module.named_parameters() if p.grad is not None]
    norm = torch.nn.utils.get_total_norm([gradient for _, gradient in named])
    if bool(torch.isfinite(loss + norm)):
        return
    broken = [f"the gradient of {name} is {_kind(gradient)}" for name, gradient in named if not _is_finite(gradient)]
    if not _is_finite(loss):
        broken.insert(0, f"the loss is {_kind(loss)}")
    if broken:  # otherwise the gradients are finite, and only their norm overflowed
        trainer = module.trainer
        raise UserError(
            f"Step {trainer.global_step} (epoch {trainer.current_epoch}, batch {trainer.fit_loop.batch_idx}): "
            f"{', '.join(broken[:3])}{' …' if len(broken) > 3 else ''}. The optimizer has not taken this step.\n"
            f"{_last_checkpoint(module)}\n"
            "Usual remedies: a lower optimizer.lr, trainer.gradient_clip_val=1; debug=anomaly names the operation"
        )


def require_finite_weights(module: LightningModule) -> None:
    """Check the weights before they are saved.

    Raises:
        UserError: if some are NaN or infinite.
    """
    broken = [f"{name} is {_kind(weight)}" for name, weight in module.named_parameters() if not _is_finite(weight)]
    if broken:
        raise UserError(
            f"Step {module.global_step}: the weights have diverged: {', '.join(broken[:3])}. They are not saved.\n"
            f"{_last_checkpoint(module)}"
        )


def _last_checkpoint(module: LightningModule) -> str:
    paths = [Path(getattr(callback, "path", "")) for callback in module.trainer.checkpoint_callbacks]
    kept = [str(path) for path in paths if path.is_file()]
    return f"Last good checkpoint: {kept[0]}" if kept else "There is no checkpoint yet"


def _is_finite(values: Tensor) -> bool:
    return bool(torch.isfinite(values).all())


def _kind(values: Tensor) -> str:
    return "NaN" if bool(torch.isnan(values).any()) else "infinite"
