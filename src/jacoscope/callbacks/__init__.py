"""Lightning callbacks that measure a network while it trains, and log what they see."""

from .distortion_annealing import DistortionAnnealing as DistortionAnnealing
from .hparams import HParamsCallback as HParamsCallback
from .jacobian import JacobianCallback as JacobianCallback
