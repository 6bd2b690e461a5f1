"""The models as fields of pydantic models, and so in FastAPI. Imported only when pydantic asks."""

from __future__ import annotations

import typing
from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import partial
from types import NoneType
from typing import Any, Literal, cast

import msgspec

from ..errors import InvalidArgumentError
from .base import to_builtins
from .bodies import Body, body_from
from .decode import coerce
from .fields import EXTRA, by_name, is_record, item_hint, kinds


def core_schema(kind: Any) -> Any:
    """Return what pydantic validates and writes a model or a body with."""
    from pydantic_core import core_schema as make  # noqa: PLC0415 (pydantic is there, or nobody would ask)

    return make.no_info_plain_validator_function(
        partial(_validate, kind),
        serialization=make.plain_serializer_function_ser_schema(to_builtins),
        metadata={"stackone_lms": kind},
    )


def _validate(kind: Any, given: object) -> Any:
    cls: Any = typing.get_origin(kind) or kind
    if isinstance(given, cls):
        return given
    if not isinstance(given, Mapping):
        raise ValueError(f"expected {cls.__name__} or a mapping, not {type(given).__name__}")
    value = dict(cast("Mapping[str, Any]", given))
    try:
        if issubclass(cls, Body):
            return body_from(cls, value)
        return msgspec.convert(coerce(value, kind), kind)
    except (msgspec.ValidationError, InvalidArgumentError) as error:
        raise ValueError(str(error)) from None


def json_schema(hint: Any) -> dict[str, Any]:
    """Return the JSON schema of what a hint allows."""
    options = [_schema(kind) for kind in kinds(hint)]
    return options[0] if len(options) == 1 else {"anyOf": options}


def _schema(kind: Any) -> dict[str, Any]:
    if is_record(kind):
        return _record_schema(kind)
    origin = typing.get_origin(kind)
    if origin is Literal:
        return {"enum": list(typing.get_args(kind))}
    if origin is list:
        return {"type": "array", "items": json_schema(item_hint(kind))}
    return dict(_SCHEMAS.get(origin or kind, {}))


_SCHEMAS: Mapping[Any, dict[str, Any]] = {
    NoneType: {"type": "null"},
    bool: {"type": "boolean"},
    int: {"type": "number"},
    float: {"type": "number"},
    str: {"type": "string"},
    datetime: {"type": "string", "format": "date-time"},
    timedelta: {"type": "string", "format": "duration"},
    dict: {"type": "object"},
}


def _record_schema(kind: Any) -> dict[str, Any]:
    fields = by_name(kind)
    is_body = isinstance(kind, type) and issubclass(kind, Body)
    extra: dict[str, Any] = {EXTRA: {"type": "object"}} if is_body else {}
    schema: dict[str, Any] = {
        "title": (typing.get_origin(kind) or kind).__name__,
        "type": "object",
        "properties": {name: json_schema(field.type) for name, field in fields.items()} | extra,
    }
    required = [name for name, field in fields.items() if field.required]
    return {**schema, "required": required} if required else schema
