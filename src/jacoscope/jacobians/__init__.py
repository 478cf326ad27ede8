"""Exact input-output Jacobians of PyTorch models, their norms, and what they mean.

Needs torch and nothing else.
"""

from .boundary import BoundaryDistance as BoundaryDistance
from .boundary import boundary_distance as boundary_distance
from .engine import jacobian as jacobian
from .engine import usable_strategy as usable_strategy
from .errors import JacobianError as JacobianError
from .errors import NonFiniteJacobianError as NonFiniteJacobianError
from .errors import StrategyError as StrategyError
from .finite_differences import CheckReport as CheckReport
from .finite_differences import check as check
from .maps import class_mean_maps as class_mean_maps
from .maps import input_alignment as input_alignment
from .maps import sensitivity_map as sensitivity_map
from .matrix_free import FrobeniusEstimate as FrobeniusEstimate
from .matrix_free import SingularTriplets as SingularTriplets
from .matrix_free import estimate_frobenius as estimate_frobenius
from .matrix_free import leading_singular_triplets as leading_singular_triplets
from .norms import as_matrix as as_matrix
from .norms import effective_rank as effective_rank
from .norms import frobenius_norm as frobenius_norm
from .norms import l1_operator_norm as l1_operator_norm
from .norms import linf_operator_norm as linf_operator_norm
from .norms import nuclear_norm as nuclear_norm
from .norms import output_norms as output_norms
from .norms import singular_values as singular_values
from .norms import spectral_norm as spectral_norm
from .norms import stable_rank as stable_rank
from .outputs import log_probs_jacobian_from_logits as log_probs_jacobian_from_logits
from .outputs import probs_jacobian_from_logits as probs_jacobian_from_logits
from .products import jvp as jvp
from .products import vjp as vjp
from .strategies import DEFINITION as DEFINITION
from .strategies import STRATEGIES as STRATEGIES
from .streaming import JacobianChunk as JacobianChunk
from .streaming import iter_jacobians as iter_jacobians
