"""Data on stdout: JSON exactly as the server sent it, or a table to look at."""

from __future__ import annotations

import csv
import io
import os
import sys
from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Any, NamedTuple, cast

import msgspec
import typer

from ..errors import DecodeError, printable
from ..safe_json import parse, repair
from .messages import console, note


class Form(StrEnum):
    """How data are written."""

    JSON = "json"
    JSONL = "jsonl"
    CSV = "csv"
    TABLE = "table"


Output = Annotated[
    Form | None,
    typer.Option(
        "--output",
        "-o",
        help="json, jsonl (one item per line), csv or table. Default: json for a single record; for lists a table on a "
        "terminal, jsonl elsewhere.",
    ),
]
Wide = Annotated[bool, typer.Option("--wide", help="Show all columns and full ids in tables.")]


class OutputClosedError(Exception):
    """Nobody reads stdout any more, as behind `| head`."""


def on_terminal() -> bool:
    """Tell whether stdout is a terminal."""
    return sys.stdout.isatty()


def finish() -> None:
    """See that everything has been written.

    Raises:
        OutputClosedError: Nobody reads it.
    """
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise OutputClosedError from None


def leave_nothing_buffered() -> None:
    """See that nothing is left for the interpreter's own flush at its end, whose failure would become exit code 120."""
    if sys.stdout is None or sys.stdout.closed:
        return
    try:
        sys.stdout.flush()
    except OSError:
        discard_output()


