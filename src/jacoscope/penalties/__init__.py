"""Penalties on the input-output Jacobian, to be added to a loss: train for small derivatives.

Each penalty is a module of a model, a batch and its classes, with gradients.
"""

from .boundary import BoundaryPenalty as BoundaryPenalty
from .forward_pass import ForwardPass as ForwardPass
from .input_gradient import InputGradientPenalty as InputGradientPenalty
from .jacobian import JacobianPenalty as JacobianPenalty
from .penalty import NoPenalty as NoPenalty
from .penalty import Penalty as Penalty
from .spectral import SpectralPenalty as SpectralPenalty
