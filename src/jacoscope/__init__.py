"""How every output of an image classifier depends on every input pixel.

The functions of :mod:`jacoscope.jacobians`, which needs only torch, and the callback that logs Jacobians during a
training. They are loaded when they are first used, so that ``import jacoscope`` is fast.
"""

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jacoscope.callbacks import JacobianCallback as JacobianCallback
    from jacoscope.jacobians import *  # noqa: F403

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name == "JacobianCallback":
        return import_module("jacoscope.callbacks").JacobianCallback
    if name.startswith("_") and name != "__all__":
        raise AttributeError(f"module 'jacoscope' has no attribute '{name}'")
    imported = vars(import_module("jacoscope.jacobians"))
    public = {key: value for key, value in imported.items() if key[0] != "_" and not isinstance(value, ModuleType)}
    if name == "__all__":
        return sorted([*public, "JacobianCallback", "__version__"])
    if name not in public:
        raise AttributeError(f"module 'jacoscope' has no attribute '{name}'")
    return public[name]


def __dir__() -> list[str]:
    return __getattr__("__all__")  # type: ignore[no-any-return]
