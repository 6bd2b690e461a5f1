"""Records as columns: which ones a model has, and their values out of many records at once.

The models say it all: a date-time becomes a timestamp, an enum two columns (`result_value`, `result_source_value`),
a nested record one column a field (`score_percentage`), a list or a free object JSON. Whatever was sent and has no
column, or does not fit its own, stands in `extra`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from types import NoneType
from typing import Any, Literal, NamedTuple, TypeAlias, cast

import msgspec
from msgspec import UNSET, UnsetType

from ...models.base import Model, encode, settle
from ...models.extras import has_room
from ...models.fields import record_kind, value_kinds

Kind: TypeAlias = Literal["string", "bool", "float", "timestamp", "strings", "text", "json"]
"""What a column holds. `strings` is a list of strings; `text` a string as it is, or any other value as JSON."""

ACCOUNT = "account_id"
"""Name of the column of the linked account."""
EXTRA = "extra"
"""Name of the column of what has no column: a JSON object, or null."""

Extras: TypeAlias = dict[int, dict[str, Any]]
"""By row: what has no column, nested as it was sent."""


class Column(NamedTuple):
    """A column."""

    name: str
    kind: Kind


class _Field(NamedTuple):
    """A field of a model: a column of its own, or (`of`) a record whose fields are columns."""

    attribute: str
    sent_as: str
    column: Column
    of: type[Model] | None


@lru_cache(maxsize=64)
def _fields(model: type[Model], prefix: str = "") -> tuple[_Field, ...]:
    return tuple(
        _Field(f.name, f.encode_name, Column(prefix + f.name, _kind(f.type)), record_of(f.type))
        for f in msgspec.structs.fields(model)
    )


@lru_cache(maxsize=64)
def columns_of(model: type[Model], prefix: str = "") -> tuple[Column, ...]:
    """Return the columns of a model, without `extra`."""
    found: list[Column] = []
    for field in _fields(model, prefix):
        if field.of is None:
            found.append(field.column)
        else:
            found += columns_of(field.of, f"{prefix}{field.attribute}_")
    return tuple(found)


def row_columns(model: type[Model]) -> tuple[Column, ...]:
    """Return the columns of a row: the account, those of the model, `extra`."""
    return Column(ACCOUNT, "string"), *columns_of(model), Column(EXTRA, "text")


@lru_cache(maxsize=64)
def sent_fields(model: type[Model]) -> Mapping[str, str]:
    """Return for each column of a model the name under which the API sends the field that it is of."""
    return {
        column.name: field.sent_as
        for field in _fields(model)
        for column in ((field.column,) if field.of is None else columns_of(field.of, f"{field.attribute}_"))
    }


def record_of(hint: Any) -> type[Model] | None:
    """Return the model of a field that is a record."""
    return cast("type[Model] | None", record_kind(hint))


_KINDS: dict[Any, Kind] = {datetime: "timestamp", bool: "bool", float: "float", int: "float", str: "string"}


def _kind(hint: Any) -> Kind:
    kinds = value_kinds(hint)
    if Any in kinds:
        return "text"
    for known, name in _KINDS.items():
        if known in kinds:
            return name
    return "strings" if list[str] in kinds else "json"


_encode = msgspec.json.Encoder().encode


def as_json(value: Any) -> str:
    """Return a value as JSON text."""
    if isinstance(value, list) and value:
        cls = cast("type[Any]", type(cast("list[Any]", value)[0]))
        return (encode if has_room(cls) else _encode)(value).decode()
    return _encode(value).decode()


def _number(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError("no number")
    return number


_BOOLEANS: Mapping[Any, bool] = {True: True, False: False, "true": True, "false": False}

_READ: Mapping[Kind, Callable[[Any], Any]] = {
    "bool": _BOOLEANS.__getitem__,
    "float": _number,
    "text": as_json,
    "json": as_json,
}


class Rows(NamedTuple):
    """Some records, as far as they fit."""

    values: Sequence[Model | None]
    """Records, perhaps with `.extra`; None for a row of which nothing fits."""
    extras: Extras
    """By row: what is known to have no column."""
    whole: dict[int, str]
    """By row: the text of what is no record at all."""


def cleared(values: Sequence[Any]) -> list[Any]:
    """Return values with None in the place of UNSET."""
    return [None if value is UNSET else value for value in values]


def spread(model: type[Model], rows: Rows, *, unset: bool = False) -> dict[str, Any]:
    """Return the values of records of a model by column, `extra` included.

    With `unset`, fields that were not sent may be UNSET instead of None, which saves time.
    """
    out: dict[str, Any] = {}
    extras = {row: dict(extra) for row, extra in rows.extras.items()}
    _spread(model, rows.values, "", out, extras, ())
    if not unset:
        for name, kind in columns_of(model):
            if kind not in _READ:
                out[name] = cleared(out[name])
    texts: list[str | None] = [None] * len(rows.values)
    for row, extra in extras.items():
        texts[row] = as_json(extra)
    for row, text in rows.whole.items():
        texts[row] = text
    out[EXTRA] = texts
    return out


def _spread(
    model: type[Model],
    rows: Sequence[Any],
    prefix: str,
    out: dict[str, Any],
    extras: Extras,
    path: tuple[str, ...],
) -> None:
    fields = _fields(model, prefix)
    roomy = {*filter(has_room, set(map(type, rows)))}
    for record in rows if roomy else ():
        settle(record)
    for field, column in zip(fields, _transpose(rows, len(fields)), strict=True):
        if field.of is not None:
            _spread(field.of, column, f"{prefix}{field.attribute}_", out, extras, (*path, field.sent_as))
        else:
            out[field.column.name] = _read(field, column, extras, path)
    for row, record in enumerate(rows) if roomy else ():
        if type(record) in roomy:
            for name, value in record.extra.items():
                _place(extras, row, path, name, value)


def _transpose(rows: Sequence[Any], width: int) -> list[Sequence[Any]]:
    """Return the values by field."""
    if {NoneType, UnsetType}.isdisjoint(map(type, rows)):
        tuples = [*map(_astuple, rows)]
    else:
        blank = (UNSET,) * width
        tuples = [blank if row is None or row is UNSET else _astuple(row) for row in rows]
    return list(zip(*tuples, strict=True)) or [()] * width


_astuple = msgspec.structs.astuple


def _read(field: _Field, column: Sequence[Any], extras: Extras, path: tuple[str, ...]) -> Sequence[Any]:
    kind = field.column.kind
    read = _READ.get(kind)
    if read is None:
        return column
    try:
        if kind == "text":
            return [v if type(v) is str else None if v is UNSET or v is None else read(v) for v in column]
        return [None if value is UNSET or value is None else read(value) for value in column]
    except (ValueError, KeyError, OverflowError):
        return [_read_one(read, row, value, field, extras, path) for row, value in enumerate(column)]


def _read_one(
    read: Callable[[Any], Any], row: int, value: Any, field: _Field, extras: Extras, path: tuple[str, ...]
) -> Any:
    if value is UNSET or value is None:
        return None
    try:
        return read(value)
    except (ValueError, KeyError, OverflowError):
        _place(extras, row, path, field.sent_as, value)
        return None


def _place(extras: Extras, row: int, path: tuple[str, ...], name: str, value: Any) -> None:
    here = extras.setdefault(row, {})
    for step in path:
        inner = here.setdefault(step, {})
        if not isinstance(inner, dict):
            return
        here = cast("dict[str, Any]", inner)
    here[name] = value
