"""Run a model as a pure function of its input, and leave everything as it was, also if it raises."""

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from .errors import JacobianError

Model = Callable[[Tensor], Any]

_ONE_AT_A_TIME = threading.RLock()
"""Modes of modules and switches of PyTorch are everybody's: threads take turns."""


def unwrapped(model: Model) -> Model:
    """The model inside DataParallel, DistributedDataParallel and torch.compile.

    The wrappers scatter, synchronise or compile for training; the derivative is that of what they wrap.
    """
    while True:
        if isinstance(model, nn.parallel.DataParallel | nn.parallel.DistributedDataParallel):
            model = model.module
        elif "_orig_mod" in getattr(model, "_modules", ()):  # not hasattr, which a module answers slowly
            model = model._modules["_orig_mod"]  # type: ignore[attr-defined]
        elif "_torchdynamo_orig_callable" in getattr(model, "__dict__", ()):
            model = model.__dict__["_torchdynamo_orig_callable"]
        else:
            return model


@contextmanager
def pure(model: Model, device: torch.device, *, freeze: bool) -> Iterator[Model]:
    """A function of the input alone: in evaluation mode, with gradients enabled, drawing no lasting random numbers.

    Args:
        model: unwrapped; a module, or a function that calls some.
        device: where it runs.
        freeze: derivatives with respect to the parameters are not wanted.

    Yields:
        What to call instead of `model`.

    Raises:
        JacobianError: a normalisation layer uses statistics of the batch even in evaluation mode.
    """
    modules = list(dict.fromkeys(module for root in _roots(model) for module in root.modules()))
    _refuse_batch_statistics(modules)
    with _ONE_AT_A_TIME, ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        cuda = [device] if device.type == "cuda" else []
        stack.enter_context(torch.random.fork_rng(devices=cuda))
        stack.enter_context(_evaluation_mode(modules))
        stack.enter_context(_buffers_kept(modules))
        stack.enter_context(_plain_attention())
        if "torch._dynamo" in sys.modules:  # something may be compiled, inside the model or around a step of it
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        tensors = (t for module in modules for t in (*module._parameters.values(), *module._buffers.values()))
        if isinstance(model, nn.Module) and any(t is not None and t.is_inference() for t in tensors):
            model = _without_inference_tensors(model)
        elif freeze:
            stack.enter_context(_frozen(modules))
        yield model


def _roots(model: Any) -> list[nn.Module]:
    """The modules that a model consists of: itself, or those that a function holds on to.

    A function may be a method of a module, or have modules bound to it, in its closure, or among the globals it names.
    """
    if isinstance(model, nn.Module):
        return [model]
    held: list[Any] = [getattr(model, "__self__", None)]
    if isinstance(model, partial):
        held += [*model.args, *model.keywords.values(), *_roots(model.func)]
    function = getattr(model, "__func__", model)
    for cell in getattr(function, "__closure__", None) or ():
        try:
            held.append(cell.cell_contents)
        except ValueError:  # not assigned yet
            continue
    if code := getattr(function, "__code__", None):
        held += [function.__globals__.get(name) for name in code.co_names]
    return [module for module in held if isinstance(module, nn.Module)]


@contextmanager
def _evaluation_mode(modules: list[nn.Module]) -> Iterator[None]:
    # The flags themselves, since train() and eval() may be overridden to do more than set them.
    training = [module for module in modules if module.training]
    try:
        for module in training:
            module.training = False
        yield
    finally:
        for module in training:
            module.training = True


@contextmanager
def _buffers_kept(modules: list[nn.Module]) -> Iterator[None]:
    kept = [
        (module, name, buffer, None if buffer.is_inference() else buffer._version, buffer.detach().clone())
        for module in modules
        for name, buffer in module._buffers.items()
        if buffer is not None
    ]
    try:
        yield
    finally:
        for module, name, buffer, version, value in kept:
            if version is None or buffer._version != version:
                with torch.inference_mode(buffer.is_inference()), torch.no_grad():
                    buffer.copy_(value)
            module._buffers[name] = buffer


@contextmanager
def _frozen(modules: list[nn.Module]) -> Iterator[None]:
    trainable = [p for module in modules for p in module._parameters.values() if p is not None and p.requires_grad]
    try:
        for parameter in trainable:
            parameter.requires_grad = False
        yield
    finally:
        for parameter in trainable:
            parameter.requires_grad = True


@contextmanager
def _plain_attention() -> Iterator[None]:
    """The fused kernels of attention have no derivatives of every kind, or none at all."""
    fastpath = torch.backends.mha.get_fastpath_enabled()
    try:
        if fastpath:
            torch.backends.mha.set_fastpath_enabled(False)
        with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
            yield
    finally:
        if fastpath:
            torch.backends.mha.set_fastpath_enabled(True)


def _without_inference_tensors(model: nn.Module) -> Model:
    """Parameters made in inference mode cannot take part in a derivative; copies of them can."""
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    copies = {name: tensor.detach().clone() for name, tensor in tensors.items()}

    def call(x: Tensor) -> Any:
        return torch.func.functional_call(model, copies, (x,))

    return call


def _refuse_batch_statistics(modules: list[nn.Module]) -> None:
    for module in modules:
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is None:
            raise JacobianError(
                f"{type(module).__name__}({module.num_features}, track_running_stats=False) normalises with the "
                "statistics of the batch even in evaluation mode, so the outputs of a sample depend on the other "
                "samples. Use a layer that keeps running statistics, or GroupNorm, LayerNorm or InstanceNorm."
            )
