"""How every output of an image classifier depends on every input pixel.

The functions of :mod:`jacoscope.jacobians`, which needs only torch; those of :mod:`jacoscope.measurement`, for a plain
PyTorch loop and notebooks; and the callback that logs Jacobians during a Lightning training. They are loaded when they
are first used, so that ``import jacoscope`` is fast.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jacoscope.callbacks import JacobianCallback
    from jacoscope.jacobians import (
        STRATEGIES,
        BoundaryDistance,
        CheckReport,
        FrobeniusEstimate,
        JacobianChunk,
        JacobianError,
        NonFiniteJacobianError,
        SingularTriplets,
        StrategyError,
        as_matrix,
        boundary_distance,
        check,
        class_mean_maps,
        effective_rank,
        estimate_frobenius,
        frobenius_norm,
        input_alignment,
        iter_jacobians,
        jacobian,
        jvp,
        l1_operator_norm,
        leading_singular_triplets,
        linf_operator_norm,
        log_probs_jacobian_from_logits,
        nuclear_norm,
        output_norms,
        probs_jacobian_from_logits,
        sensitivity_map,
        singular_values,
        spectral_norm,
        stable_rank,
        usable_strategy,
        vjp,
    )
    from jacoscope.measurement import Picture, Result, log, measure, show

__version__ = "0.1.0"

_HOMES = {"JacobianCallback": "callbacks"} | dict.fromkeys(
    ("Picture", "Result", "log", "measure", "show"), "measurement"
)

__all__ = [
    "STRATEGIES",
    "BoundaryDistance",
    "CheckReport",
    "FrobeniusEstimate",
    "JacobianCallback",
    "JacobianChunk",
    "JacobianError",
    "NonFiniteJacobianError",
    "Picture",
    "Result",
    "SingularTriplets",
    "StrategyError",
    "__version__",
    "as_matrix",
    "boundary_distance",
    "check",
    "class_mean_maps",
    "effective_rank",
    "estimate_frobenius",
    "frobenius_norm",
    "input_alignment",
    "iter_jacobians",
    "jacobian",
    "jvp",
    "l1_operator_norm",
    "leading_singular_triplets",
    "linf_operator_norm",
    "log",
    "log_probs_jacobian_from_logits",
    "measure",
    "nuclear_norm",
    "output_norms",
    "probs_jacobian_from_logits",
    "sensitivity_map",
    "show",
    "singular_values",
    "spectral_norm",
    "stable_rank",
    "usable_strategy",
    "vjp",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'jacoscope' has no attribute '{name}'")
    return getattr(import_module(f"jacoscope.{_HOMES.get(name, 'jacobians')}"), name)


def __dir__() -> list[str]:
    return __all__