def discard_output() -> None:
    """Let what could not be written, and whatever follows it, go nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def _write(data: bytes) -> None:
    try:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise OutputClosedError from None


def write_text(text: str) -> None:
    """Write lines of text."""
    _write(text.encode(sys.stdout.encoding, "backslashreplace"))


def for_list(form: Form | None) -> Form:
    """Return the form for lists: what was asked for, else a table on a terminal and jsonl elsewhere."""
    return form or (Form.TABLE if on_terminal() else Form.JSONL)


def write_one(body: bytes, form: Form | None, fields: Sequence[str] = ()) -> None:
    """Write one answer of the API.

    Args:
        body: Its bytes. On a terminal JSON is indented, elsewhere it is one line.
        form: What was asked for.
        fields: The columns of csv.
    """
    if form is Form.TABLE:
        rows = [{"field": name, "value": value} for name, value in _record_in(body).items()]
        _show(_choose(rows, ["field", "value"], wide=True)[0], rows)
    elif form is Form.CSV:
        Writer(form, fields).write([msgspec.json.encode(_record_in(body))])
    else:
        _write(_json(body, indented=form is not Form.JSONL and on_terminal()) + b"\n")


def write_json(body: bytes) -> None:
    """Write JSON: indented on a terminal, one line elsewhere."""
    write_one(body, Form.JSON)


def _record_in(body: bytes) -> dict[str, Any]:
    answer = _fields_of(body)
    return _fields_of(answer["data"]) if "data" in answer else answer


class Writer:
    """Writes the items of a list as they come.

    Args:
        form: What was asked for.
        fields: The columns of a table or of csv, if chosen; csv has those of the first items otherwise.
        wide: Whether a table may be wider than the terminal.
        first: Columns of a table that come first, with whole ids.
    """

    def __init__(
        self, form: Form, fields: Sequence[str] = (), *, wide: bool = False, first: Sequence[str] = ()
    ) -> None:
        self._form = form
        self._columns_first = first
        self._fields = list(fields)
        self._wide = wide
        self._columns: list[_Column] = []
        self._first = True

    def write(self, items: Sequence[bytes]) -> None:
        """Write items, each of them JSON."""
        if self._form in (Form.TABLE, Form.CSV):
            if items:
                records = [_fields_of(item) for item in items]
                if self._form is Form.TABLE:
                    self._write_rows(records)
                else:
                    self._write_csv(records)
            return
        pretty = self._form is Form.JSON and on_terminal()
        texts = [_json(item, indented=pretty) for item in items]
        if self._form is Form.JSONL:
            _write(b"".join(text + b"\n" for text in texts))
        elif texts:
            _write((b"[\n" if self._first else b",\n") + b",\n".join(texts))
            self._first = False

    def end(self) -> None:
        """Write what comes after the last item. Left out after a failure: half an array does not pass for a whole."""
        if self._form is Form.JSON:
            _write(b"[]\n" if self._first else b"\n]\n")
        elif self._form is Form.CSV and self._first and self._fields:
            self._write_csv([])

    def _write_rows(self, records: list[dict[str, Any]]) -> None:
        if not self._columns:
            self._columns, left_out = _choose(records, self._fields, wide=self._wide, first=self._columns_first)
            if left_out:
                note(_not_shown(left_out, "--wide" if self._columns_first else "--wide, --field NAME"))
        _show(self._columns, records, titled=self._first)
        self._first = False

    def _write_csv(self, records: list[dict[str, Any]]) -> None:
        text = io.StringIO()
        lines = csv.writer(text, lineterminator="\n")
        if self._first:
            self._fields = self._fields or list(dict.fromkeys(name for record in records for name in record))
            lines.writerow(self._fields)
            self._first = False
        lines.writerows([_plain(record.get(name)) for name in self._fields] for record in records)
        write_text(text.getvalue())


def _json(body: bytes, *, indented: bool) -> bytes:
    # Reformatted, not decoded: numbers, escapes and the order of the keys stay as they were sent.
    text = msgspec.json.format(repair(body), indent=2 if indented else -1)
    if not on_terminal():
        return text
    from rich.highlighter import JSONHighlighter  # noqa: PLC0415 (for people only)
    from rich.text import Text  # noqa: PLC0415

    shown = Text("".join(c if c.isprintable() or c == "\n" else _escape(c) for c in text.decode("utf-8", "replace")))
    JSONHighlighter().highlight(shown)
    return _rendered(shown).removesuffix("\n").encode(sys.stdout.encoding, "backslashreplace")


def _escape(character: str) -> str:
    # As JSON escapes it: the text means the same, and a terminal does not act on it.
    units = character.encode("utf-16-be")
    return "".join(f"\\u{units[i] << 8 | units[i + 1]:04x}" for i in range(0, len(units), 2))


def _rendered(content: Any, width: int | None = None) -> str:
    out = console(width=width)
    with out.capture() as capture:
        out.print(content)
    return capture.get()


def _fields_of(value: Any) -> dict[str, Any]:
    if isinstance(value, bytes):
        try:
            value = parse(value)
        except DecodeError:  # a number that is out of range
            value = value.decode("utf-8", "replace")
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {"value": value}


def _plain(value: Any) -> str:
    """Return a value as people write it: of `{"value": ..., "source_value": ...}` the value, text as it is."""
    if value is None:
        return ""
    if isinstance(value, dict) and "value" in value and set(cast("dict[str, Any]", value)) <= {"value", "source_value"}:
        return _plain(cast("dict[str, Any]", value)["value"])
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


# Tables

_GAP = 2
_WIDEST = 32
_ID_END = 8
"""Characters of an id that a table shows: their ends differ, their beginnings seldom do."""
_NAMES = ("name", "title", "origin_owner_name")


class _Column(NamedTuple):
    name: str
    width: int
    cut: bool = False
    """Whether what is too long ends in an ellipsis, instead of going on below."""
    short: bool = False
    """Whether only the end of an id is shown."""

    def cell(self, record: dict[str, Any]) -> str:
        """Return what the column shows of a record."""
        text = printable(_plain(record.get(self.name)), 10_000)
        return f"…{text[-_ID_END:]}" if self.short and len(text) > _ID_END + 1 else text


def _choose(
    records: list[dict[str, Any]], asked: list[str], *, wide: bool, first: Sequence[str] = ()
) -> tuple[list[_Column], list[str]]:
    """Return the columns, and the names of those for which there is no room."""
    present = dict.fromkeys(name for record in records for name, value in record.items() if value not in (None, [], {}))
    names = asked or [name for name in first if name in present]
    if not asked:
        names += sorted((name for name in present if name not in first), key=lambda name: _rank(name, records))
    if asked or wide or not on_terminal():
        shown = names if asked or first else list(present)
        return [_Column(name, _width(_Column(name, 0), records)) for name in shown], []
    room = _room()
    chosen: list[_Column] = []
    for name in names:
        column = _Column(name, 0, cut=True, short=name not in first and (name == "id" or name.endswith("_id")))
        column = column._replace(width=min(_width(column, records), _WIDEST if chosen else room))
        if not chosen or column.width + _GAP <= room:
            chosen.append(column)
            room -= column.width + _GAP
    return chosen, [name for name in names if all(column.name != name for column in chosen)]


def _rank(name: str, records: list[dict[str, Any]]) -> int:
    # A name first, then the id, then what people can read, then references to other records, then what is nested.
    if name in _NAMES:
        return 0
    if name == "id":
        return 1
    if any(_plain(record.get(name))[:1] in {"[", "{"} for record in records):
        return 4
    return 3 if name.startswith("remote_") or name.endswith(("_id", "_ids", "_url", "_reference")) else 2


def _not_shown(names: list[str], options: str) -> str:
    """Say in one line of the terminal what a table leaves out, and which options show it."""
    how = f" ({options})"
    room = _room() - len("not shown: ") - len(how)
    for count in range(len(names), 0, -1):
        more = f", {len(names) - count} more" if count < len(names) else ""
        text = ", ".join(names[:count]) + more
        if len(text) <= room:
            return f"not shown: {text}{how}"
    return f"not shown: {len(names)} columns{how}"


def _room() -> int:
    return console().width


def _width(column: _Column, records: list[dict[str, Any]]) -> int:
    from rich.cells import cell_len  # noqa: PLC0415

    return max(cell_len(text) for text in (column.name, *(column.cell(record) for record in records)))


def _show(columns: list[_Column], records: list[dict[str, Any]], *, titled: bool = True) -> None:
    from rich.table import Table  # noqa: PLC0415

    table = Table(box=None, pad_edge=False, show_header=titled, padding=(0, _GAP, 0, 0))
    for column in columns:
        table.add_column(
            column.name, width=column.width, no_wrap=column.cut, overflow="ellipsis" if column.cut else "fold"
        )
    for record in records:
        table.add_row(*(column.cell(record) for column in columns))
    whole = sum(column.width + _GAP for column in columns)
    fits = on_terminal() and any(column.cut for column in columns)
    text = _rendered(table, min(whole, _room()) if fits else whole)
    write_text("".join(f"{line.rstrip()}\n" for line in text.splitlines()))
