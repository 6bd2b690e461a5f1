"""The report as one HTML page: markup, style, script, charts and numbers in one file."""

from __future__ import annotations

from html import escape
from importlib import resources

import msgspec

from ... import __version__
from .summary import Summary


def render(summary: Summary) -> str:
    """Return the page, with the library that draws the charts: Plotly's bundle of bars, lines and pies."""
    parts = {
        "style": _part("page.css"),
        "plotly": _part("plotly-basic.min.js"),
        "script": _part("page.js"),
        # A closing tag within a title must not end the script element.
        "data": msgspec.json.encode(summary).decode().replace("<", "\\u003c"),
        "version": escape(__version__),
    }
    page = _part("page.html")
    for name, text in parts.items():
        page = page.replace(f"<!--{name}-->", text, 1)
    return page


def _part(name: str) -> str:
    return resources.files(__package__ or "").joinpath(name).read_text("utf-8")
