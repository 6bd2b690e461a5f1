"""Courses: content that belongs together."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from msgspec import UNSET

from .base import DateTime, Model, Result, to_timedelta
from .bodies import Body, Omittable
from .categories import Category, CreateCategory
from .content import Author, CreateContent, Localization
from .skills import CreateSkill, Skill
from .values import Flag, Language, LanguageValue, to_bool


class Course(Model, kw_only=True, frozen=True):
    """A course, made of content."""

    id: str | None = None
    """StackOne's id of this course."""
    remote_id: str | None = None
    """The provider's id of this course."""
    unified_custom_fields: dict[str, Any] | None = None
    """Fields that your StackOne project defines; values are primitives."""
    external_reference: str | None = None
    """Your own reference of the course."""
    content_ids: list[str] | None = None
    """StackOne's ids of the content in it."""
    remote_content_ids: list[str] | None = None
    """The provider's ids of the content in it."""
    title: str | None = None
    """What it is called."""
    description: str | None = None
    """What it is about."""
    languages: list[Language] | None = None
    """Languages that it is offered in."""
    cover_url: str | None = None
    """Where the cover picture is."""
    url: str | None = None
    """Where it is opened."""
    active: Flag = None
    """Whether it is offered to users, as sent; see `is_active`."""
    duration: str | None = None
    """How long it takes, an ISO 8601 duration such as `PT1H30M45S`; see `duration_timedelta`."""
    categories: list[Category] | None = None
    """Categories that it is filed under."""
    skills: list[Skill] | None = None
    """Skills that it teaches."""
    provider: str | None = None
    """Who offers the course."""
    authors: list[Author] | None = None
    """Who made it."""
    updated_at: DateTime | None = None
    """When the record was last changed."""
    created_at: DateTime | None = None
    """When the record was created."""

    @property
    def is_active(self) -> bool | None:
        """`active` as a boolean, also where it came as a string."""
        return to_bool(self.active)

    @property
    def duration_timedelta(self) -> timedelta | None:
        """`duration` as a timedelta; None if it is missing or counts in years or months."""
        return to_timedelta(self.duration)


class CourseResult(Result[Course], kw_only=True, frozen=True):
    """The answer to Get Course: the record in `data`."""


class UpsertCourse(Body, kw_only=True, frozen=True):
    """A course to create, or to replace as a whole. The newest API version has no such operation."""

    SCHEMA = "LmsUpsertCourseRequestDto"
    READ = Course

    unified_custom_fields: Omittable[dict[str, Any]] = UNSET
    """Fields that your StackOne project defines; values are primitives."""
    external_reference: Omittable[str] = UNSET
    """Your own reference of the course: what it is found by when it is upserted again."""
    title: Omittable[str] = UNSET
    """What it is called."""
    description: Omittable[str] = UNSET
    """What it is about."""
    languages: Omittable[list[LanguageValue | str | Language]] = UNSET
    """Languages that it is offered in."""
    cover_url: Omittable[str] = UNSET
    """Where the cover picture is."""
    url: Omittable[str] = UNSET
    """Where it is opened."""
    active: Omittable[bool] = UNSET
    """Whether it is offered to users."""
    duration: Omittable[timedelta | str] = UNSET
    """How long it takes; a string is an ISO 8601 duration such as `PT1H30M45S`."""
    categories: Omittable[list[CreateCategory]] = UNSET
    """Categories that it is filed under."""
    skills: Omittable[list[CreateSkill]] = UNSET
    """Skills that it teaches."""
    content: Omittable[list[CreateContent]] = UNSET
    """The content in it."""
    localizations: Omittable[list[Localization]] = UNSET
    """Its texts in other languages."""
