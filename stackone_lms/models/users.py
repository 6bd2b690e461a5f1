"""Users: the people who learn."""

from __future__ import annotations

from typing import Any

from .base import DateTime, Model, Result
from .values import Flag, to_bool


class User(Model, kw_only=True, frozen=True):
    """A person who learns."""

    SCHEMA = "LmsUser"

    id: str | None = None
    """StackOne's id of this user."""
    remote_id: str | None = None
    """The provider's id of this user."""
    unified_custom_fields: dict[str, Any] | None = None
    """Fields that your StackOne project defines; values are primitives."""
    external_reference: str | None = None
    """Your own reference of the user."""
    name: str | None = None
    """Full name."""
    email: str | None = None
    """E-mail address."""
    phone_number: str | None = None
    """Telephone number."""
    active: Flag = None
    """Whether the account is in use, as sent; see `is_active`."""
    created_at: DateTime | None = None
    """When the record was created."""
    updated_at: DateTime | None = None
    """When the record was last changed."""

    @property
    def is_active(self) -> bool | None:
        """`active` as a boolean, also where it came as a string."""
        return to_bool(self.active)


class UserResult(Result[User], kw_only=True, frozen=True):
    """The answer to Get User: the record in `data`."""
