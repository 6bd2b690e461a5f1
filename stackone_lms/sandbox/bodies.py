"""What request bodies have to look like, and the check of it."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

from .problems import Problem
from .times import normalise

Check = Callable[[object, str], Iterator[str]]
"""Yields one line for each thing wrong with a value that was found at a place."""

_DURATION = re.compile(
    r"P(?=.)(\d+W|(\d+Y)?(\d+M)?(\d+D)?(T(?=\d)(\d+H)?(\d+M)?(\d+([.,]\d+)?S)?)?)",
    re.ASCII,
)
_LANGUAGE = re.compile(r"[a-z]{2,3}[_-][A-Z]{2}|unmapped_value")


def _kind(wanted: str, *types: type) -> Check:
    def check(value: object, at: str) -> Iterator[str]:
        if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
            yield f"{at} must be {wanted}"

    return check


_text = _kind("a string", str)
_number = _kind("a number", int, float)
_boolean = _kind("a boolean value", bool)
_object = _kind("an object", dict)


def _anything(value: object, at: str) -> Iterator[str]:
    yield from ()


def _flag(value: object, at: str) -> Iterator[str]:
    if not isinstance(value, bool) and value not in ("true", "false"):
        yield f"{at} must be a boolean value"


def _moment(value: object, at: str) -> Iterator[str]:
    if not isinstance(value, str) or normalise(value) is None:
        yield f"{at} must be a valid ISO 8601 date string"


def _duration(value: object, at: str) -> Iterator[str]:
    if not isinstance(value, str) or not _DURATION.fullmatch(value):
        yield f"{at} must be a valid ISO 8601 duration"


def _many(check: Check) -> Check:
    def check_all(value: object, at: str) -> Iterator[str]:
        if not isinstance(value, list):
            yield f"{at} must be an array"
            return
        for n, item in enumerate(cast("list[object]", value)):
            yield from check(item, f"{at}.{n}")

    return check_all


def _fields(checks: Mapping[str, Check], *required: str) -> Check:
    def check(value: object, at: str) -> Iterator[str]:
        if not isinstance(value, dict):
            yield f"{at or 'body'} must be an object"
            return
        given = cast("dict[str, object]", value)
        for name in required:
            if given.get(name) in (None, ""):
                yield f"Missing field: {name}"
        for name, part in checks.items():
            if given.get(name) is not None:
                yield from part(given[name], f"{at}.{name}" if at else name)

    return check


def _one_of(*values: str) -> Check:
    def check(value: object, at: str) -> Iterator[str]:
        if value not in values:
            yield f"{at} must be one of the following values: {', '.join(values)}"

    return check


def _language_code(value: object, at: str) -> Iterator[str]:
    if not isinstance(value, str) or not _LANGUAGE.fullmatch(value):
        yield f"{at} must be a language code such as en_GB"


def _enum(check: Check) -> Check:
    return _fields({"value": check, "source_value": _anything})


_status = _enum(_one_of("pending", "in_progress", "completed", "unmapped_value"))
_result = _enum(_one_of("Pass", "Fail", "unmapped_value"))
_level = _enum(_one_of("primary", "secondary", "tertiary", "unmapped_value"))
_proficiency = _enum(_one_of("1", "2", "3", "4", "5"))
_language = _enum(_language_code)
_content_type = _enum(
    _one_of(
        "video", "quiz", "document", "audio", "article", "book", "event", "course", "collection",
        "interactive", "unmapped_value",
    )
)  # fmt: skip
_score = _fields({"percentage": _number, "raw_value": _text})
_category = _fields(
    {
        "id": _text, "name": _text, "hierarchy": _level, "level": _level, "language": _language,
        "unified_custom_fields": _object,
    }
)  # fmt: skip
_skill = _fields(
    {
        "id": _text, "name": _text, "hierarchy": _level, "level": _level, "language": _language,
        "proficiency": _proficiency,
    }
)  # fmt: skip
_localization = _fields({"title": _text, "description": _text, "language": _language, "tags": _many(_text)})
_author = _fields({"id": _text, "name": _text})
_additional = _fields({"id": _text, "remote_id": _text, "value": _anything})

_COMMON: Mapping[str, Check] = {
    "unified_custom_fields": _object,
    "external_reference": _text,
    "title": _text,
    "description": _text,
    "cover_url": _text,
    "categories": _many(_category),
    "skills": _many(_skill),
}
_CONTENT: Mapping[str, Check] = {
    **_COMMON,
    "languages": _many(_language),
    "content_url": _text,
    "mobile_launch_content_url": _text,
    "content_type": _content_type,
    "active": _flag,
    "duration": _duration,
    "order": _number,
    "short_description": _text,
    "localizations": _many(_localization),
    "tags": _many(_text),
    "authors": _many(_author),
    "additional_data": _many(_additional),
    "created_at": _moment,
    "updated_at": _moment,
    "passthrough": _object,
}
_PART_OF_COURSE: Mapping[str, Check] = {
    "external_reference": _text,
    "title": _text,
    "description": _text,
    "content_url": _text,
    "mobile_launch_content_url": _text,
    "order": _number,
}

content: Check = _fields(_CONTENT, "external_reference")
course: Check = _fields(
    {
        **_COMMON,
        "languages": _many(_language),
        "url": _text,
        "active": _boolean,
        "duration": _duration,
        "content": _many(_fields(_PART_OF_COURSE)),
        "localizations": _many(_localization),
    }
)
collection: Check = _fields(
    {
        **_COMMON,
        "languages": _many(_text),
        "learning_object_ids": _many(_text),
        "remote_learning_object_ids": _many(_text),
    }
)
batch: Check = _fields({"items": _many(_anything)}, "items")
assignment: Check = _fields(
    {
        "passthrough": _object,
        "external_reference": _text,
        "learning_object_id": _text,
        "learning_object_external_reference": _text,
        "progress": _number,
        "assigned_at": _moment,
        "due_date": _moment,
        "created_at": _moment,
        "status": _status,
    },
    "learning_object_external_reference",
)
completion: Check = _fields(
    {
        "passthrough": _object,
        "result": _result,
        "completed_at": _moment,
        "learning_object_id": _text,
        "learning_object_external_reference": _text,
        "time_spent": _duration,
        "content_external_reference": _text,
        "content_id": _text,
        "score": _score,
    },
    "learning_object_external_reference",
)
_category_key = _one_of(
    "ats", "hris", "hris-legacy", "crm", "iam", "marketing", "lms", "stackone", "documents", "ticketing", "screening",
    "messaging", "accounting", "scheduling",
)  # fmt: skip
_CONNECT_SESSION: Mapping[str, Check] = {
    "origin_owner_id": _text,
    "origin_owner_name": _text,
    "categories": _many(_category_key),
    "provider": _text,
    "provider_version": _text,
    "origin_username": _text,
    "account_id": _text,
    "expires_in": _number,
    "metadata": _object,
    "multiple": _boolean,
    "label": _text,
    "type": _one_of("production", "test"),
    "integration_id": _text,
}
connect_session: Check = _fields(_CONNECT_SESSION, "origin_owner_id", "origin_owner_name")
connect_token: Check = _fields({"token": _text}, "token")


_sendable = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode
"""Fails on what `json.loads` takes and no answer can hold: NaN, infinities, half a surrogate pair."""


def faults_in(check: Check, value: object) -> list[str]:
    """Return what is wrong with a value, empty if nothing is."""
    return list(check(value, ""))


def read(check: Check, body: bytes, content_type: str) -> dict[str, Any]:
    """Decode and check a JSON body.

    Raises:
        Problem: 400, with a line for each thing that is wrong.
    """
    if content_type.partition(";")[0].strip().lower() != "application/json":
        raise Problem.invalid("Content-Type must be application/json")
    try:
        value: object = json.loads(body)
        _sendable(value).encode()
    except (ValueError, RecursionError):
        raise Problem.invalid("the body is not valid JSON") from None
    wrong = faults_in(check, value)
    if wrong:
        raise Problem.invalid(*wrong)
    return cast("dict[str, Any]", value)
