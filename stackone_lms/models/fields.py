"""What the type hints of fields allow: the one place that takes hints apart."""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, Mapping
from functools import cache
from typing import Annotated, Any, Literal, Union

import msgspec
from msgspec import UnsetType


def kinds(hint: Any) -> tuple[Any, ...]:
    """Return the types of a hint: unions are opened, `Annotated` is taken off, `UnsetType` is left out."""
    origin = typing.get_origin(hint)
    if origin is Annotated:
        return kinds(typing.get_args(hint)[0])
    if origin in (Union, types.UnionType):
        return tuple(kind for member in typing.get_args(hint) for kind in kinds(member))
    return () if hint is UnsetType else (hint,)


def value_kinds(hint: Any) -> tuple[Any, ...]:
    """Return the types of a hint without that of None."""
    return tuple(kind for kind in kinds(hint) if kind is not types.NoneType)


def literals(hint: Any) -> tuple[Any, ...]:
    """Return the values of the `Literal` types in a hint."""
    return tuple(v for kind in kinds(hint) if typing.get_origin(kind) is Literal for v in typing.get_args(kind))


def record_kind(hint: Any) -> Any:
    """Return the first Struct in a hint, with its type arguments; None if there is none."""
    return next((kind for kind in kinds(hint) if is_record(kind)), None)


def item_hint(hint: Any) -> Any:
    """Return the hint of the items of the first list in a hint; None if there is none."""
    return next((typing.get_args(kind)[0] for kind in kinds(hint) if typing.get_origin(kind) is list), None)


def is_record(kind: Any) -> bool:
    """Tell whether a type is a Struct, generic or not."""
    struct = typing.get_origin(kind) or kind
    return isinstance(struct, type) and issubclass(struct, msgspec.Struct)


def replace_records(hint: Any, replace: Callable[[Any], Any]) -> Any:
    """Return a hint in which each Struct has been replaced."""
    origin = typing.get_origin(hint)
    if origin in (Union, types.UnionType):
        members = tuple(replace_records(member, replace) for member in typing.get_args(hint))
        return Union[members]  # noqa: UP007 (members vary)
    if origin is list:
        return types.GenericAlias(list, (replace_records(typing.get_args(hint)[0], replace),))
    return replace(hint) if is_record(hint) else hint


EXTRA = "extra"
"""The field of a body that holds keys beside the declared ones, rather than being one. (Models have a property of
that name.)"""


@cache
def by_name(kind: Any) -> Mapping[str, msgspec.structs.FieldInfo]:
    """Return the fields of a Struct by their names in JSON, without `extra`."""
    return {field.encode_name: field for field in msgspec.structs.fields(kind) if field.name != EXTRA}
