"""From bytes to typed answers: strict and fast first, then lenient, then item by item.

The strict decoder takes what the API document describes. Where a body deviates in a way that providers are known
to (a date without a time zone, a number as a string, a numeric id), the lenient pass converts it by type. What still
does not fit is a DecodeError: of the whole answer for a single record, of the one item for a page.
"""

from __future__ import annotations

import math
import re
import typing
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Generic, TypeVar, cast

import msgspec

from ..errors import DecodeError
from ..safe_json import (
    FAILURES,
    MAX_DEPTH,
    brackets,
    check_depth,
    failure,
    has_halves,
    parse,
    repair,
    roomy,
)
from .base import Answer, Page, is_blank, note_replaced, record_errors
from .extras import KeepUnknown, convert_with_room
from .fields import by_name, is_record, item_hint, literals, value_kinds

R = TypeVar("R")


class Decoder(Generic[R]):
    """Decodes the answers of one operation.

    Args:
        answer: The type of the answer: a Struct, or `Page[Item]`.
    """

    def __init__(self, answer: type[R]) -> None:
        self.answer = answer
        self._strict: Callable[[bytes], R] = msgspec.json.Decoder(answer).decode
        self._item = Decoder[Any](typing.get_args(answer)[0]) if typing.get_origin(answer) is Page else None
        self._open: KeepUnknown[R] | None = None

    def __call__(self, body: bytes, *, keep_unknown: bool = False) -> R:
        """Decode `body`.

        Args:
            body: JSON, perhaps with white space around it.
            keep_unknown: Keep fields that the types do not declare, in `.extra`. What is kept must fit into a
                value: `1e999`, more than 4,300 digits and bad UTF-8, which are skipped otherwise, are refused.

        Raises:
            DecodeError: It does not decode, not even leniently. `path` tells where.
        """
        if not getattr(roomy, "known", False):
            check_depth(body)
        try:
            return self._keeper()(body) if keep_unknown else self._strict(body)
        except FAILURES as error:
            repaired = repair(body)
            if repaired is not body:
                return self._repaired(repaired, keep_unknown=keep_unknown, halves=has_halves(body))
            first = failure(error, body)
            # A ValidationError is about types, not about syntax (or not yet): look again, patiently.
            patience = isinstance(error, msgspec.ValidationError)
            of_an_item = patience or isinstance(error, UnicodeDecodeError)
        if self._item is not None and of_an_item:
            return self._item_by_item(body, self._item, keep_unknown=keep_unknown)
        if not patience:
            raise first
        try:
            value = parse(body)
        except DecodeError as error:
            # Only numbers out of range are a matter of types here, and the types know the better path.
            second = error if error.path == "$" else first
        else:
            return self._whole(value, body, keep_unknown=keep_unknown)
        raise second

    def _repaired(self, body: bytes, *, keep_unknown: bool, halves: bool) -> R:
        answer = self(body, keep_unknown=keep_unknown)
        if halves and isinstance(answer, Answer):
            note_replaced(answer)
        return answer

    def _keeper(self) -> KeepUnknown[R]:
        if self._open is None:
            self._open = KeepUnknown(self.answer)
        return self._open

    def _whole(self, value: Any, body: bytes, *, keep_unknown: bool) -> R:
        if is_error(value):
            raise DecodeError("an error came where an answer was expected", body=body)
        return cast("R", _convert(value, self.answer, body, keep_unknown=keep_unknown))

    def _item_by_item(self, body: bytes, decode_item: Decoder[Any], *, keep_unknown: bool) -> R:
        try:
            texts = _texts(body)
            items: list[msgspec.Raw] = _items(texts.pop("data")) or []
        except (KeyError, msgspec.ValidationError):
            return self._whole(parse(body), body, keep_unknown=keep_unknown)
        except FAILURES as error:
            raise failure(error, body) from None
        good: list[Any] = []
        errors: list[DecodeError] = []
        for index, item in enumerate(items):
            text = bytes(item)
            try:
                good.append(decode_item(text, keep_unknown=keep_unknown))
            except DecodeError as error:
                where = f"$.data[{index}]{error.path[1:]}"
                errors.append(DecodeError(error.message, path=where, body=text))
        around = {name: parse(text) for name, text in texts.items()}
        page = self._whole({**around, "data": []}, body, keep_unknown=keep_unknown)
        cast("Page[Any]", page).data.extend(good)
        record_errors(cast("Page[Any]", page), errors)
        return page


_texts = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_items = msgspec.json.Decoder(list[msgspec.Raw] | None).decode


def _convert(value: Any, kind: Any, body: bytes, *, keep_unknown: bool) -> Any:
    try:
        coerced = coerce(value, kind)
        kept = value if keep_unknown else _unread(value, coerced)
        return msgspec.convert(coerced, kind) if kept is None else convert_with_room(coerced, kind, kept)
    except FAILURES as error:
        raise failure(error, body) from None


def _unread(sent: object, coerced: object) -> Any:
    """Return what of `sent` became None when it was coerced, nested as it was sent; None if nothing did."""
    if coerced is sent:
        return None
    if isinstance(sent, dict) and isinstance(coerced, dict):
        fields, read = cast("dict[str, Any]", sent), cast("dict[str, Any]", coerced)
        return {name: found for name in fields if (found := _unread(fields[name], read[name])) is not None} or None
    if isinstance(sent, list) and isinstance(coerced, list):
        items = [*map(_unread, cast("list[Any]", sent), cast("list[Any]", coerced))]
        return items if any(items) else None
    return cast("Any", sent) if coerced is None and not is_blank(sent) else None


