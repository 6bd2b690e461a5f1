"""Categories of learning objects."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET

from .base import Model, Result
from .bodies import Body, Omittable
from .values import CategoryLevel, CategoryLevelValue, Flag, Language, LanguageValue, to_bool


class Category(Model, kw_only=True, frozen=True):
    """A category that learning objects are filed under."""

    id: str | None = None
    """StackOne's id of this category."""
    remote_id: str | None = None
    """The provider's id of this category."""
    unified_custom_fields: dict[str, Any] | None = None
    """Fields that your StackOne project defines; values are primitives."""
    name: str | None = None
    """What it is called."""
    active: Flag = None
    """Whether it is in use, as sent; see `is_active`."""
    hierarchy: CategoryLevel | None = None
    """Where it stands in the tree of categories."""
    level: CategoryLevel | None = None
    """Deprecated by the API: use `hierarchy`."""
    language: Language | None = None
    """The language of the name."""

    @property
    def is_active(self) -> bool | None:
        """`active` as a boolean, also where it came as a string."""
        return to_bool(self.active)


class CategoryResult(Result[Category], kw_only=True, frozen=True):
    """The answer to Get Category: the record in `data`."""


class CreateCategory(Body, kw_only=True, frozen=True):
    """A category of a learning object to write."""

    SCHEMA = "CreateCategoriesApiModel"
    READ = Category

    id: Omittable[str] = UNSET
    """The category's id, of StackOne or of the provider."""
    unified_custom_fields: Omittable[dict[str, Any]] = UNSET
    """Fields that your StackOne project defines; values are primitives."""
    name: Omittable[str] = UNSET
    """What it is called."""
    hierarchy: Omittable[CategoryLevelValue | str | CategoryLevel] = UNSET
    """Where it stands in the tree of categories."""
    level: Omittable[CategoryLevelValue | str | CategoryLevel] = UNSET
    """Deprecated by the API: use `hierarchy`."""
    language: Omittable[LanguageValue | str | Language] = UNSET
    """The language of the name."""
