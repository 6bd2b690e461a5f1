"""CSV: every text in quotes, so that an empty one and a missing one differ."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from ...errors import ExportError
from ...models.base import to_wire
from ..records.columns import Kind, as_json
from ..records.keys import (
    OF_USER,
    Keys,
    pair,
    unknown_keys,
)
from ..records.lines import chunks
from ..state.storage import AtomicFile, wrap_os_errors
from .base import (
    CheckCancelled,
    Format,
    Inputs,
    RowFilter,
    Table,
    column_batches,
)

_TOGETHER: Final = 1024


def _quote(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


_CELL: Mapping[Kind, Callable[[Any], str]] = {
    "string": _quote,
    "text": _quote,
    "json": _quote,
    "strings": lambda values: _quote(as_json(values)),
    "bool": lambda value: "true" if value else "false",
    "float": repr,
    "timestamp": to_wire,
}


class Csv(Format):
    """Comma-separated values in UTF-8 with a line of names, lines ending in a line feed.

    Text stands in quotes, also JSON; what is missing is empty. Date-times are in the API's own form, in UTC.
    """

    name, suffix = "csv", ".csv"
    indexes_keys = True

    def keys(self, path: Path, table: Table) -> Iterator[Keys]:
        """Yield the keys of the records of a file."""
        names = {column.name for column in table.columns}
        if "id" not in names:
            yield unknown_keys(self.count(path))
            return
        for cells in self.columns(path, table, [name for name in ("id", "updated_at", OF_USER) if name in names]):
            ids, users = cells["id"], cells.get(OF_USER)
            nothing = [None] * len(ids)
            paired = ids if users is None else [pair(*both) for both in zip(ids, users, strict=True)]
            yield Keys(paired, cells.get("updated_at", nothing))

    def write(self, draft: AtomicFile, table: Table, inputs: Inputs, check_cancelled: CheckCancelled) -> None:
        """Make a file."""
        row_filter = RowFilter(inputs.superseded)
        head = _head(table)
        draft.write(head)
        if inputs.base is not None:
            _check_head(inputs.base, head)
            for lines in _records(inputs.base):
                check_cancelled()
                which = row_filter.pick(len(lines))
                draft.write(b"".join(lines if which is None else [lines[n] for n in which]))
        kinds = {column.name: _CELL[column.kind] for column in table.columns}
        for columns in column_batches(table, inputs, row_filter, check_cancelled):
            cells = [[write(v) if v is not None else "" for v in columns[name]] for name, write in kinds.items()]
            draft.write("".join(f"{','.join(row)}\n" for row in zip(*cells, strict=True)).encode())

    def count(self, path: Path) -> int:
        """Return how many records a file holds."""
        return sum(map(len, _records(path)))

    def columns(self, path: Path, table: Table, names: Sequence[str]) -> Iterator[Mapping[str, Sequence[Any]]]:
        """Yield the values of some columns of a file, some records at a time."""
        places = {column.name: place for place, column in enumerate(table.columns)}
        kinds: dict[str, Kind] = {column.name: column.kind for column in table.columns}
        _check_head(path, _head(table))
        for lines in _records(path):
            rows = [_cells(line.decode()) for line in lines]
            yield {name: _parse([row[places[name]] for row in rows], _PARSE.get(kinds[name])) for name in names}


_cells: Final = re.compile(r'("[^"]*(?:""[^"]*)*"|[^,"\n]*)[,\n]').findall
"""Splits a record that was written here. The module `csv` takes 128 KB a cell, and an empty text for a missing one."""


def _parse(cells: list[str], parse: Callable[[str], Any] | None) -> list[Any]:
    texts = [cell[1:-1].replace('""', '"') if cell.startswith('"') else cell or None for cell in cells]
    return texts if parse is None else [None if text is None else parse(text) for text in texts]


def _head(table: Table) -> bytes:
    return ",".join(column.name for column in table.columns).encode() + b"\n"


def _check_head(path: Path, head: bytes) -> None:
    with wrap_os_errors("reading what was exported"), path.open("rb") as file:
        if file.readline() != head:
            raise ExportError("the files there were made by another version: run a full export once")


_PARSE: Mapping[Kind, Callable[[str], Any]] = {
    "timestamp": datetime.fromisoformat,
    "float": float,
    "bool": "true".__eq__,
    "strings": msgspec.json.Decoder(list[str]).decode,
}


def _records(path: Path) -> Iterator[list[bytes]]:
    """Yield the records of a file as they stand there, without the head; a record ends where its quotes are even."""
    records: list[bytes] = []
    lines: list[bytes] = []
    head, is_open = True, False
    for chunk in chunks(path):
        for line in chunk.splitlines(keepends=True):
            lines.append(line)
            is_open ^= line.count(b'"') % 2 == 1
            if is_open or not line.endswith(b"\n"):
                continue
            whole, lines = b"".join(lines), []
            if head:
                head = False
                continue
            records.append(whole)
            if len(records) >= _TOGETHER:
                yield records
                records = []
    if records:
        yield records
