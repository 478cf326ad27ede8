"""Putting the weights of a checkpoint into a network."""

from pathlib import Path
from typing import Any

from torch import Tensor, nn

from jacoscope.errors import UserError


def load_weights(network: nn.Module, content: dict[str, Any], path: Path, described: str) -> None:
    """Put a checkpoint's weights into a network.

    The weights may lie in ``state_dict`` (Lightning) or be the content itself, and their names may have one common
    prefix (``network.``, ``model.``, ``module.``).

    Args:
        network: the network to fill.
        content: what :func:`jacoscope.checkpoints.read_checkpoint` gave.
        path: of the checkpoint, for the messages.
        described: what the network was made from, for the messages.

    Raises:
        UserError: if the weights are those of another architecture.
    """
    weights = content.get("state_dict", content)
    tensors = {str(k): v for k, v in weights.items() if isinstance(v, Tensor)} if isinstance(weights, dict) else {}
    wanted = network.state_dict()
    if not tensors:
        raise UserError(f"{path} holds no weights")
    prefix = _common_prefix(list(tensors), list(wanted))
    found = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    different = [
        f"{name}: {list(found[name].shape)} in the checkpoint, {list(wanted[name].shape)} in the network"
        for name in wanted
        if name in found and found[name].shape != wanted[name].shape
    ]
    different += [f"{name}: not in the checkpoint" for name in wanted if name not in found]
    different += [f"{name}: not in the network" for name in found if name not in wanted]
    if different:
        more = f"\n  and {len(different) - 4} more" if len(different) > 4 else ""
        raise UserError(
            f"{path} holds the weights of another architecture than {described}:\n  "
            + "\n  ".join(different[:4])
            + more
            + "\nName the network that it was trained with: model=lenet5, model=mlp, …"
        )
    if broken := [name for name in wanted if not bool(found[name].isfinite().all())]:
        raise UserError(f"{path}: the weights {', '.join(broken[:3])} are NaN or infinite: that training had diverged")
    network.load_state_dict(found)


def _common_prefix(have: list[str], want: list[str]) -> str:
    """Give what stands before the network's own names: of all that is possible, what makes most of them fit."""
    if not want:
        return ""
    candidates = {name.removesuffix(wanted) for name in have for wanted in want if name.endswith(wanted)}
    names = set(have)
    whole = {prefix for prefix in candidates if prefix.endswith(".")}
    return max(sorted({"", *whole}), key=lambda prefix: sum(f"{prefix}{wanted}" in names for wanted in want))
