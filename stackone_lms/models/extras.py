"""`keep_unknown`: models that keep what their Struct does not declare, and encode back with it.

msgspec drops undeclared fields. So each model gets a twin, a subclass that refuses undeclared fields; when one turns
up, its name is learned and the twin is made anew with a field for it. From then on such bodies decode at full speed,
`.extra` shows the learned fields, and any msgspec encoder writes them back. A twin also tells null from missing
when it encodes, and reads both as None.

Names that msgspec cannot write, those with quotes, backslashes or control characters, stay out of `.extra`; the
answer's `.json()` has them.
"""

from __future__ import annotations

import re
import threading
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar, Union, cast

import msgspec
from msgspec import UNSET, UnsetType

from ..errors import DecodeError
from ..safe_json import parse
from .base import Model, beside, restore

R = TypeVar("R")

MOST = 256
"""Undeclared names remembered for one model; a body with more is decoded by twins of its own."""

_WRITABLE = re.compile(r'[^"\\\x00-\x1f]*')


class _Registry:
    """The twins of all models, and the names that they have learned."""

    def __init__(self) -> None:
        self.names: dict[Any, dict[str, str]] = {}
        self.twins: dict[Any, Any] = {}
        self.version = 0

    def learn(self, value: Any, kind: Any) -> bool:
        """Note the undeclared names in `value`; tell whether there were new ones."""
        news = False
        if isinstance(value, dict):
            struct = _struct(kind)
            if struct is None:
                return False
            known = self.names.setdefault(struct, {})
            hints = _hints(struct)
            for name, item in cast("dict[str, Any]", value).items():
                if name in hints:
                    news |= self.learn(item, hints[name])
                elif name not in known and _WRITABLE.fullmatch(name):
                    known[name] = f"extra_{len(known)}"
                    news = True
        elif isinstance(value, list):
            inner = _list_item(kind)
            if inner is not None:
                for item in value:  # pyright: ignore[reportUnknownVariableType]
                    news |= self.learn(item, inner)
        return news

    def forget_twins(self) -> None:
        self.twins.clear()
        self.version += 1

    def twin(self, kind: Any) -> Any:
        """Return the type `kind` with every model in it replaced by its twin."""
        origin = typing.get_origin(kind)
        if origin in (Union, types.UnionType):
            return Union[tuple(self.twin(member) for member in typing.get_args(kind))]  # noqa: UP007 (members vary)
        if origin is list:
            return types.GenericAlias(list, (self.twin(typing.get_args(kind)[0]),))
        struct: Any = origin or kind
        if isinstance(struct, type) and issubclass(struct, Model):
            if kind not in self.twins:
                self.twins[kind] = self._make(kind, struct)
            return self.twins[kind]
        return kind

    def _make(self, kind: Any, struct: type[Model]) -> type[Model]:
        fields: list[Any] = []
        optional: list[str] = []
        rename: dict[str, str] = {}
        for f in msgspec.structs.fields(kind):
            rename[f.name] = f.encode_name
            if f.required:
                fields.append((f.name, self.twin(f.type)))
            elif f.default is not None:
                fields.append((f.name, f.type, f.default))
            else:
                optional.append(f.name)
                fields.append((f.name, self.twin(f.type) | UnsetType, UNSET))
        learned = self.names.get(kind, {})
        for name, attribute in learned.items():
            rename[attribute] = name
            fields.append((attribute, Any, UNSET))
        twin = msgspec.defstruct(
            struct.__name__,
            fields,
            bases=(struct,),
            module=struct.__module__,
            namespace={
                "extra": _extra(dict(learned)),
                "__reduce__": _reduce,
                "__eq__": _equal,
                "__hash__": _hash,
                "__doc__": struct.__doc__,
                "_declared": kind,
            },
            rename=rename,
            forbid_unknown_fields=True,
            kw_only=True,
        )
        for name in optional:
            setattr(twin, name, property(_none_if_unset(getattr(struct, name).__get__)))
        return cast("type[Model]", twin)


