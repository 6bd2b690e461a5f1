"""Request bodies: what is given is checked before anything is sent, and what is not given is not sent."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from types import NoneType
from typing import Any, ClassVar, Literal, NamedTuple, Self, TypeAlias, TypeVar, cast, get_origin

import msgspec
from msgspec import UNSET, UnsetType

from ..errors import InvalidArgumentError, printable
from ..safe_json import MAX_DEPTH
from .base import DateTime, Model, PlainData, to_builtins, to_duration, to_wire
from .fields import EXTRA, by_name, item_hint, kinds, record_kind
from .values import UnifiedValue

T = TypeVar("T")
S = TypeVar("S", bound=msgspec.Struct)

Omittable: TypeAlias = T | UnsetType | None
"""A key that may be left out (`UNSET`, the default: it is not sent) or emptied (`None`: null is sent)."""


class Body(PlainData, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Base of what is sent. Constructing one checks no values; sending it does."""

    SCHEMA: ClassVar[str] = ""
    """Name of the schema in the API document, where the class is named otherwise."""
    READ: ClassVar[type[Model] | None] = None
    """The model in which such a record is read; None if there is none."""

    extra: Omittable[Mapping[str, Any]] = UNSET
    """Keys that the API's document does not have, to be sent beside the others; any JSON, and date-times."""

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return extra_last(super().__rich_repr__(), key=lambda pair: pair[0])

    @classmethod
    def of(cls, record: Model | Mapping[str, Any], /, **changes: Any) -> Self:
        """Make a body of a record that was read, to change it and write it back.

        Args:
            record: The record, or a mapping as its `to_dict()` gives. What cannot be written is left out.
            **changes: Keywords of the constructor, which take the place of what was read.

        Raises:
            InvalidArgumentError: Records of this kind are not read, or it is of another kind, or a key that is
                required is missing; the message names it.
            TypeError: There is no such keyword.
        """
        return _body_of(cls, record, changes, "$")


def extra_last(fields: Iterable[T], *, key: Callable[[T], str]) -> list[T]:
    """Return the fields of a body in the order of its class, but with `extra`, which is of its base, at the end."""
    return sorted(fields, key=lambda field: key(field) == EXTRA)


def prepare(body: Body | Model | Mapping[str, object], cls: type[Body]) -> bytes:
    """Check a request body and encode it.

    Args:
        body: A `cls`, the model that is read where it is written, or a mapping with the keys of either; keys that
            are only read are left out. In a mapping, whatever is an object in JSON may be a mapping too, and a
            date-time may be an RFC 3339 string with its zone.
        cls: What the operation takes.

    Returns:
        JSON, with date-times in UTC, durations in ISO 8601, and a bare enum string as `{"value": ...}`.

    Raises:
        InvalidArgumentError: The body cannot be sent; the message has the JSON path and what is allowed.
    """
    return msgspec.json.encode(_convert((_record_kind(cls),), body, "$"))


def prepare_batch(items: Iterable[Body | Model | Mapping[str, object]], cls: type[Body], *, first: int = 0) -> bytes:
    """Check the items of a batch, each as `prepare` does, and encode them as `{"items": [...]}`.

    Args:
        items: The items.
        cls: What each of them is.
        first: Number of the first one, for the path in messages.

    Raises:
        InvalidArgumentError: An item cannot be sent; the path in the message tells which.
    """
    kinds = (_record_kind(cls),)
    checked = [_convert(kinds, item, f"$.items[{n}]") for n, item in enumerate(items, first)]
    return msgspec.json.encode({"items": checked})


def prepare_any(body: object) -> bytes:
    """Check a request body of any form, models and date-times in it included, and encode it.

    Raises:
        InvalidArgumentError: The body cannot be sent; the message has the JSON path and what is allowed.
    """
    try:
        plain = to_builtins(body)
    except (TypeError, ValueError, NotImplementedError, OverflowError, RecursionError) as error:
        raise InvalidArgumentError(f"the body cannot be sent: {error}") from None
    return msgspec.json.encode(_free(plain, "$"))


def body_from(cls: type[S], value: Mapping[str, object]) -> S:
    """Make a body of a mapping with its keys, checked as `prepare` does.

    Raises:
        InvalidArgumentError: The body cannot be sent.
    """
    return cast("S", _typed(cls, _convert((_record_kind(cls),), value, "$")))


