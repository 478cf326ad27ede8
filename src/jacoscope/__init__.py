"""See how every output of an image classifier depends on every input pixel.

The names that most people need are gathered here, and loaded when they are first used, so that ``import jacoscope``
costs nothing. Everything about Jacobians is in :mod:`jacoscope.jacobians`, which needs torch alone.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jacoscope.callbacks import JacobianCallback
    from jacoscope.jacobians import as_matrix, boundary_distance, frobenius_norm, jacobian, spectral_norm

__version__ = "0.1.0"

__all__ = [
    "JacobianCallback",
    "__version__",
    "as_matrix",
    "boundary_distance",
    "frobenius_norm",
    "jacobian",
    "spectral_norm",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'jacoscope' has no attribute '{name}'")
    home = "jacoscope.callbacks" if name == "JacobianCallback" else "jacoscope.jacobians"
    return getattr(import_module(home), name)


def __dir__() -> list[str]:
    return __all__
