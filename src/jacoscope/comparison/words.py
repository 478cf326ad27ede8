"""How settings, metrics and times are written for people, in the terminal and on the page."""

import math

NORM = "jacobian/logits/frobenius/mean"
SHOWN = {
    "val/accuracy": "val accuracy",
    "test/accuracy": "test accuracy",
    "gap": "train − test",
    NORM: "‖J‖F logits",
}


def title(metric: str) -> str:
    """Name a metric."""
    return SHOWN.get(metric, metric)


def written(name: str, value: float | None) -> str:
    """Write a metric as a person reads it.

    >>> written("val/accuracy", 0.98765), written("gap", -0.00001), written("val/loss", 0.03456), written("gap", None)
    ('98.77 %', '0.00 %', '0.03456', '')
    """
    if value is None or not math.isfinite(value):
        return "" if value is None else str(value)
    if name.endswith("accuracy") or name == "gap":
        return f"{round(value, 4) + 0.0:.2%}".replace("%", " %")  # + 0.0 takes the sign of -0.0 away
    return f"{value:.4g}"


def with_spread(name: str, mean: float, spread: float) -> str:
    """Write the mean of a metric and its standard deviation, both to the two leading digits of the latter.

    >>> with_spread("test/accuracy", 0.9938, 0.00031), with_spread("val/loss", 0.03456, 0.00123)
    ('99.38 % ± 0.03 %', '0.0346 ± 0.0012')
    >>> with_spread(NORM, 73.23, 16.4), with_spread(NORM, 73.23, 0.0)
    ('73 ± 16', '73.23 ± 0')
    """
    text = written(name, spread)
    if text.endswith("%") or not (spread > 0 and math.isfinite(mean) and math.isfinite(spread)):
        return f"{written(name, mean)} ± {text}"
    digits = max(0, 1 - math.floor(math.log10(spread)))
    return f"{mean:.{digits}f} ± {spread:.{digits}f}"


def value_text(value: object) -> str:
    """Write the value of a setting.

    >>> value_text(0.00431171), value_text(1e-4), value_text(1234567.0), value_text("lenet5")
    ('0.004312', '0.0001', '1234567', 'lenet5')
    """
    if not isinstance(value, float):
        return str(value)
    return str(int(value)) if value.is_integer() and abs(value) < 1e15 else f"{value:.4g}"


def shortened(text: str, length: int = 28) -> str:
    """Leave the middle of a long text out.

    >>> shortened("SwishWithLearnableTemperature", 17)
    'SwishWit…perature'
    """
    half = (length - 1) // 2
    return text if len(text) <= length else f"{text[:half]}…{text[-half:]}"
