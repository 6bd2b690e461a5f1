"""Row groups of a Parquet file, taken over into another one byte by byte: pyarrow can only decode and encode them anew.

The end of a Parquet file is a struct of Thrift's compact protocol
(https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md); its fields have numbers
(https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final, TypeAlias

from ..state.storage import AtomicFile, wrap_os_errors

Struct: TypeAlias = dict[int, tuple[int, Any]]
"""By the number of a field: the code of its type, and its value."""

MAGIC: Final = b"PAR1"
_TAIL: Final = 8
"""Bytes after the footer: its size, and the magic ones."""
_COPIED: Final = 1024 * 1024

# FileMetaData
_NUM_ROWS, _ROW_GROUPS = 3, 4
# RowGroup; ColumnChunk
_COLUMNS, _GROUP_ROWS, _GROUP_OFFSET, _ORDINAL = 1, 3, 5, 7
_CHUNK_OFFSET, _COLUMN = 2, 3
_INDEXES: Final = (4, 5, 6, 7)
"""Where the page indexes of a column chunk are, which need not be."""
# ColumnMetaData
_COMPRESSED_SIZE, _DATA_PAGE = 7, 9
_PAGES: Final = (_DATA_PAGE, 10, 11)
"""Where the pages with data, with an index, and with a dictionary begin."""
_BLOOM_FILTERS: Final = (14, 15)

_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _STRUCT = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12
_LONG: Final = 15
"""In place of the size of a list: that follows."""


class _Decoder:
    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def struct(self) -> Struct:
        found: Struct = {}
        number, data = 0, self._data
        while head := data[self._at]:
            self._at += 1
            step, kind = head >> 4, head & 15
            number = number + step if step else self._signed()
            found[number] = kind, self._value(kind)
        self._at += 1
        return found

    def _value(self, kind: int) -> Any:
        if _I16 <= kind <= _I64:
            return self._signed()
        if kind == _BINARY:
            return self._bytes(self._unsigned())
        if kind == _STRUCT:
            return self.struct()
        if kind in (_LIST, _SET):
            head = self._byte()
            size, of = head >> 4, head & 15
            size = self._unsigned() if size == _LONG else size
            return of, [self._byte() if of in (_TRUE, _FALSE) else self._value(of) for _ in range(size)]
        if kind in (_TRUE, _FALSE):
            return None  # the code of the type says it
        if kind in (_BYTE, _DOUBLE):
            return self._bytes(1 if kind == _BYTE else 8)
        raise ValueError(f"a value of type {kind}")

    def _byte(self) -> int:
        self._at += 1
        return self._data[self._at - 1]

    def _bytes(self, count: int) -> bytes:
        self._at += count
        return self._data[self._at - count : self._at]

    def _unsigned(self) -> int:
        data = self._data
        byte = data[self._at]
        self._at += 1
        number, shift = byte & 127, 7
        while byte > 127:
            byte = data[self._at]
            self._at += 1
            number |= (byte & 127) << shift
            shift += 7
        return number

    def _signed(self) -> int:
        number = self._unsigned()
        return (number >> 1) ^ -(number & 1)


class _Encoder:
    def __init__(self) -> None:
        self.data = bytearray()

    def struct(self, fields: Struct) -> None:
        last, append = 0, self.data.append
        for number, (kind, value) in fields.items():
            if 0 < number - last < 16:
                append((number - last) << 4 | kind)
            else:
                append(kind)
                self._signed(number)
            self._value(kind, value)
            last = number
        append(0)

    def _value(self, kind: int, value: Any) -> None:
        if _I16 <= kind <= _I64:
            self._signed(value)
        elif kind == _STRUCT:
            self.struct(value)
        elif kind == _BINARY:
            self._unsigned(len(value))
            self.data += value
        elif kind in (_LIST, _SET):
            of, items = value
            self.data.append(min(len(items), _LONG) << 4 | of)
            if len(items) >= _LONG:
                self._unsigned(len(items))
            for item in items:
                self.data.append(item) if of in (_TRUE, _FALSE) else self._value(of, item)
        elif kind in (_BYTE, _DOUBLE):
            self.data += value

    def _unsigned(self, number: int) -> None:
        while number > 127:
            self.data.append(number & 127 | 128)
            number >>= 7
        self.data.append(number)

    def _signed(self, number: int) -> None:
        self._unsigned(2 * number if number >= 0 else -2 * number - 1)


def decode(footer: bytes) -> Struct:
    """Read a footer."""
    return _Decoder(footer).struct()


def encode(footer: Struct) -> bytes:
    """Write a footer."""
    encoder = _Encoder()
    encoder.struct(footer)
    return bytes(encoder.data)


def read_footer(path: Path) -> Struct:
    """Return the footer of a file."""
    with wrap_os_errors("reading what was exported"), path.open("rb") as file:
        file.seek(-_TAIL, 2)
        size = int.from_bytes(file.read(4), "little")
        file.seek(-_TAIL - size, 2)
        return decode(file.read(size))


def _columns(group: Struct) -> list[tuple[Struct, Struct]]:
    """Return each column chunk of a row group, and what it says about itself."""
    return [(chunk, chunk[_COLUMN][1]) for chunk in group[_COLUMNS][1][1]]


def extent(group: Struct) -> tuple[int, int]:
    """Return where the bytes of a row group begin and end."""
    found: list[tuple[int, int]] = []
    for _, column in _columns(group):
        start = min(column[field][1] for field in _PAGES if field in column and column[field][1] > 0)
        found.append((start, start + column[_COMPRESSED_SIZE][1]))
    return min(start for start, _ in found), max(end for _, end in found)


def _move(group: Struct, by: int, ordinal: int) -> None:
    """Let a row group say that it is elsewhere; what it says about indexes beside it is dropped."""

    def shift(fields: Struct, number: int) -> None:
        if number in fields and fields[number][1] > 0:
            kind, offset = fields[number]
            fields[number] = kind, offset + by

    for chunk, column in _columns(group):
        shift(chunk, _CHUNK_OFFSET)
        for number in _PAGES:
            shift(column, number)
        for fields, dropped in ((chunk, _INDEXES), (column, _BLOOM_FILTERS)):
            for number in dropped:
                fields.pop(number, None)
    shift(group, _GROUP_OFFSET)
    if _ORDINAL in group:
        group[_ORDINAL] = group[_ORDINAL][0], ordinal


class SplicedFile:
    """A file for a writer of Parquet, with row groups of another file before those that the writer makes.

    Args:
        draft: Where all of it goes. The writer has to have the schema of the other file.
    """

    closed = False

    def __init__(self, draft: AtomicFile) -> None:
        self._draft = draft
        self._taken: list[Struct] = []
        self._bytes = 0
        self._footer: bytearray | None = None

    def write(self, data: bytes) -> int:
        """Take what the writer writes."""
        if self._footer is None:
            return self._draft.write(data)
        self._footer += data
        return len(data)

    def flush(self) -> None:
        """Do nothing: nothing is buffered here."""

    def close(self) -> None:
        """Do nothing: `write_footer` ends it."""

    def take_over(self, path: Path, which: Iterable[int], check_cancelled: Callable[[], None]) -> None:
        """Copy row groups of a file, before the writer has made the first of its own."""
        groups = read_footer(path)[_ROW_GROUPS][1][1]
        with wrap_os_errors("reading what was exported"), path.open("rb") as file:
            for number in which:
                start, end = extent(groups[number])
                _move(groups[number], len(MAGIC) + self._bytes - start, len(self._taken))
                self._taken.append(groups[number])
                self._bytes += end - start
                file.seek(start)
                while start < end:
                    check_cancelled()
                    data = file.read(min(_COPIED, end - start))
                    if not data:
                        raise OSError("the file ends early")
                    self._draft.write(data)
                    start += len(data)

    def hold_footer(self) -> None:
        """Keep what comes from now on: the writer has written all row groups."""
        self._footer = bytearray()

    def write_footer(self) -> None:
        """Write the footer, of all row groups, when the writer is closed."""
        rest = bytes(self._footer or b"")
        size = int.from_bytes(rest[-_TAIL:-4], "little")
        self._draft.write(rest[: -_TAIL - size])
        footer = decode(rest[-_TAIL - size : -_TAIL])
        kind, (of, made) = footer[_ROW_GROUPS]
        for ordinal, group in enumerate(made, len(self._taken)):
            _move(group, self._bytes, ordinal)  # a writer counts its own bytes
        groups = [*self._taken, *made]
        footer[_ROW_GROUPS] = kind, (of if made else _STRUCT, groups)
        footer[_NUM_ROWS] = footer[_NUM_ROWS][0], sum(group[_GROUP_ROWS][1] for group in groups)
        text = encode(footer)
        self._draft.write(text + len(text).to_bytes(4, "little") + MAGIC)
