"""Lists as tables and data frames, with the extras that this needs."""

from __future__ import annotations

from html import escape
from importlib import import_module
from typing import Any

from ..errors import ExportError


def to_arrow(source: Any, model: Any) -> Any:
    """Return what `stackone_lms.arrow.to_arrow` returns; it stands above this module and needs an extra."""
    return import_module("stackone_lms.arrow").to_arrow(source, model)


def to_pandas(table: Any) -> Any:
    """Return an Arrow table as a pandas data frame."""
    _require("pandas")
    return table.to_pandas()


def to_polars(table: Any) -> Any:
    """Return an Arrow table as a Polars data frame."""
    return _require("polars").from_arrow(table)


def _require(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError:
        raise ExportError(f"this needs {name}: pip install 'stackone-lms[{name}]'") from None


def hint(pager: object) -> str:
    """Return what a notebook shows of a list that was not fetched."""
    return f"<code>{escape(repr(pager))}</code><p>Nothing is fetched yet: iterate, or <code>first_page()</code>.</p>"
