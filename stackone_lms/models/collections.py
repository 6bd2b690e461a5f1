"""Collections of learning objects. They can be written only, and the newest API version has them no more."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET

from .bodies import Body, Omittable
from .categories import CreateCategory
from .skills import CreateSkill


class CreateCollection(Body, kw_only=True, frozen=True):
    """A collection to create, or what to change in one."""

    SCHEMA = "LmsCreateCollectionRequestDto"

    unified_custom_fields: Omittable[dict[str, Any]] = UNSET
    """Fields that your StackOne project defines; values are primitives."""
    external_reference: Omittable[str] = UNSET
    """Your own reference of the collection."""
    learning_object_ids: Omittable[list[str]] = UNSET
    """StackOne's ids of the learning objects in it."""
    remote_learning_object_ids: Omittable[list[str]] = UNSET
    """The provider's ids of the learning objects in it."""
    title: Omittable[str] = UNSET
    """What it is called."""
    description: Omittable[str] = UNSET
    """What it is about."""
    languages: Omittable[list[str]] = UNSET
    """Language codes such as `en_GB`: plain strings here, as the API documents them."""
    cover_url: Omittable[str] = UNSET
    """Where the cover picture is."""
    categories: Omittable[list[CreateCategory]] = UNSET
    """Categories that it is filed under."""
    skills: Omittable[list[CreateSkill]] = UNSET
    """Skills that it teaches."""
