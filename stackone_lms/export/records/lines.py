"""From the spool to records: strictly where that works, else mended, else as much of a record as fits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

import msgspec

from ...errors import DecodeError
from ...models.base import Model
from ...models.decode import coerce
from ...models.extras import KeepUnknown, closed
from ...safe_json import FAILURES, check_depth, has_halves, parse
from ..state.storage import wrap_os_errors
from .columns import Rows

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
        self._closed: Callable[[bytes], list[M]] = msgspec.json.Decoder(closed(list[model])).decode  # type: ignore[valid-type]
        self._many: KeepUnknown[list[M]] = KeepUnknown(list[model])  # type: ignore[valid-type]
        self._one: KeepUnknown[M] = KeepUnknown(model)
        self._fields = {f.encode_name: f for f in msgspec.structs.fields(model)}

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
            return Rows(self._decode(body), {}, {})
        except (DecodeError, *_FAILURES):
            return None

    def _decode(self, body: bytes) -> Sequence[M]:
        try:
            return self._closed(body)  # the faster way, where every field is declared
        except msgspec.ValidationError:
            return self._many(body)

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
            return self._what_fits(_parse(line), row, rows)
        except (DecodeError, *_FAILURES):
            rows.whole[row] = line.decode("utf-8", "replace")
            return None

    def _what_fits(self, value: Any, row: int, rows: Rows) -> M:
        if not isinstance(value, dict):
            raise DecodeError("no record")
        sent, stray = cast("dict[str, Any]", value), dict[str, Any]()
        fields = coerce(sent, self._model)
        try:
            record = self._one.convert(fields, sent)
        except _FAILURES:
            for name in fields.keys() & self._fields.keys():
                if not self._fits(fields[name], self._fields[name].type):
                    del fields[name]
                    stray[name] = sent.pop(name)
            record = self._one.convert(fields, sent)
        if stray:
            rows.extras[row] = stray
        return record

    @staticmethod
    def _fits(value: Any, kind: Any) -> bool:
        try:
            msgspec.convert(value, kind)
        except _FAILURES:
            return False
        return True


def _parse(line: bytes) -> Any:
    value: Any = parse(line)
    if isinstance(value, dict) and "\ufffd" in str(cast("dict[str, Any]", value).get("id")) and has_halves(line):
        raise DecodeError("two ids that differ in what was replaced would be one")
    return cast("Any", value)