def coerce(value: Any, kind: Any) -> Any:
    """Return JSON `value` with the deviations that providers are known for converted towards type `kind`."""
    return _coercer(kind)(value)


@lru_cache(maxsize=1024)
def _coercer(hint: Any) -> Callable[[Any], Any]:
    kinds = value_kinds(hint)
    if len(kinds) != 1:
        return _coerce_union([_coercer(kind) for kind in kinds], kinds, literals(hint))
    kind = kinds[0]
    if is_record(kind):
        return _coerce_record(kind)
    if typing.get_origin(kind) is list:
        of = _coercer(item_hint(kind))
        return lambda value: [of(item) for item in cast("list[Any]", value)] if isinstance(value, list) else value
    return _SCALARS.get(kind, _as_is)


def _coerce_union(
    coercers: list[Callable[[Any], Any]], kinds: Sequence[Any], closed: Sequence[Any]
) -> Callable[[Any], Any]:
    plain = tuple(kind for kind in kinds if kind in (str, bool, float, int))

    def coerce_union(value: Any) -> Any:
        if value is None or type(value) in plain or (isinstance(value, str) and value in closed):
            return value
        for coercer in coercers:
            coerced = coercer(value)
            if coerced is not value:
                return coerced
        return value

    return coerce_union


def _coerce_record(kind: Any) -> Callable[[Any], Any]:
    fields: dict[str, Callable[[Any], Any]] | None = None

    def coerce_record(value: Any) -> Any:
        nonlocal fields
        if not isinstance(value, dict):
            return value
        if fields is None:
            fields = {name: _coercer(field.type) for name, field in by_name(kind).items()}
        known = fields
        return {k: known[k](v) if k in known else v for k, v in cast("dict[str, Any]", value).items()}

    return coerce_record


def _as_is(value: Any) -> Any:
    return value


_LOOSE = re.compile(
    r"(\d{4})-(\d{1,2})-(\d{1,2})(?:[T ](\d{1,2}):(\d{1,2})(?::(\d{1,2})(?:[.,](\d{1,9}))?)? ?(Z|[+-]\d\d:?\d\d)?)?",
    re.ASCII | re.IGNORECASE,
)
_EPOCH = re.compile(r"-?\d{9,13}(?:\.\d{1,9})?", re.ASCII)
_MOST_SECONDS, _MOST_MILLISECONDS = 10**11, 10**13
_START = datetime(1970, 1, 1, tzinfo=UTC)


def _datetime(value: Any) -> Any:
    """Read a date-time in whatever form; None if it is none."""
    try:
        if isinstance(value, str):
            return _from_text(value.strip())
        return _from_epoch(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
    except (ValueError, OverflowError):
        return None


def _from_text(text: str) -> datetime | None:
    if _EPOCH.fullmatch(text):
        return _from_epoch(float(text))
    with suppress(ValueError):
        moment = datetime.fromisoformat(text)
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    found = _LOOSE.fullmatch(text)
    if found is None:
        return None
    year, month, day, hour, minute, second, fraction, zone = found.groups(default="0")
    if int(hour) > 24 or int(minute) > 59 or int(second) > 60 or (int(hour) == 24 and int(minute) + int(second)):
        return None
    # 24:00 is the next day, and a leap second the next minute: as a duration after midnight both are.
    midnight = datetime.fromisoformat(f"{year}-{month:0>2}-{day:0>2}T00:00:00{'Z' if zone in '0Zz' else zone}")
    microseconds = int(f"{fraction:0<6}"[:6])
    return midnight + timedelta(hours=int(hour), minutes=int(minute), seconds=int(second), microseconds=microseconds)


def _from_epoch(number: float) -> datetime | None:
    """Read seconds since 1970, or milliseconds where seconds would be of a far future."""
    if abs(number) < _MOST_SECONDS:
        return _START + timedelta(seconds=number)
    return _START + timedelta(milliseconds=number) if abs(number) < _MOST_MILLISECONDS else None


_NUMBER = re.compile(r"\s*-?[0-9]{1,30}(\.[0-9]{1,30})?\s*", re.ASCII)


def _float(value: Any) -> Any:
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        return float(value)
    return value


def _str(value: Any) -> Any:
    if type(value) is int or (isinstance(value, float) and math.isfinite(value)):
        return str(value)
    return value


def _bool(value: Any) -> Any:
    return {"true": True, "false": False}.get(value.strip().lower(), value) if isinstance(value, str) else value


def _raw(value: Any) -> Any:
    return msgspec.Raw(msgspec.json.encode(value))


_SCALARS: dict[Any, Callable[[Any], Any]] = {
    datetime: _datetime,
    float: _float,
    str: _str,
    bool: _bool,
    msgspec.Raw: _raw,
}


def is_error(value: Any) -> bool:
    """Tell whether a JSON value is the API's error object."""
    if not isinstance(value, dict):
        return False
    fields = cast("dict[str, Any]", value)
    code = fields.get("statusCode")
    return isinstance(code, int) and code >= 400 and "message" in fields


def unfinished(body: bytes) -> bool:
    """Tell whether `body` looks like JSON that was cut off: brackets are left open, no more than an answer can have."""
    if body.lstrip()[:1] not in {b"{", b"["}:
        return False
    left = brackets(body)
    return 0 < left.count(b"[") - left.count(b"]") <= MAX_DEPTH
