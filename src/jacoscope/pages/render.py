"""Render a template as a page: one file, with style, script, charts and data inside."""

import json
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from typing import Any

import plotly.graph_objects as go
import plotly.io as pio
from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup
from plotly.offline import get_plotlyjs
from plotly.utils import PlotlyJSONEncoder

from jacoscope.pages.charts import shortened
from jacoscope.visuals.colors import THEME, WORDS, css
from jacoscope.visuals.numbers import number_text


def render(
    template: str,
    *,
    title: str,
    subtitle: str,
    charts: Mapping[str, go.Figure],
    data: Mapping[str, Any] | None = None,
    **context: Any,
) -> str:
    """Return a page as HTML.

    Everything that the template writes is escaped, except :class:`markupsafe.Markup`.

    Args:
        template: a file of this package that extends ``pages/base.html``, such as ``comparison/sweep.html``.
        title: the headline.
        subtitle: what stands below it, beside the date.
        charts: by their names; ``{{ chart("NAME") }}`` in the template is the place of one.
        data: what the page's script needs besides the charts; it is passed as JSON.
        context: the variables of the template.
    """
    today = datetime.now().astimezone()
    content = {
        "charts": {name: _without_template(chart) for name, chart in charts.items()},
        "template": pio.templates["jacoscope"].to_plotly_json(),
        "theme": THEME,
        **(data or {}),
    }
    return load_template(template).render(
        title=title,
        subtitle=subtitle,
        charts=charts,
        date=f"{today.day} {today:%B %Y}",
        data=as_json(content),
        plotly=Markup(get_plotlyjs().replace("</script", "<\\/script")),
        style=Markup(css()),
        colors=WORDS,
        **context,
    )


def load_template(name: str) -> Template:
    """Load a template by its path in this package."""
    return _environment().get_template(name)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("jacoscope", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = number_text
    environment.filters["shortened"] = shortened
    return environment


def as_json(content: Mapping[str, Any]) -> Markup:
    """Return JSON that can stand in a script; NaN and infinity are null."""
    text = json.dumps(content, cls=PlotlyJSONEncoder, separators=(",", ":"), ensure_ascii=False)
    return Markup(text.replace("<", "\\u003c"))


def _without_template(chart: go.Figure) -> dict[str, Any]:
    """Return what plotly.js draws; the template, which is the same for all charts, is in the page once."""
    drawn: dict[str, Any] = chart.to_plotly_json()
    drawn["layout"].pop("template")
    return drawn
