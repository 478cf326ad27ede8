"""The exception for mistakes that a user can correct, and suggestions for misspelt words."""

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(Exception):
    """A mistake that the user can correct.

    The message says what was given, what is allowed and what to type instead. The entry scripts print it without a
    traceback and exit with status 1.
    """


def nearest(given: str, allowed: Iterable[str], prefix: str = "") -> str:
    """Return `` Did you mean X?`` with the allowed word closest to the given one, or an empty string.

    Args:
        given: what was typed.
        allowed: the words that could have been meant.
        prefix: put before the suggested word.

    >>> nearest("lenet6", ["mlp", "lenet5"])
    ' Did you mean lenet5?'
    >>> nearest("vgg", ["mlp", "lenet5"])
    ''
    """
    words = list(allowed)
    begun = [word for word in words if len(given) >= 4 and word.startswith(given)]
    matches = begun or get_close_matches(given, words, n=1, cutoff=0.6)
    return f" Did you mean {prefix}{matches[0]}?" if matches else ""


def require_choice(name: str, given: str, allowed: Iterable[str], where: str = "") -> None:
    """Check that a value is one of those that are allowed.

    Args:
        name: what has the value.
        given: the value.
        allowed: the values that are allowed.
        where: put before the message, such as ``"JacobianCallback: "``.

    Raises:
        UserError: naming what is allowed, and the nearest of it.
    """
    choices = list(allowed)
    if given not in choices:
        guess = nearest(given, choices, f"{name}=")
        raise UserError(f"{where}{name}={given}: it is one of {', '.join(choices)}.{guess}")
