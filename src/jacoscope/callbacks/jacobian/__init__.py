"""The callback that watches the Jacobian of a classifier while it trains."""

from .callback import JacobianCallback as JacobianCallback
