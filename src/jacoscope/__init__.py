"""How every output of an image classifier depends on every input pixel.

The functions of :mod:`jacoscope.jacobians`, which needs only torch; those of :mod:`jacoscope.without_lightning`, for a
plain PyTorch loop and notebooks; and the callback that logs Jacobians during a Lightning training. They are loaded when
they are first used, so that ``import jacoscope`` is fast.
"""

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jacoscope.callbacks import JacobianCallback as JacobianCallback
    from jacoscope.jacobians import *  # noqa: F403
    from jacoscope.without_lightning import Picture as Picture
    from jacoscope.without_lightning import Result as Result
    from jacoscope.without_lightning import log as log
    from jacoscope.without_lightning import measure as measure
    from jacoscope.without_lightning import show as show

__version__ = "0.1.0"

_HOMES = {"JacobianCallback": "callbacks"} | dict.fromkeys(
    ("Picture", "Result", "log", "measure", "show"), "without_lightning"
)
"""Where public names are that :mod:`jacoscope.jacobians` does not have."""


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"jacoscope.{_HOMES[name]}"), name)
    if not name.startswith("_") or name == "__all__":
        imported = vars(import_module("jacoscope.jacobians"))
        public = {key: value for key, value in imported.items() if key[0] != "_" and not isinstance(value, ModuleType)}
        if name == "__all__":
            return sorted([*public, *_HOMES, "__version__"])
        if name in public:
            return public[name]
    raise AttributeError(f"module 'jacoscope' has no attribute '{name}'")


def __dir__() -> list[str]:
    return __getattr__("__all__")  # type: ignore[no-any-return]
