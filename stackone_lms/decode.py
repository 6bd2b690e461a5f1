"""From bytes to typed answers: strict and fast first, then lenient, then item by item.

The strict decoder takes what the API document describes. Where a body deviates in a way that providers are known
to (a date without a time zone, a number as a string, a numeric id), the lenient pass mends it by type. What still
does not fit is a DecodeError: of the whole answer for a single record, of the one item for a page.
"""

from __future__ import annotations

import math
import re
import types
import typing
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Generic, Literal, TypeVar, Union, cast

import msgspec

from .errors import DecodeError
from .guard import FAILURES, check_depth, failure, parse
from .models.base import Page, record_errors
from .unknown import KeepUnknown

R = TypeVar("R")


class Decoder(Generic[R]):
    """Decodes the answers of one operation.

    Args:
        answer: The type of the answer: a Struct, or `Page[Item]`.
    """

    def __init__(self, answer: type[R]) -> None:
        self.answer = answer
        self._strict: Callable[[bytes], R] = msgspec.json.Decoder(answer).decode
        self._is_page = typing.get_origin(answer) is Page
        self._open: KeepUnknown[R] | None = None

    def __call__(self, body: bytes, *, keep_unknown: bool = False) -> R:
        """Decode `body`.

        Args:
            body: JSON, perhaps with white space around it.
            keep_unknown: Keep fields that the types do not declare, in `.extra`.

        Raises:
            DecodeError: It does not decode, not even leniently. `path` tells where.
        """
        check_depth(body)
        try:
            return self._keeper()(body) if keep_unknown else self._strict(body)
        except FAILURES as error:
            first = failure(error, body)
            syntactic = not isinstance(error, msgspec.ValidationError)
        if syntactic:
            raise first
        # A ValidationError is about types, not about syntax (or not yet): look again, patiently.
        return self._patiently(body, parse(body), keep_unknown=keep_unknown)

    def _keeper(self) -> KeepUnknown[R]:
        if self._open is None:
            self._open = KeepUnknown(self.answer)
        return self._open

    def _patiently(self, body: bytes, value: Any, *, keep_unknown: bool) -> R:
        if not self._is_page or not isinstance(value, dict):
            return cast("R", _convert(value, self.answer, body, keep_unknown=keep_unknown))
        fields = cast("dict[str, Any]", value)
        items = fields.get("data")
        if items is None and "data" in fields:
            items = []
        if not isinstance(items, list):
            return cast("R", _convert(fields, self.answer, body, keep_unknown=keep_unknown))
        item_type = typing.get_args(self.answer)[0]
        good: list[Any] = []
        errors: list[DecodeError] = []
        for index, item in enumerate(items):  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
            try:
                good.append(_convert(item, item_type, b"", keep_unknown=keep_unknown))
            except DecodeError as error:
                where = f"$.data[{index}]{error.path[1:]}"
                text = msgspec.json.encode(item)
                errors.append(DecodeError(error.message, path=where, body=text))
        envelope = _convert({**fields, "data": []}, self.answer, body, keep_unknown=keep_unknown)
        cast("Page[Any]", envelope).data.extend(good)
        record_errors(cast("Page[Any]", envelope), errors)
        return cast("R", envelope)


def _convert(value: Any, kind: Any, body: bytes, *, keep_unknown: bool) -> Any:
    try:
        mended = mend(value, kind)
        if keep_unknown:
            return KeepUnknown(kind).convert(mended)
        return msgspec.convert(mended, kind)
    except FAILURES as error:
        raise failure(error, body) from None


def mend(value: Any, kind: Any) -> Any:
    """Return JSON `value` with the deviations that providers are known for mended towards type `kind`."""
    return _mender(kind)(value)


@lru_cache(maxsize=1024)
def _mender(kind: Any) -> Callable[[Any], Any]:
    options = _options(kind)
    if len(options) > 1:
        return _mend_union([_mender(option) for option in options], options)
    (kind,) = options
    origin = typing.get_origin(kind)
    struct: Any = origin or kind
    if isinstance(struct, type) and issubclass(struct, msgspec.Struct):
        return _mend_struct(kind)
    if origin is list:
        of = _mender(typing.get_args(kind)[0])
        return lambda value: [of(item) for item in cast("list[Any]", value)] if isinstance(value, list) else value
    return _SCALARS.get(kind, _as_is)


def _options(kind: Any) -> list[Any]:
    if typing.get_origin(kind) is typing.Annotated:
        return _options(typing.get_args(kind)[0])
    if typing.get_origin(kind) in (Union, types.UnionType):
        return [o for member in typing.get_args(kind) for o in _options(member) if o is not types.NoneType]
    return [kind]


def _mend_union(menders: list[Callable[[Any], Any]], options: list[Any]) -> Callable[[Any], Any]:
    plain = tuple(o for o in options if isinstance(o, type) and o in (str, bool, float, int))
    closed = [v for o in options if typing.get_origin(o) is Literal for v in typing.get_args(o)]

    def mend_union(value: Any) -> Any:
        if value is None or type(value) in plain or (isinstance(value, str) and value in closed):
            return value
        for mender in menders:
            mended = mender(value)
            if mended is not value:
                return mended
        return value

    return mend_union


def _mend_struct(kind: Any) -> Callable[[Any], Any]:
    fields: dict[str, Callable[[Any], Any]] | None = None

    def mend_struct(value: Any) -> Any:
        nonlocal fields
        if not isinstance(value, dict):
            return value
        if fields is None:
            fields = {f.encode_name: _mender(f.type) for f in msgspec.structs.fields(kind)}
        known = fields
        return {k: known[k](v) if k in known else v for k, v in cast("dict[str, Any]", value).items()}

    return mend_struct


def _as_is(value: Any) -> Any:
    return value


def _datetime(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        moment = datetime.fromisoformat(value.strip())
    except ValueError:
        return value
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


_NUMBER = re.compile(r"\s*-?[0-9]{1,30}(\.[0-9]{1,30})?\s*", re.ASCII)


def _float(value: Any) -> Any:
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        return float(value)
    return value


def _str(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return value
    return str(value)


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


_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)


def unfinished(body: bytes) -> bool:
    """Tell whether `body` looks like JSON that was cut off: more brackets or quotes open than close."""
    rest = _STRING.sub(b"", body)
    opened = rest.count(b"{") + rest.count(b"[")
    return opened > rest.count(b"}") + rest.count(b"]") or (opened > 0 and b'"' in rest)
