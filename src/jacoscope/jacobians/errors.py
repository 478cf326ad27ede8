"""The one exception of the engine."""


class JacobianError(ValueError):
    """A Jacobian was asked for that does not exist or would be wrong.

    The message says what was given, why it has no Jacobian, and what would work.
    """
