"""OBSERVE: Lightning callbacks that measure a network while it trains, and log what they see."""

from .hparams import HParamsCallback as HParamsCallback
from .jacobian import JacobianCallback as JacobianCallback
