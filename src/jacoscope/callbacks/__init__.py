"""Lightning callbacks that measure a network while it trains, and log what they see.

They are loaded when first used: what they measure with works without Lightning too, see
:mod:`jacoscope.without_lightning`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .distortion_annealing import DistortionAnnealing as DistortionAnnealing
    from .hparams import HParamsCallback as HParamsCallback
    from .jacobian.callback import JacobianCallback as JacobianCallback

_FILES = {
    "DistortionAnnealing": "distortion_annealing",
    "HParamsCallback": "hparams",
    "JacobianCallback": "jacobian.callback",
}


def __getattr__(name: str) -> Any:
    if name in _FILES:
        return getattr(import_module(f"{__name__}.{_FILES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
