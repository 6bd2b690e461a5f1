"""Records as columns: which ones a model has, and their values out of many records at once.

The models say it all: a date-time becomes a timestamp, an enum two columns (`result_value`, `result_source_value`),
a nested record one column a field (`score_percentage`), a list or a free object JSON. Whatever was sent and has no
column, or does not fit its own, stands in `extra`.
"""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, Literal, NamedTuple, TypeAlias, Union, cast

import msgspec
from msgspec import UNSET, UnsetType

from ...models.base import Model

Kind: TypeAlias = Literal["string", "bool", "float", "timestamp", "strings", "text", "json"]
"""What a column holds. `strings` is a list of strings; `text` a string as it is, or any other value as JSON."""

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
        _Field(f.name, f.encode_name, Column(prefix + f.name, _kind(f.type)), _record(f.type))
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


def _options(kind: Any) -> list[Any]:
    if typing.get_origin(kind) is typing.Annotated:
        return _options(typing.get_args(kind)[0])
    if typing.get_origin(kind) in (Union, types.UnionType):
        return [o for member in typing.get_args(kind) for o in _options(member)]
    return [] if kind in (types.NoneType, msgspec.UnsetType) else [kind]


def _record(kind: Any) -> type[Model] | None:
    for option in _options(kind):
        if isinstance(option, type) and issubclass(option, Model):
            return option
    return None


_KINDS: dict[Any, Kind] = {datetime: "timestamp", bool: "bool", float: "float", int: "float", str: "string"}


def _kind(kind: Any) -> Kind:
    options = _options(kind)
    if typing.Any in options:
        return "text"
    for known, name in _KINDS.items():
        if known in options:
            return name
    return "strings" if list[str] in options else "json"


_encode = msgspec.json.Encoder().encode


def as_json(value: Any) -> str:
    """Return a value as JSON text."""
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
    """Records, or twins of them with undeclared fields; None for a row of which nothing fits."""
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
    names, values = _transpose(rows, len(fields))
    for field, column in zip(fields, values, strict=False):
        if field.of is not None:
            _spread(field.of, column, f"{prefix}{field.attribute}_", out, extras, (*path, field.sent_as))
        else:
            out[field.column.name] = _read(field, column, extras, path)
    for name, column in zip(names, values[len(fields) :], strict=True):
        for row, value in enumerate(column):
            if value is not UNSET:
                _place(extras, row, path, name, value)


def _transpose(rows: Sequence[Any], declared: int) -> tuple[list[str], list[Sequence[Any]]]:
    """Return the names of undeclared fields, and the values by field: the declared ones, then those."""
    kinds: dict[Any, None] = dict.fromkeys(map(type, rows))
    missing = [kinds.pop(kind, kinds) is None for kind in (types.NoneType, UnsetType)]
    names = list(dict.fromkeys(name for kind in kinds for name in kind.__struct_encode_fields__[declared:]))
    width = declared + len(names)
    blank = (UNSET,) * width
    if len(kinds) > 1:
        tuples = [_aligned(row, declared, names) if row is not None and row is not UNSET else blank for row in rows]
    elif any(missing):
        tuples = [_astuple(row) if row is not None and row is not UNSET else blank for row in rows]
    else:
        tuples = [*map(_astuple, rows)]
    return names, list(zip(*tuples, strict=True)) or [()] * width


_astuple = msgspec.structs.astuple


def _aligned(row: Model, declared: int, names: Iterable[str]) -> tuple[Any, ...]:
    values = _astuple(row)
    own = dict(zip(row.__struct_encode_fields__[declared:], values[declared:], strict=True))
    return *values[:declared], *(own.get(name, UNSET) for name in names)


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
