"""CSV: every text in quotes, so that an empty one and a missing one differ."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec

from ...models.base import to_wire
from ..records.columns import Kind, as_json
from ..records.history import History, Stamp
from ..records.keys import OF_USER, Keys, unknown_keys
from ..records.lines import chunks
from ..state.storage import AtomicFile, wrap_os_errors
from .base import (
    EXPORTED_AT,
    RUN,
    STAMPS,
    CheckCancelled,
    DamagedError,
    Format,
    Inputs,
    RowFilter,
    Table,
    column_batches,
    keyed,
    keys_of,
)

_TOGETHER: Final = 1024


def _quote(text: str) -> str:
    # Within quotes a quote is doubled, and nothing else is special: commas and line breaks stand as they are. So the
    # quotes of a whole record are even in number, which is how `_records` tells its end from a line break in a text.
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
        if not table.has_ids:
            yield unknown_keys(self.count(path))
            return
        names = [column.name for column in table.columns]
        file = _CsvFile(path, table)
        for lines in file.records():
            cells = [_cells(line.decode()) for line in lines]
            columns = file.columns(cells, [name for name in ("id", "updated_at", OF_USER) if name in names])
            yield keyed(columns, partial(file.columns, cells, names))

    def write(self, draft: AtomicFile, table: Table, inputs: Inputs, check_cancelled: CheckCancelled) -> None:
        """Make a file."""
        row_filter, history = RowFilter(inputs.superseded), inputs.history
        draft.write(_head(table))
        if inputs.base is not None:
            file = _CsvFile(inputs.base, table)
            for lines in file.records():
                check_cancelled()
                kept, dropped = row_filter.split(len(lines))
                draft.write(b"".join(lines if kept is None else [lines[n] for n in kept]))
                _hold(history, file, [lines[n] for n in dropped])
        kinds = {column.name: _CELL[column.kind] for column in table.columns if column not in STAMPS}
        for columns in column_batches(table, inputs, row_filter, check_cancelled):
            cells = [[write(v) if v is not None else "" for v in columns[name]] for name, write in kinds.items()]
            rows = [",".join(row) for row in zip(*cells, strict=True)]
            if history.empty:
                stamps = history.add(len(rows))
            else:
                stamps = history.compare(keys_of(columns, len(rows)).ids, map(hash, rows))
            ends = _ends(stamps)
            draft.write("".join(f"{row}{end}" for row, end in zip(rows, ends, strict=True)).encode())

    def hold(self, path: Path, table: Table, history: History, check_cancelled: CheckCancelled) -> None:
        """Note the records of a file, to compare others with them."""
        file = _CsvFile(path, table)
        for lines in file.records():
            check_cancelled()
            _hold(history, file, lines)

    def count(self, path: Path) -> int:
        """Return how many records a file holds."""
        return sum(map(len, _records(path)))

    def columns(self, path: Path, table: Table, names: Sequence[str]) -> Iterator[Mapping[str, Sequence[Any]]]:
        """Yield the values of some columns of a file, some records at a time."""
        file = _CsvFile(path, table)
        for lines in file.records():
            yield file.columns([_cells(line.decode()) for line in lines], names)


class _CsvFile:
    """A file that was written here, by this version or one with fewer columns; those that it lacks are null.

    Args:
        path: The file.
        table: What it holds.

    Raises:
        DamagedError: It has other columns.
    """

    def __init__(self, path: Path, table: Table) -> None:
        self._path = path
        self.names = [column.name for column in table.columns]
        self._kinds: dict[str, Kind] = {column.name: column.kind for column in table.columns}
        with wrap_os_errors("reading what was exported"), path.open("rb") as file:
            head = file.readline().decode("utf-8", "replace")
        self._places = {name: place for place, name in enumerate(head.rstrip("\n").split(","))}
        if not head.endswith("\n") or not self._places.keys() <= self._kinds.keys():
            raise DamagedError("a file of the export was made by another version of this package")
        self._as_it_is = [*self._places] == self.names

    def records(self) -> Iterator[list[bytes]]:
        """Yield the records, each as a line of all columns, some at a time."""
        for lines in _records(self._path):
            yield lines if self._as_it_is else [self._grown(line) for line in lines]

    def _grown(self, line: bytes) -> bytes:
        cells = _cells(line.decode())
        there = self._places
        return (",".join(cells[there[name]] if name in there else "" for name in self.names) + "\n").encode()

    def columns(self, rows: Sequence[Sequence[str]], names: Sequence[str]) -> Mapping[str, Sequence[Any]]:
        """Return the values of some columns of records in their cells."""
        places = {name: self.names.index(name) for name in names}
        return {name: _parse([row[places[name]] for row in rows], _PARSE.get(self._kinds[name])) for name in names}


def _hold(history: History, file: _CsvFile, lines: Sequence[bytes]) -> None:
    """Note records: the last two cells are the run that changed each, and neither holds a comma."""
    if not lines:
        return
    texts = [line.decode() for line in lines]
    columns = file.columns([_cells(text) for text in texts], [n for n in file.names if n in _NOTED])
    keys = keys_of(columns, len(texts)) if "id" in columns else unknown_keys(len(texts))
    stamps = map(Stamp, columns[EXPORTED_AT], columns[RUN])
    history.hold(keys.ids, [hash(text.rsplit(",", 2)[0]) for text in texts], stamps)


_NOTED: Final = {"id", OF_USER, EXPORTED_AT, RUN}


def _ends(stamps: Sequence[Stamp]) -> Iterator[str]:
    """Yield the ends of records: the cells of their runs."""
    known = dict.fromkeys(stamps, "")
    for stamp in known:
        moment = "" if stamp.exported_at is None else to_wire(stamp.exported_at)
        known[stamp] = f",{moment},{'' if stamp.run is None else _quote(stamp.run)}\n"
    return map(known.__getitem__, stamps)


_cells: Final = re.compile(r'("[^"]*(?:""[^"]*)*"|[^,"\n]*)[,\n]').findall
"""Splits a record that was written here: a cell in quotes, in which two of them stand for one, or one without.

The module `csv` takes 128 KB a cell, and an empty text for a missing one: `""` and nothing are the same to it.
"""


def _parse(cells: list[str], parse: Callable[[str], Any] | None) -> list[Any]:
    texts = [cell[1:-1].replace('""', '"') if cell.startswith('"') else cell or None for cell in cells]
    return texts if parse is None else [None if text is None else parse(text) for text in texts]


def _head(table: Table) -> bytes:
    return ",".join(column.name for column in table.columns).encode() + b"\n"


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
            # An odd number of quotes opens a text that goes on in the next line, or closes one.
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
