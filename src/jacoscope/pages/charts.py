"""How all charts look: one plotly template, in the colours of a light page; the page's script changes them to dark."""

from collections.abc import Sequence
from html import escape
from typing import Any

import plotly.graph_objects as go
import plotly.io as pio

from jacoscope.visuals.colors import THEME

LIGHT = THEME["light"]
"""The colours of every figure as Python makes it."""

_AXIS = {
    "automargin": True,
    "gridcolor": LIGHT["line"],
    "linecolor": LIGHT["line"],
    "tickcolor": LIGHT["line"],
    "zerolinecolor": LIGHT["line"],
}
pio.templates["jacoscope"] = go.layout.Template(
    layout={
        "colorway": [LIGHT[name] for name in ("right", "wrong", "accent", "soft", "ink")],
        "font": {"family": "system-ui, sans-serif", "size": 13, "color": LIGHT["soft"]},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "margin": {"t": 34, "r": 12, "b": 44, "l": 52},
        "hovermode": "closest",
        "hoverlabel": {
            "bgcolor": LIGHT["card"],
            "bordercolor": LIGHT["line"],
            "font": {"color": LIGHT["ink"]},
        },
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "font": {"color": LIGHT["ink"]}},
        "xaxis": _AXIS,
        "yaxis": _AXIS,
    },
)


def figure(*traces: Any, **layout: Any) -> go.Figure:
    """Return a figure of some traces that looks like all others.

    Plotly reads the texts of a figure as HTML: pass names that a user chose through :func:`plain`.

    Args:
        traces: traces of :mod:`plotly.graph_objects`.
        layout: of the figure, on top of the template's.

    >>> figure(go.Scatter(x=[1, 2], y=[3, 4]), xaxis_title="step").layout.xaxis.title.text
    'step'
    """
    return go.Figure(traces, layout={"template": "jacoscope", **go.Layout(**layout).to_plotly_json()})


def band(
    x: Sequence[float], low: Sequence[float | None], high: Sequence[float | None], color: str, **look: Any
) -> list[go.Scatter]:
    """Return two traces that fill what is between two lines, pale enough that bands may lie above each other.

    Args:
        x: places.
        low: the lower line.
        high: the upper line.
        color: one of :data:`LIGHT`, so that it follows the theme of the page.
        look: of the fill, such as its name in the legend.
    """
    edge: dict[str, Any] = {"x": x, "mode": "lines", "line": {"width": 0, "color": color}, "hoverinfo": "skip"}
    fill = {"fill": "tonexty", "fillcolor": color, "opacity": 0.2, "showlegend": False}
    return [go.Scatter(y=high, showlegend=False, **edge), go.Scatter(y=low, **edge, **{**fill, **look})]


def named(text: str) -> str:
    """Return a name of ours or of a user in the form that plotly and a page show as it is, with ‖J‖F as a subscript.

    >>> named("‖J‖F logits"), named("<b>")
    ('‖J‖<sub>F</sub> logits', '&lt;b&gt;')
    """
    return plain(text).replace("‖J‖F", "‖J‖<sub>F</sub>")


def plain(text: str) -> str:
    """Return a text in the form that plotly shows as it is.

    >>> plain('<b> & "c"')
    '&lt;b&gt; &amp; "c"'
    """
    return escape(text, quote=False)


def shortened(text: str, length: int = 28) -> str:
    """Leave out the middle of a text that is longer than ``length``.

    >>> shortened("SwishWithLearnableTemperature", 17)
    'SwishWit…perature'
    """
    half = (length - 1) // 2
    return text if len(text) <= length else f"{text[:half]}…{text[-half:]}"