def _typed(hint: Any, value: Any) -> Any:
    """Return the JSON form of a value in the types of its hint."""
    record, item = record_kind(hint), item_hint(hint)
    if isinstance(value, dict) and record is not None:
        given, fields = cast("dict[str, Any]", value), by_name(record)
        extra = {name: inner for name, inner in given.items() if name not in fields}
        declared = {fields[name].name: _typed(fields[name].type, given[name]) for name in given if name in fields}
        return record(**declared, **({EXTRA: extra} if extra else {}))
    if isinstance(value, list) and item is not None:
        return [_typed(item, inner) for inner in cast("list[Any]", value)]
    if isinstance(value, str) and datetime in kinds(hint):
        return msgspec.convert(value, DateTime)
    return cast("Any", value)


class _Kind(NamedTuple):
    """One kind of value that a field takes."""

    expected: str
    convert: Callable[[Any, str], Any]
    """Gives a value's JSON form, or `_OTHER` if it is of another kind."""


class _Field(NamedTuple):
    attribute: str
    hint: Any
    default: Any
    required: bool
    kinds: tuple[_Kind, ...]


_OTHER = object()

_NUMBER = r"\d+(?:[.,]\d+(?=[YMWDHS]\Z))?"  # a fraction is for the last unit only (ISO 8601)
_DURATION = re.compile(
    rf"P(?=[\dT])(?:{_NUMBER}Y)?(?:{_NUMBER}M)?(?:{_NUMBER}W)?(?:{_NUMBER}D)?"
    rf"(?:T(?=\d)(?:{_NUMBER}H)?(?:{_NUMBER}M)?(?:{_NUMBER}S)?)?",
    re.ASCII,
)


def _refused(path: str, why: str) -> InvalidArgumentError:
    return InvalidArgumentError(f"the body cannot be sent: {printable(path)}: {why}")


def _at(path: str, key: str) -> str:
    return f"{path}.{key}" if key.isidentifier() else f"{path}[{key!r}]"


def _convert(kinds: tuple[_Kind, ...], value: object, path: str) -> Any:
    for kind in kinds:
        converted = kind.convert(value, path)
        if converted is not _OTHER:
            return converted
    raise _refused(path, f"expected {' or '.join(kind.expected for kind in kinds)}, not {type(value).__name__}")


def _none(value: object, path: str) -> Any:
    return None if value is None else _OTHER


def _flag(value: object, path: str) -> Any:
    return value if isinstance(value, bool) else _OTHER


def _read_flag(value: object, path: str) -> Any:
    if isinstance(value, str) and value in {"true", "false"}:
        return value == "true"
    return _flag(value, path)


def _read_number(value: object, path: str) -> Any:
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            raise _refused(path, "must be a number, or one in a string") from None
    return _number(value, path)


def _text(value: object, path: str) -> Any:
    if not isinstance(value, str):
        return _OTHER
    text = str.__str__(value)  # of a subclass, such as a str enum, the plain string
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise _refused(path, "has half a surrogate pair, which UTF-8 cannot encode") from None
    return text


def _number(value: object, path: str) -> Any:
    if isinstance(value, bool):
        return _OTHER
    if isinstance(value, int):
        if value.bit_length() > 1024:
            raise _refused(path, "is larger than any number that JSON readers take")
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise _refused(path, "must be a finite number: JSON has neither NaN nor infinity")
        return float(value)
    return _OTHER


def _moment(value: object, path: str) -> Any:
    if isinstance(value, str):
        try:
            value = msgspec.convert(_text(value, path), DateTime)
        except msgspec.ValidationError:
            raise _refused(path, "must be a date-time with its zone, such as 2024-01-31T09:00:00Z") from None
    if not isinstance(value, datetime):
        return _OTHER
    try:
        return to_wire(value)
    except ValueError as error:
        raise _refused(path, str(error)) from None


def _duration(value: object, path: str) -> Any:
    if isinstance(value, timedelta):
        try:
            return to_duration(value)
        except ValueError as error:
            raise _refused(path, str(error)) from None
    if isinstance(value, str) and _DURATION.fullmatch(value) is None:
        raise _refused(path, "must be an ISO 8601 duration, such as PT1H30M45S, or a timedelta")
    return _text(value, path)


def _unified(cls: type[UnifiedValue[Any]], value: object, path: str) -> Any:
    if not isinstance(value, str):
        return _record(cls, value, path)
    known = _known(cls)
    if value not in known:
        shown = known if len(known) <= 12 else _nearest(value, known)
        more = "" if len(shown) == len(known) else f" or another of {len(known)}"
        raise _refused(
            path,
            f"'{printable(value, 40)}' is not one of {', '.join(shown)}{more}. "
            f"To write a value of the provider, use {cls.__name__}(source_value=...)",
        )
    return {"value": _text(value, path)}


