"""The one exception for mistakes that a user can mend."""


class UserError(Exception):
    """A mistake of the user's, told in one message: what was given, what is allowed, what to type instead.

    The entry scripts print the message alone and leave with a non-zero status, without a traceback.
    """
