"""Records as an HTML table, for notebooks."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

ROWS, COLUMNS, WIDTH = 20, 12, 80
"""The most that a table shows: records, fields, and characters of a value."""


def table(records: Sequence[Any]) -> str:
    """Return a table of records: the fields that some of them have, as many as fit."""
    rows = [dict(record.__rich_repr__()) for record in records[:ROWS]]
    names = list(dict.fromkeys(name for row in rows for name in row))
    head = "".join(f"<th>{escape(name)}</th>" for name in names[:COLUMNS])
    body = "".join(
        f"<tr>{''.join(f'<td>{_cell(row.get(name))}</td>' for name in names[:COLUMNS])}</tr>" for row in rows
    )
    left_out = [f"{len(records) - ROWS} more records"] if len(records) > ROWS else []
    left_out += [f"{len(names) - COLUMNS} more fields"] if len(names) > COLUMNS else []
    note = f"<p>and {', '.join(left_out)}</p>" if left_out else ""
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{note}"


def _cell(value: Any) -> str:
    unified = getattr(value, "value", None)
    text = "" if value is None else str(value if unified is None else unified)
    return escape(text if len(text) <= WIDTH else f"{text[: WIDTH - 1]}…")
