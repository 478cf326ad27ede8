"""See how every output of an image classifier depends on every input pixel.

The public names are gathered here and loaded when first used, so that ``import jacoscope`` costs nothing.
"""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from jacoscope.callbacks import JacobianCallback as JacobianCallback

_HOMES = {"JacobianCallback": "jacoscope.callbacks"}

__all__ = ["JacobianCallback", "__version__"]


def __getattr__(name: str) -> Any:
    from importlib import import_module

    home = _HOMES.get(name, "jacoscope.jacobians")
    if name.startswith("_"):
        raise AttributeError(f"module 'jacoscope' has no attribute {name!r}")
    return getattr(import_module(home), name)
