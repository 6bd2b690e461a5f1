"""`keep_unknown`: records that keep what their model does not declare, and are written back with it.

The body is decoded twice: to the models, and to plain values. What a model has no field for is kept on the record,
as are its fields that were null, to tell them from missing ones when it is written. Plain records have no room for
that, so there is a subclass of each model that has, made when first needed. What is left over is worked out when
somebody looks at it, or at a record inside.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Generic, TypeVar, cast

import msgspec
from msgspec import UNSET, UnsetType

from ..safe_json import decode_any
from .base import Model, keep, left_over, rebuild, settle
from .fields import by_name, is_record, item_hint, record_kind, replace_records

R = TypeVar("R")


@cache
def with_room(kind: Any) -> Any:
    """Return a type like `kind` whose records, at every level, can keep what was left over."""
    namespace = {"_model": kind, "__reduce__": _reduce, "__copy__": _copy, "__eq__": _equal, "__hash__": _hash}
    made = _derived(kind, with_room, namespace, dict=True, gc=True)
    for f in msgspec.structs.fields(kind) if is_record(kind) else ():
        if record_kind(f.type) or record_kind(item_hint(f.type)):
            setattr(made, f.name, property(_settled(getattr(made, f.name).__get__)))
    return made


def _settled(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def get(self: Any) -> Any:
        settle(self)
        return read(self)

    return get


@cache
def closed(kind: Any) -> Any:
    """Return a type like `kind` that refuses undeclared fields, at every level.

    A field that was not sent is UNSET to encoders and to `msgspec.structs`; its attribute reads as None.
    """
    made = _derived(kind, closed, {"_model": kind}, forbid_unknown_fields=True)
    for f in msgspec.structs.fields(kind) if is_record(kind) else ():
        if f.default is None:
            setattr(made, f.name, property(_none_if_unset(getattr(made, f.name).__get__)))
    return made


def _none_if_unset(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def get(self: Any) -> Any:
        value = read(self)
        return None if value is UNSET else value

    return get


def _derived(hint: Any, derive: Callable[[Any], Any], namespace: dict[str, Any], **config: Any) -> Any:
    if not is_record(hint):
        return replace_records(hint, derive)
    struct = cast("type[Model]", getattr(hint, "__origin__", hint))
    fields: list[tuple[str, Any, Any]] = []
    for f in msgspec.structs.fields(hint):
        kind, default = replace_records(f.type, derive), f.default
        if derive is closed and default is None:
            kind, default = kind | UnsetType, UNSET
        fields.append((f.name, kind, msgspec.field(name=f.encode_name, default=default)))
    namespace = {**namespace, "__doc__": struct.__doc__}
    return msgspec.defstruct(
        struct.__name__, fields, bases=(struct,), module=struct.__module__, namespace=namespace, kw_only=True, **config
    )


@cache
def splitter(kind: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Return a function that takes undeclared fields out of the plain values of a record, and returns them.

    Those of a record inside stand under its name; records in lists are left as they are.
    """
    declared = by_name(kind).keys()
    inner = [(name, splitter(of)) for name, f in by_name(kind).items() if (of := record_kind(f.type)) is not None]

    def split(sent: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, split_inner in inner:
            value = sent.get(name)
            if isinstance(value, dict) and (left := split_inner(cast("dict[str, Any]", value))):
                found[name] = left
        if not sent.keys() <= declared:
            for name in [name for name in sent if name not in declared]:
                found[name] = sent.pop(name)
        return found

    return split


def has_room(cls: type) -> bool:
    """Tell whether records of a class can keep what was left over."""
    return issubclass(cls, Model) and "_model" in cls.__dict__ and not cls.__struct_config__.forbid_unknown_fields


def model_of(cls: type[Model]) -> type[Model]:
    """Return the model that a record's class stands for."""
    return cast("type[Model]", getattr(cls, "_model", cls))


def _equal(self: Any, other: Any) -> Any:
    return msgspec.Struct.__eq__(self, other) if left_over(self) == left_over(other) else False


def _hash(self: Any) -> int:
    return msgspec.Struct.__hash__(self)


def _reduce(self: Any) -> tuple[Any, ...]:
    settle(self)
    values = {name: getattr(self, name) for name in self.__struct_fields__}
    return _rebuild, (self._model, values, dict(self.__dict__))


def _copy(self: Any) -> Any:
    return _rebuild(*_reduce(self)[1])


def _rebuild(kind: Any, values: dict[str, Any], attributes: Mapping[str, Any]) -> Any:
    return rebuild(with_room(kind), values, attributes)


class KeepUnknown(Generic[R]):
    """Decodes and converts to records that keep what their models do not declare.

    Args:
        kind: A model, or a list of one.
    """

    def __init__(self, kind: type[R]) -> None:
        hint: Any = kind
        self._kind = with_room(hint)
        self._decode: Callable[[bytes], R] = msgspec.json.Decoder(self._kind).decode

    def __call__(self, body: bytes) -> R:
        """Decode `body`, or raise what msgspec raises."""
        found = self._decode(body)
        keep(found, decode_any(body))
        return found

    def convert(self, value: Any, sent: Any) -> R:
        """Convert plain values of JSON, and keep what is left over of what was `sent`; raises what msgspec raises."""
        return cast("R", _convert(value, self._kind, sent))


def convert_with_room(value: Any, kind: Any, sent: Any) -> Any:
    """Convert plain values of JSON to records of `kind` that keep what is left over of what was `sent`."""
    return _convert(value, with_room(kind), sent)


def _convert(value: Any, kind: Any, sent: Any) -> Any:
    found = msgspec.convert(value, kind)
    keep(found, sent)
    return found
