"""The colours of pages and charts, and what the colours of heatmaps are called in texts."""

THEME = {
    "light": {
        "paper": "#fcfcfa",
        "card": "#ffffff",
        "ink": "#1d2430",
        "soft": "#5b6472",
        "line": "#e2e4e8",
        "right": "#2b6cb0",
        "wrong": "#c65a11",
        "accent": "#5b3fa0",
        "mark": "#12b886",
    },
    "dark": {
        "paper": "#14171c",
        "card": "#1c2027",
        "ink": "#e7e9ee",
        "soft": "#a0a8b5",
        "line": "#313743",
        "right": "#6cabec",
        "wrong": "#f0924a",
        "accent": "#b49cf0",
        "mark": "#12b886",
    },
}
"""Colours of pages and charts by what they are for, on light and on dark paper; figures have those of light paper."""
WORDS = {"zero": "light grey", "negative": "blue", "positive": "orange", "strong": "violet"}
"""What these colours are called in texts: ``WORDS["positive"]`` raises an output, ``WORDS["negative"]`` lowers it."""


def css() -> str:
    """Return the theme as custom properties of CSS: ``--ink`` and so on, for light and dark pages."""
    light, dark = (" ".join(f"--{name}: {color};" for name, color in colors.items()) for colors in THEME.values())
    return f':root {{ {light} }}\n:root[data-theme="dark"] {{ {dark} color-scheme: dark; }}\n'