def _nearest(value: str, known: tuple[str, ...]) -> list[str]:
    import difflib  # noqa: PLC0415 (slow to import, and for a message only)

    return difflib.get_close_matches(value[:40], known, 10, 0)


@functools.cache
def _known(cls: type[UnifiedValue[Any]]) -> tuple[str, ...]:
    return cls.known()


def _list(kinds: tuple[_Kind, ...], value: object, path: str) -> Any:
    if not isinstance(value, list | tuple):
        return _OTHER
    items = cast("list[object]", value)
    return [_convert(kinds, item, f"{path}[{n}]") for n, item in enumerate(items)]


def _object(value: object, path: str) -> Any:
    return _free(cast("object", value), path) if isinstance(value, Mapping) else _OTHER


def _free(value: object, path: str, depth: int = 0) -> Any:
    """Convert what the API takes as it is: any JSON, and date-times in it."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _text(value, path)
    if isinstance(value, int | float):
        return _number(value, path)
    if isinstance(value, datetime):
        return _moment(value, path)
    if depth == MAX_DEPTH:
        raise _refused(path, f"nests deeper than {MAX_DEPTH} levels, or contains itself")
    if isinstance(value, Mapping):
        mapping = cast("Mapping[object, object]", value)
        return {(name := _key(key, path)): _free(item, _at(path, name), depth + 1) for key, item in mapping.items()}
    if isinstance(value, list | tuple):
        items = cast("list[object]", value)
        return [_free(item, f"{path}[{n}]", depth + 1) for n, item in enumerate(items)]
    raise _refused(path, f"{type(value).__name__} has no JSON form; give plain values or a datetime")


def _key(key: object, path: str) -> str:
    if not isinstance(key, str):
        raise _refused(path, f"keys must be strings, not {type(key).__name__}")
    return cast("str", _text(key, path))


def _record(cls: type[msgspec.Struct], value: object, path: str) -> Any:
    fields, read, takes_extra = _fields(cls), _read_model(cls), issubclass(cls, Body)
    extra: object = UNSET
    if read is not None and isinstance(value, read) and not isinstance(value, cls):
        value = _body_of(cls, value, {}, path)
    if isinstance(value, cls):
        extra = getattr(value, EXTRA) if takes_extra else UNSET
        # What is left at its default was not given: UNSET in a body, None in a record of the read side.
        attributes = ((name, getattr(value, f.attribute), f.default) for name, f in fields.items())
        given = {name: item for name, item, default in attributes if item is not default}
    elif isinstance(value, Mapping):
        mapping = cast("Mapping[object, object]", value)
        only_read = by_name(read).keys() - fields.keys() if read else ()
        keys = {_key(name, path): item for name, item in mapping.items()}
        extra = keys.pop(EXTRA, UNSET) if takes_extra else UNSET
        given = {name: item for name, item in keys.items() if item is not UNSET and name not in only_read}
    else:
        return _OTHER
    for name in given:
        if name not in fields:
            hint = f"; keys that the API's document lacks go into {EXTRA}={{...}}" if takes_extra else ""
            raise _refused(_at(path, name), f"is no key of {cls.__name__}, which has {', '.join(sorted(fields))}{hint}")
    for name, field in fields.items():
        if field.required and name not in given:
            raise _refused(f"{path}.{name}", "is required")
    record = {name: _convert(fields[name].kinds, item, f"{path}.{name}") for name, item in given.items()}
    for name, item in record.items():
        if fields[name].required and isinstance(item, str) and not item.strip():
            raise _refused(f"{path}.{name}", "is required and must not be empty")
    return record if extra is UNSET or extra is None else record | _undeclared(cls, extra, f"{path}.{EXTRA}")


def _undeclared(cls: type[msgspec.Struct], extra: object, path: str) -> dict[str, Any]:
    if not isinstance(extra, Mapping):
        raise _refused(path, f"must be a mapping of keys that {cls.__name__} lacks, not {type(extra).__name__}")
    keys = _free(cast("object", extra), path)
    for name in keys:
        if name in _fields(cls):
            raise _refused(_at(path, name), f"is a key of {cls.__name__}: give it outside of {EXTRA}")
    return cast("dict[str, Any]", keys)


def _body_of(cls: type[S], record: object, changes: Mapping[str, Any], path: str) -> S:
    fields, read = _fields(cls), _read_model(cls)
    if read is None:
        raise InvalidArgumentError(f"{cls.__name__} has no model that is read; give its keywords")
    given: dict[str, object]
    if isinstance(record, read):
        given = {name: getattr(record, f.name) for name, f in by_name(read).items()}
        given = {name: value for name, value in given.items() if value is not None}
    elif isinstance(record, Mapping):
        given = {_key(name, path): value for name, value in cast("Mapping[object, object]", record).items()}
        changes = {EXTRA: given.pop(EXTRA), **changes} if EXTRA in given else changes
    else:
        raise _refused(path, f"expected {read.__name__} or a mapping, not {type(record).__name__}")
    for name in given.keys() - fields.keys() - by_name(read).keys():
        raise _refused(_at(path, name), f"is no key of {cls.__name__} or {read.__name__}")
    values = {f.attribute: _as_written(f, given[name], _at(path, name)) for name, f in fields.items() if name in given}
    values |= changes
    for name, field in fields.items():
        if field.required and field.attribute not in values:
            raise _refused(f"{path}.{name}", "is required")
    return cls(**values)


def _as_written(field: _Field, value: object, path: str) -> object:
    """Return the value of a field that was read as its write model has it: the records in it, flags and numbers."""
    inner = record_kind(field.hint) or record_kind(item_hint(field.hint))
    read = inner and _read_model(inner)
    if read and isinstance(value, read):
        return _body_of(inner, value, {}, path)
    if read and isinstance(value, list):
        items = enumerate(cast("list[object]", value))
        return [_body_of(inner, v, {}, f"{path}[{n}]") if isinstance(v, read) else v for n, v in items]
    if isinstance(value, str) and not {bool, float}.isdisjoint(kinds(field.hint)):
        return _convert(field.kinds, value, path)
    return value


def _read_model(cls: type[msgspec.Struct]) -> type[Model] | None:
    return getattr(cls, "READ", None)


@functools.cache
def _fields(cls: type[msgspec.Struct]) -> Mapping[str, _Field]:
    """Return the fields of a class by their names in JSON."""
    read = _read_model(cls)
    hints = {name: f.type for name, f in by_name(read).items()} if read else {}
    return {
        name: _Field(f.name, f.type, f.default, f.required, _kinds(f.type, hints.get(name)))
        for name, f in by_name(cls).items()
    }


def _kinds(hint: Any, read: Any = None) -> tuple[_Kind, ...]:
    """Return what a field takes; what it is `read` as matters where flags and numbers are read as strings."""
    types = kinds(hint)
    if any(map(_is_string, kinds(read))):
        types = tuple(_AS_READ.get(kind, kind) for kind in types)
    # Durations and unified values read the strings beside them in the hint.
    if any(kind is timedelta or _is_unified(kind) for kind in types):
        types = tuple(kind for kind in types if not _is_string(kind))
    return tuple(dict.fromkeys(map(_kind, types)))


def _is_string(hint: Any) -> bool:
    return hint is str or get_origin(hint) is Literal


def _is_unified(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, UnifiedValue)


def _kind(hint: Any) -> _Kind:
    if _is_string(hint):
        return _TEXT
    origin = get_origin(hint) or hint
    if origin in _KINDS:
        return _KINDS[origin]
    if origin is list:
        return _Kind("a list", functools.partial(_list, _kinds(item_hint(hint))))
    if _is_unified(hint):
        return _Kind(f"{hint.__name__} or one of its values", functools.partial(_unified, hint))
    return _record_kind(hint)


def _record_kind(cls: type[msgspec.Struct]) -> _Kind:
    read = _read_model(cls)
    taken = f"{cls.__name__}, {read.__name__}" if read else cls.__name__
    return _Kind(f"{taken} or a mapping", functools.partial(_record, cls))


_TEXT = _Kind("a string", _text)
_AS_READ: Mapping[Any, Any] = {bool: "flag", float: "number"}
_KINDS: Mapping[Any, _Kind] = {
    "flag": _Kind("true or false", _read_flag),
    "number": _Kind("a number", _read_number),
    NoneType: _Kind("None", _none),
    bool: _Kind("true or false", _flag),
    float: _Kind("a number", _number),
    datetime: _Kind("a datetime with a time zone", _moment),
    timedelta: _Kind("a timedelta or an ISO 8601 duration", _duration),
    dict: _Kind("a mapping", _object),
    Any: _Kind("any JSON", _free),
}
