"""The one exception for mistakes that a user can mend, and the words that help to mend them."""

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(Exception):
    """A mistake of the user's, told in one message: what was given, what is allowed, what to type instead.

    The entry scripts print the message alone and leave with a non-zero status, without a traceback.
    """


def nearest(given: str, allowed: Iterable[str], prefix: str = "") -> str:
    """Give `` Did you mean X?`` with the allowed word closest to the given one, or nothing.

    >>> nearest("lenet6", ["mlp", "lenet5"])
    ' Did you mean lenet5?'
    >>> nearest("vgg", ["mlp", "lenet5"])
    ''
    """
    words = list(allowed)
    begun = [word for word in words if len(given) >= 4 and word.startswith(given)]
    matches = begun or get_close_matches(given, words, n=1, cutoff=0.6)
    return f" Did you mean {prefix}{matches[0]}?" if matches else ""
