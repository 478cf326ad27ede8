"""One HTML file that needs no network: typography, light and dark, charts in the colours of either."""

import json
from collections.abc import Mapping
from datetime import datetime
from html import escape
from importlib.resources import files
from string import Template
from typing import Any

from plotly.offline import get_plotlyjs


def page(title: str, subtitle: str, body: str, data: Mapping[str, Any], script: str = "start();", css: str = "") -> str:
    """Put a page together.

    Args:
        title: the headline, as plain text.
        subtitle: what stands below it, beside the date.
        body: HTML; what :func:`chart` makes is where the charts go.
        data: what the script finds as ``data``; ``data["charts"]`` holds traces and layout of plotly for each chart,
            where a trace's ``theme`` names a colour of the page: ``right``, ``wrong``, ``accent``, ``ink`` or ``soft``.
        script: what the page does besides drawing its charts; it ends by calling ``start()``.
        css: rules besides those of all pages.

    Raises:
        UserError: if plotly is not installed.
    """
    today = datetime.now().astimezone()
    return Template(_asset("page.html")).substitute(
        title=escape(title),
        subtitle=escape(subtitle),
        date=f"{today.day} {today:%B %Y}",
        css=_asset("page.css") + css,
        body=body,
        data=json.dumps(data, separators=(",", ":"), ensure_ascii=False).replace("<", "\\u003c"),
        plotly=_plotly(),
        script=_asset("page.js") + script,
    )


def section(title: str, content: str) -> str:
    """Give a section with a heading, which is plain text, and its content, which is HTML."""
    return f"<section><h2>{escape(title)}</h2>{content}</section>"


def chart(name: str) -> str:
    """Give the place of a chart."""
    return f'<div class="chart" id="chart-{name}"></div>'


def _asset(name: str) -> str:
    return (files("jacoscope.visuals.page") / name).read_text(encoding="utf-8")


def _plotly() -> str:
    return str(get_plotlyjs()).replace("</script", "<\\/script")
