"""The exceptions of the engine."""

from torch import Tensor


class JacobianError(ValueError):
    """A Jacobian was asked for that does not exist or would be wrong.

    The message says what was given, why it has no Jacobian, and what would work.
    """


class StrategyError(JacobianError):
    """The strategy that was asked for cannot carry out a step of the model, or differentiates it wrongly."""


class WrongDerivativesError(Exception):
    """A strategy has differentiated a step of the model wrongly; another one is tried. No user sees it."""


class NonFiniteJacobianError(JacobianError):
    """The Jacobian of some samples is NaN or infinite.

    Attributes:
        samples: their indices in the batch (in the loader, from `iter_jacobians`).
        jacobian: the whole result all the same, `[batch, outputs, *input_shape]`.
        outputs: the outputs, `[batch, outputs]`.
    """

    def __init__(self, samples: list[int], jacobian: Tensor, outputs: Tensor, first: int = 0) -> None:
        shown = ", ".join(map(str, samples[:10])) + (", …" if len(samples) > 10 else "")
        blame = (
            "outputs are"
            if not outputs[[sample - first for sample in samples]].isfinite().all()
            else "derivatives alone are"
        )
        super().__init__(
            f"The Jacobian is NaN or infinite for {len(samples)} of {len(jacobian)} samples ({shown}); their {blame} "
            "not finite. Check these inputs and the weights, or pass check_finite=False to have the result as it is."
        )
        self.samples = samples
        self.jacobian = jacobian
        self.outputs = outputs
