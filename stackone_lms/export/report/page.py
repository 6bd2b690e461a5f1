"""The report as one HTML page: markup, style, script, charts and numbers in one file."""

from __future__ import annotations

from html import escape
from importlib import import_module, resources

import msgspec

from ... import __version__
from ...errors import ExportError
from .summary import Summary


def render(summary: Summary) -> str:
    """Return the page.

    Raises:
        ExportError: plotly, which draws the charts, is not installed.
    """
    try:
        library: str = import_module("plotly.offline").get_plotlyjs()
    except ImportError:
        raise ExportError("this needs plotly: pip install 'stackone-lms[report]'") from None
    parts = {
        "style": _part("page.css"),
        "plotly": library,
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
