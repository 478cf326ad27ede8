"""A training that has left the numbers: noticed at the step where it happens, before the optimizer takes it."""

from pathlib import Path

import torch
from pytorch_lightning import LightningModule
from torch import Tensor

from jacoscope.errors import UserError


def require_finite_step(module: LightningModule, loss: Tensor) -> None:
    """Check the loss and all gradients, by one norm.

    Where a gradient scaler is at work (``precision=16-mixed``), infinite gradients are its business: it leaves such
    steps out.

    Args:
        module: with the gradients of a whole step, while it is trained.
        loss: of the step, a scalar.

    Raises:
        UserError: if one is NaN or infinite; saying which, where, and what the last good checkpoint is.
    """
    scaled = getattr(module.trainer.precision_plugin, "scaler", None) is not None
    named = [] if scaled else [(name, p.grad) for name, p in module.named_parameters() if p.grad is not None]
    norm = torch.nn.utils.get_total_norm([gradient for _, gradient in named])
    if bool(torch.isfinite(loss + norm)):
        return
    broken = [f"the gradient of {name} is {_what(gradient)}" for name, gradient in named if not _finite(gradient)]
    if not _finite(loss):
        broken.insert(0, f"the loss is {_what(loss)}")
    if broken:  # and not a norm that is too large for its own square alone
        trainer = module.trainer
        raise UserError(
            f"Step {trainer.global_step} (epoch {trainer.current_epoch}, batch {trainer.fit_loop.batch_idx}): "
            f"{', '.join(broken[:3])}{' …' if len(broken) > 3 else ''}. The optimizer has not taken this step.\n"
            f"{_last_good(module)}\n"
            "Usual remedies: a lower optimizer.lr, trainer.gradient_clip_val=1; debug=anomaly names the operation"
        )


def require_finite_weights(module: LightningModule) -> None:
    """Check the weights, before they are saved as good ones.

    Raises:
        UserError: if some are NaN or infinite.
    """
    broken = [f"{name} is {_what(weight)}" for name, weight in module.named_parameters() if not _finite(weight)]
    if broken:
        raise UserError(
            f"Step {module.global_step}: the weights have diverged: {', '.join(broken[:3])}. They are not saved.\n"
            f"{_last_good(module)}"
        )


def _last_good(module: LightningModule) -> str:
    paths = [Path(getattr(callback, "path", "")) for callback in module.trainer.checkpoint_callbacks]
    kept = [str(path) for path in paths if path.is_file()]
    return f"Last good checkpoint: {kept[0]}" if kept else "There is no checkpoint yet"


def _finite(values: Tensor) -> bool:
    return bool(torch.isfinite(values).all())


def _what(values: Tensor) -> str:
    return "NaN" if bool(torch.isnan(values).any()) else "infinite"
