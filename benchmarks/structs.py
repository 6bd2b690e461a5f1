"""Bare msgspec Structs of the same fields, with nothing around them: the floor under any typed client."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec


class Value(msgspec.Struct):
    """A unified value."""

    value: str | None = None
    source_value: Any = None


class Score(msgspec.Struct):
    """A score."""

    percentage: float | None = None
    raw_value: str | None = None


class Completion(msgspec.Struct):
    """A completion with all its fields."""

    id: str | None = None
    remote_id: str | None = None
    unified_custom_fields: dict[str, Any] | None = None
    learning_object_external_reference: str | None = None
    external_reference: str | None = None
    result: Value | None = None
    completed_at: datetime | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None
    learning_object_type: Value | None = None
    learning_object_id: str | None = None
    remote_learning_object_id: str | None = None
    user_id: str | None = None
    remote_user_id: str | None = None
    time_spent: str | None = None
    certificate_url: str | None = None
    external_id: str | None = None
    content_external_reference: str | None = None
    remote_external_id: str | None = None
    content_id: str | None = None
    remote_content_id: str | None = None
    course_id: str | None = None
    remote_course_id: str | None = None
    score: Score | None = None


class Call(msgspec.Struct):
    """A provider call."""

    method: str
    url: str
    body: Any = None
    response: Any = None


class Result(msgspec.Struct):
    """The answer to a get."""

    data: Completion
    raw: list[Call] | None = None


class Page(msgspec.Struct):
    """The answer to a list."""

    data: list[Completion]
    next: str | None = None
    raw: list[Call] | None = None


decode_one = msgspec.json.Decoder(Result).decode
decode_page = msgspec.json.Decoder(Page).decode
