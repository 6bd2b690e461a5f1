"""From the spool to records: strictly where that works, else mended, else as much of a record as fits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

import msgspec

from ...errors import DecodeError
from ...models.base import Model, is_blank
from ...models.decode import coerce
from ...models.extras import KeepUnknown, closed, splitter
from ...safe_json import FAILURES, check_depth, decode_any, has_halves, parse
from ..state.storage import wrap_os_errors
from .columns import Rows, record_of

M = TypeVar("M", bound=Model)

_FAILURES = (*FAILURES, OverflowError)  # a whole number too large for a float, from msgspec.convert

CHUNK = 512 * 1024
"""Bytes of the spool that are worked on at once: little enough that their records do not grow old for the collector."""


def chunks(path: Path) -> Iterator[bytes]:
    """Yield a file of lines in pieces of whole lines."""
    with wrap_os_errors("reading what was exported"), path.open("rb") as file:
        rest = b""
        while piece := file.read(CHUNK):
            cut = piece.rfind(b"\n") + 1
            if cut:
                yield rest + piece[:cut]
                rest = piece[cut:]
            else:
                rest += piece
        if rest:
            yield rest + b"\n"


def array_of(lines: bytes) -> bytes:
    """Make a JSON array of lines that are JSON values."""
    return b"[" + lines[:-1].replace(b"\n", b",") + b"]"


class Reader(Generic[M]):
    """Decodes lines as records of a model, with the fields that it does not declare. It never fails.

    Args:
        model: What the lines are.
    """

    def __init__(self, model: type[M]) -> None:
        self._model = model
        self._kind = closed(list[model])  # type: ignore[valid-type]
        self._split = splitter(model)
        self._closed: Callable[[bytes], list[M]] = msgspec.json.Decoder(self._kind).decode
        self._many: KeepUnknown[list[M]] = KeepUnknown(list[model])  # type: ignore[valid-type]
        self._one: KeepUnknown[M] = KeepUnknown(model)

    def read(self, lines: Sequence[bytes]) -> Rows:
        """Return the records of some lines, in their order."""
        found = self._together(b"[" + b",".join(lines) + b"]")
        return self._one_by_one(lines) if found is None else found

    def read_text(self, text: bytes) -> Rows:
        """Return the records of a text of lines, in their order."""
        found = self._together(array_of(text))
        return self._one_by_one(text.split(b"\n")[:-1]) if found is None else found

    def _together(self, body: bytes) -> Rows | None:
        try:
            check_depth(body)
            return self._decode(body)
        except (DecodeError, *_FAILURES):
            return None

    def _decode(self, body: bytes) -> Rows:
        with suppress(msgspec.ValidationError):
            return Rows(self._closed(body), {}, {})  # the fastest way, where every field is declared
        with suppress(msgspec.ValidationError):
            values: list[Any] = decode_any(body)
            records = (cast("dict[str, Any]", value) if isinstance(value, dict) else {} for value in values)
            extras = {row: found for row, record in enumerate(records) if (found := self._split(record))}
            return Rows(msgspec.convert(values, self._kind), extras, {})
        return Rows(self._many(body), {}, {})  # names that are not declared in lists of records

    def _one_by_one(self, lines: Sequence[bytes]) -> Rows:
        rows, values = Rows([], {}, {}), list[M | None]()
        for line in lines:
            value = self._patiently(line, len(values), rows)
            values.append(value)
        return rows._replace(values=values)

    def _patiently(self, line: bytes, row: int, rows: Rows) -> M | None:
        try:
            check_depth(line)
            return self._one(line)
        except (DecodeError, *_FAILURES):
            pass
        try:
            sent = _parse(line)
            fields, rest = _split(sent, coerce(sent, self._model), self._model)
            record = self._one.convert(fields, fields)
        except (DecodeError, *_FAILURES):
            rows.whole[row] = line.decode("utf-8", "replace")
            return None
        if rest:
            rows.extras[row] = rest
        return record


def _split(sent: Any, read: Any, model: type[Model]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the fields of a record that fit, and those that do not or are not declared; records within likewise.

    Args:
        sent: The record as it was sent.
        read: The same with odd values coerced.
        model: What it should be.
    """
    if not isinstance(sent, dict):
        raise DecodeError("no record")
    declared = {f.encode_name: f.type for f in msgspec.structs.fields(model)}
    fits: dict[str, Any] = {}
    rest: dict[str, Any] = {}
    for name, item in cast("dict[str, Any]", sent).items():
        kind, value = declared.get(name), read[name]
        within = record_of(kind) if isinstance(item, dict) and isinstance(value, dict) else None
        if within is not None:
            fits[name], left = _split(item, value, within)
            if left:
                rest[name] = left
        elif kind is not None and _fits(value, kind) and (value is not None or is_blank(item)):
            fits[name] = value
        else:
            rest[name] = item
    return fits, rest


def _fits(value: Any, kind: Any) -> bool:
    if _unreadable(value):
        return False
    try:
        msgspec.convert(value, kind)
    except _FAILURES:
        return False
    return True


def _parse(line: bytes) -> Any:
    """Return a JSON text as plain values; what cannot be a value, such as `1e400`, is left in it as its text."""
    value: Any = _in_parts(line)
    if isinstance(value, dict) and "\ufffd" in str(cast("dict[str, Any]", value).get("id")) and has_halves(line):
        # Two ids that differ in what was replaced would be one: it counts as none.
        value["id"] = msgspec.Raw(msgspec.json.encode(value["id"]))
    return cast("Any", value)


_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_array = msgspec.json.Decoder(list[msgspec.Raw]).decode


def _in_parts(text: bytes) -> Any:
    try:
        return parse(text)
    except DecodeError:
        pass
    if text.startswith(b"{"):
        return {name: _in_parts(bytes(part)) for name, part in _object(text).items()}
    if text.startswith(b"["):
        return [_in_parts(bytes(part)) for part in _array(text)]
    return _text(text)


def _text(text: bytes) -> msgspec.Raw:
    return msgspec.Raw(text.decode("utf-8", "replace").encode())


def _unreadable(value: Any) -> bool:
    """Tell whether a value holds what could not be read."""
    if isinstance(value, dict):
        return any(map(_unreadable, cast("dict[str, Any]", value).values()))
    if isinstance(value, list):
        return any(map(_unreadable, cast("list[Any]", value)))
    return isinstance(value, msgspec.Raw)
