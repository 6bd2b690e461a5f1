"""Content: a single thing to learn from, such as a video or a quiz."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from msgspec import UNSET

from .base import DateTime, Model, Result, to_timedelta
from .bodies import Body, Omittable
from .categories import Category, CreateCategory
from .skills import CreateSkill, Skill
from .values import (
    ContentType,
    Flag,
    Language,
    LanguageValue,
    WriteContentType,
    WriteContentTypeValue,
    to_bool,
)


class AdditionalData(Model, kw_only=True, frozen=True):
    """One more value of a learning object, under a name."""

    id: str | None = None
    """Which value it is, such as `learning_outcomes`."""
    remote_id: str | None = None
    """The provider's id of the value."""
    value: str | list[str] | None = None
    """The value: one string, or several."""


class Author(Model, kw_only=True, frozen=True):
    """Who made a learning object."""

    SCHEMA = "AuthorModel"

    id: str | None = None
    """StackOne's id of the author."""
    name: str | None = None
    """Full name."""


class Localization(Model, kw_only=True, frozen=True):
    """The texts of a learning object in one language."""

    SCHEMA = "LocalizationModel"

    title: str | None = None
    """The title in this language."""
    description: str | None = None
    """The description in this language."""
    language: Language | None = None
    """Which language, as the API documents it."""
    languages: Language | None = None
    """Which language, as the API's own examples give it: under this key, and as `en-US`."""
    tags: list[str] | None = None
    """Labels in this language."""


class Content(Model, kw_only=True, frozen=True):
    """A single thing to learn from."""

    id: str | None = None
    """StackOne's id of this content."""
    remote_id: str | None = None
    """The provider's id of this content."""
    unified_custom_fields: dict[str, Any] | None = None
    """Fields that your StackOne project defines; values are primitives."""
    external_reference: str | None = None
    """Your own reference of the content."""
    course_ids: list[str] | None = None
    """StackOne's ids of the courses that it is part of."""
    remote_course_ids: list[str] | None = None
    """The provider's ids of the courses that it is part of."""
    title: str | None = None
    """What it is called."""
    description: str | None = None
    """What it is about."""
    languages: list[Language] | None = None
    """Languages that it is offered in."""
    content_url: str | None = None
    """Where it is opened."""
    mobile_launch_content_url: str | None = None
    """Where it is opened on a telephone."""
    content_type: ContentType | None = None
    """Which kind of content."""
    cover_url: str | None = None
    """Where the cover picture is."""
    active: Flag = None
    """Whether it is offered to users, as sent; see `is_active`."""
    duration: str | None = None
    """How long it takes, an ISO 8601 duration such as `PT1H30M45S`; see `duration_timedelta`."""
    categories: list[Category] | None = None
    """Categories that it is filed under."""
    skills: list[Skill] | None = None
    """Skills that it teaches."""
    order: float | None = None
    """Its place among its siblings."""
    provider: str | None = None
    """Who offers the content."""
    short_description: str | None = None
    """Deprecated by the API: use `description`."""
    localizations: list[Localization] | None = None
    """Its texts in other languages."""
    tags: list[str] | None = None
    """Labels."""
    authors: list[Author] | None = None
    """Who made it."""
    updated_at: DateTime | None = None
    """When the record was last changed."""
    created_at: DateTime | None = None
    """When the record was created."""
    additional_data: list[AdditionalData] | None = None
    """Deprecated by the API: it was sent until 2025, and nothing took its place."""

    @property
    def is_active(self) -> bool | None:
        """`active` as a boolean, also where it came as a string."""
        return to_bool(self.active)

    @property
    def duration_timedelta(self) -> timedelta | None:
        """`duration` as a timedelta; None if it is missing or counts in years or months."""
        return to_timedelta(self.duration)


class ContentResult(Result[Content], kw_only=True, frozen=True):
    """The answer to Get Content: the record in `data`."""


class ContentBody(Body, kw_only=True, frozen=True):
    """What both bodies of content have."""

    READ = Content

    external_reference: str
    """Your own reference of the content: what it is found by when it is upserted again."""
    unified_custom_fields: Omittable[dict[str, Any]] = UNSET
    """Fields that your StackOne project defines; values are primitives."""
    title: Omittable[str] = UNSET
    """What it is called."""
    description: Omittable[str] = UNSET
    """What it is about."""
    languages: Omittable[list[LanguageValue | str | Language]] = UNSET
    """Languages that it is offered in."""
    content_url: Omittable[str] = UNSET
    """Where it is opened."""
    mobile_launch_content_url: Omittable[str] = UNSET
    """Where it is opened on a telephone."""
    content_type: Omittable[WriteContentTypeValue | str | WriteContentType] = UNSET
    """Which kind of content."""
    cover_url: Omittable[str] = UNSET
    """Where the cover picture is."""
    active: Omittable[bool] = UNSET
    """Whether it is offered to users; False is how content is deleted."""
    duration: Omittable[timedelta | str] = UNSET
    """How long it takes; a string is an ISO 8601 duration such as `PT1H30M45S`."""
    categories: Omittable[list[CreateCategory]] = UNSET
    """Categories that it is filed under."""
    skills: Omittable[list[CreateSkill]] = UNSET
    """Skills that it teaches."""
    order: Omittable[float] = UNSET
    """Its place among its siblings."""
    short_description: Omittable[str] = UNSET
    """Deprecated by the API: use `description`."""
    localizations: Omittable[list[Localization]] = UNSET
    """Its texts in other languages."""
    tags: Omittable[list[str]] = UNSET
    """Labels."""
    authors: Omittable[list[Author]] = UNSET
    """Who made it."""
    updated_at: Omittable[DateTime] = UNSET
    """When it was last changed."""
    created_at: Omittable[DateTime] = UNSET
    """When it was created."""
    additional_data: Omittable[list[AdditionalData]] = UNSET
    """More values, each under a name."""


class UpsertContent(ContentBody, kw_only=True, frozen=True):
    """Content to create, or to replace as a whole: there are no partial updates."""

    SCHEMA = "LmsUpsertContentRequestDto"

    passthrough: Omittable[dict[str, Any]] = UNSET
    """Keys that go to the provider as they are."""


class UpdateContent(ContentBody, kw_only=True, frozen=True):
    """Content to put in the place of what is there. The newest API version has no such operation."""

    SCHEMA = "LmsCreateContentRequestDto"


class CreateContent(Body, kw_only=True, frozen=True):
    """Content to write as a part of a course."""

    SCHEMA = "CreateContentApiModel"
    READ = Content

    external_reference: Omittable[str] = UNSET
    """Your own reference of the content."""
    title: Omittable[str] = UNSET
    """What it is called."""
    description: Omittable[str] = UNSET
    """What it is about."""
    content_url: Omittable[str] = UNSET
    """Where it is opened."""
    order: Omittable[float] = UNSET
    """Its place in the course."""
    mobile_launch_content_url: Omittable[str] = UNSET
    """Where it is opened on a telephone."""
