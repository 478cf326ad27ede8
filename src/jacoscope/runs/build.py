"""Build the objects that a checked config describes."""

from functools import reduce
from operator import getitem
from typing import Any

import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from torch import Tensor, nn

from jacoscope.errors import UserError
from jacoscope.penalties import Penalty


def build(config: dict[str, Any], part: str, **arguments: Any) -> Any:
    """Build the object that one part of a config describes.

    Args:
        config: the whole config.
        part: the dotted key of a mapping with ``_target_``.
        arguments: further arguments of the target; they replace those of the config.

    Raises:
        UserError: if the target refuses its arguments, with the message of the target.
    """
    return _built(part, reduce(getitem, part.split("."), config), arguments)


def build_all(config: dict[str, Any], parts: str) -> list[Any]:
    """Build the callbacks or the loggers of a config.

    Raises:
        UserError: if one of them refuses its arguments.
    """
    return [_built(f"{parts}.{name}", node, {}) for name, node in config[parts].items()]


def _built(key: str, node: dict[str, Any], arguments: dict[str, Any]) -> Any:
    try:
        return instantiate(node, _convert_="all", **arguments)
    except Exception as error:  # a class of the user may raise anything
        cause = error.__cause__ if isinstance(error, InstantiationException) and error.__cause__ else error
        if isinstance(cause, UserError):
            raise cause from error
        raise UserError(f"{key}: {node['_target_']} cannot be made: {type(cause).__name__}: {cause}") from error


def build_loss(config: dict[str, Any]) -> nn.Module:
    """Build the loss, and check that it computes one number from logits and classes.

    Raises:
        UserError: if it cannot be built, refuses them, or computes something else.
    """
    loss = build(config, "loss")
    target, shape = config["loss"]["_target_"], [2, config["images"]["classes"]]
    try:
        with torch.no_grad():
            value = loss(torch.zeros(shape), torch.zeros(2, dtype=torch.long))
    except Exception as error:  # a loss of the user may raise anything
        raise UserError(f"loss: {target} cannot be computed of logits {shape} and classes [2]: {error}") from error
    if not isinstance(value, Tensor) or value.numel() != 1:
        given = list(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise UserError(f"loss: {target} gives {given}; a loss is a tensor of one number")
    return loss  # type: ignore[no-any-return]


def build_penalty(config: dict[str, Any]) -> Penalty:
    """Build the penalty, and check that it is one.

    Raises:
        UserError: if it cannot be built, or is something else.
    """
    penalty = build(config, "penalty")
    if not isinstance(penalty, Penalty):
        raise UserError(
            f"penalty: {config['penalty']['_target_']} makes a {type(penalty).__name__}; "
            "it is a jacoscope.penalties.Penalty"
        )
    return penalty


def build_network(config: dict[str, Any]) -> nn.Module:
    """Build the network, and check that it computes one logit for each class from the images.

    Raises:
        UserError: if it cannot be built, does not take the images, or computes another shape.
    """
    network = build(config, "model")
    shape, classes = config["images"]["shape"], config["images"]["classes"]
    if not isinstance(network, nn.Module):
        raise UserError(f"model: {config['model']['_target_']} makes a {type(network).__name__}, not an nn.Module")
    was_training = network.training
    try:
        with torch.no_grad():
            logits = network.eval()(torch.zeros(2, *shape))
    except Exception as error:  # a network of the user may raise anything
        raise UserError(f"model: {config['model']['_target_']} does not take images of {shape}: {error}") from error
    network.train(was_training)
    given = list(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
    if given != [2, classes]:
        raise UserError(
            f"model: {config['model']['_target_']} gives {given} for two images; "
            f"a classifier of {classes} classes gives logits [2, {classes}]"
        )
    return network
