"""How numbers are written on pages and pictures."""

import re


def number_text(value: float, form: str = ".3g") -> str:
    """Return a number as people write it.

    It has a minus sign instead of a hyphen, no sign where it is rounded to zero, and no leading zeros in an exponent.

    Args:
        value: the number.
        form: a format specification of Python.

    >>> number_text(-1.5), number_text(0.0000123), number_text(-0.001, "+.2f"), number_text(-0.25, ".1%")
    ('−1.5', '1.23e−5', '0.00', '−25.0%')
    """
    text = re.sub(r"e([+-])0*", r"e\1", format(value, form)).replace("e+", "e")
    if not re.search(r"[1-9a-z]", text):
        text = text.lstrip("+-")
    return text.replace("-", "−")