def _none_if_unset(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def get(self: Any) -> Any:
        value = read(self)
        return None if value is UNSET else value

    return get


def _extra(learned: Mapping[str, str]) -> property:
    def extra(self: Any) -> dict[str, Any]:
        found = {name: getattr(self, attribute) for name, attribute in learned.items()}
        return {name: value for name, value in found.items() if value is not UNSET}

    return property(extra, doc="The fields that were sent and are not declared.")


def _canonical(twin: Any) -> bytes:
    return msgspec.json.encode(twin, order="sorted")


def _equal(self: Any, other: Any) -> Any:
    # Twins of one model are of different types when names were learned in between.
    if getattr(other, "_declared", None) != self._declared:
        return NotImplemented
    return _canonical(self) == _canonical(other)


def _hash(self: Any) -> int:
    return hash(_canonical(self))


def _reduce(self: Any) -> tuple[Any, ...]:
    return _restore, (self._declared, msgspec.json.encode(self), beside(self))


def _restore(kind: Any, body: bytes, attributes: Mapping[str, Any]) -> Any:
    return restore(KeepUnknown(kind)(body), attributes)


def _struct(kind: Any) -> Any:
    for member in typing.get_args(kind) if typing.get_origin(kind) in (Union, types.UnionType) else (kind,):
        found = typing.get_origin(member) or member
        if isinstance(found, type) and issubclass(found, Model):
            return member
    return None


def _list_item(kind: Any) -> Any:
    for member in typing.get_args(kind) if typing.get_origin(kind) in (Union, types.UnionType) else (kind,):
        if typing.get_origin(member) is list:
            return typing.get_args(member)[0]
    return None


def _hints(struct: Any) -> dict[str, Any]:
    return {f.encode_name: f.type for f in msgspec.structs.fields(struct)}


def _writable(value: Any, kind: Any) -> Any:
    """Return `value` without the undeclared fields whose names cannot be written."""
    if isinstance(value, dict):
        struct = _struct(kind)
        if struct is not None:
            hints = _hints(struct)
            return {
                name: _writable(item, hints[name]) if name in hints else item
                for name, item in cast("dict[str, Any]", value).items()
                if name in hints or _WRITABLE.fullmatch(name)
            }
    elif isinstance(value, list):
        inner = _list_item(kind)
        if inner is not None:
            return [_writable(item, inner) for item in cast("list[Any]", value)]
    return cast("Any", value)


_shared = _Registry()
_lock = threading.Lock()


class KeepUnknown(Generic[R]):
    """Decodes and converts to the twins of `answer`."""

    def __init__(self, answer: type[R]) -> None:
        self._answer = answer
        self._version = -1
        self._decode: Callable[[bytes], R]

    def __call__(self, body: bytes) -> R:
        """Decode `body`, or raise what msgspec raises."""
        if self._version != _shared.version:
            self._refresh()
        try:
            return self._decode(body)
        except msgspec.ValidationError:
            try:
                registry = _taught(parse(body), self._answer)
            except DecodeError:
                registry = None
            if registry is None:
                raise
        if registry is not _shared:
            return cast("R", msgspec.json.decode(body, type=registry.twin(self._answer)))
        self._refresh()
        return self._decode(body)

    def convert(self, value: Any) -> R:
        """Convert plain values of JSON, or raise what msgspec raises."""
        value = _writable(value, self._answer)
        registry = _taught(value, self._answer) or _shared
        with _lock:
            twin = registry.twin(self._answer)
        return cast("R", msgspec.convert(value, twin))

    def _refresh(self) -> None:
        with _lock:
            self._decode = msgspec.json.Decoder(_shared.twin(self._answer)).decode
            self._version = _shared.version  # last: other threads look at it without the lock


def _taught(value: Any, kind: Any) -> _Registry | None:
    """Return the registry that has learned the names in `value`; None if there was nothing to learn."""
    fresh = _Registry()
    if not fresh.learn(value, kind):
        return None
    with _lock:
        new = any(names.keys() - _shared.names.get(struct, {}).keys() for struct, names in fresh.names.items())
        if not new:
            return _shared
        if any(len(names.keys() | _shared.names.get(s, {}).keys()) > MOST for s, names in fresh.names.items()):
            return fresh
        _shared.learn(value, kind)
        _shared.forget_twins()
        return _shared
