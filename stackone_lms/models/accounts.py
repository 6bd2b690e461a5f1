"""Linked accounts: the connections to customers' learning systems that an API key has.

Sources: the OpenAPI document inside StackOne's C# client, and their TypeScript and Ruby clients.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from .base import Answer, DateTime, Model, Result, plain_secret, without_secrets

AccountStatusValue = Literal["active", "inactive", "suspended", "archived", "expired", "error"]
AccountTypeValue = Literal["production", "test", "unmapped_value"]
# fmt: off
CategoryKey = Literal[
    "ats", "hris", "hris-legacy", "crm", "iam", "marketing", "lms", "stackone", "documents", "ticketing", "screening",
    "messaging", "accounting", "scheduling",
]
# fmt: on


class StatusReason(Model, kw_only=True, frozen=True):
    """Why an account has the status that it has."""

    code: str | None = None
    """The reason as a code."""
    description: str | None = None
    """The reason in words."""
    timestamp: DateTime | None = None
    """Since when."""


class LinkedAccount(Model, kw_only=True, frozen=True):
    """The connection to one customer's learning system. Only `active` ones serve.

    Its credentials are never shown in a repr and never pickled.
    """

    id: str | None = None
    """What `account_id=` and the header `x-account-id` take."""
    provider: str | None = None
    """Key of the provider."""
    provider_name: str | None = None
    """Name of the provider."""
    status: AccountStatusValue | str | None = None
    """Only `active` accounts serve; see `status_reasons` for why another does not."""
    status_reasons: list[StatusReason] | None = None
    """Why it has this status."""
    origin_owner_id: str | None = None
    """Your own id of the customer."""
    origin_owner_name: str | None = None
    """Your own name of the customer."""
    origin_username: str | None = None
    """The user of yours who linked it."""
    credentials_json: msgspec.Raw = msgspec.field(name="credentials", default=msgspec.Raw())
    """The credentials, not yet decoded."""
    setup_information: dict[str, Any] | None = None
    """What was given when it was linked."""
    label: str | None = None
    """A name for it, where it was given one."""
    shared: bool | None = None
    """Whether it serves all users of the customer; false: only `origin_username`."""
    type: AccountTypeValue | str | None = None
    """Production or test."""
    created_at: DateTime | None = None
    """When it was linked."""
    updated_at: DateTime | None = None
    """When it was last changed."""

    @property
    def credentials(self) -> Any:
        """The credentials for the provider, where the API tells them: a secret."""
        return plain_secret(self.credentials_json)

    @property
    def name(self) -> str:
        """What to call it for people: the customer's name, the label and the provider, as far as they are known."""
        provider = self.provider_name or self.provider
        parts = [part for part in (self.origin_owner_name, self.label, provider) if part]
        return " · ".join(parts) or self.id or "?"

    def __reduce__(self) -> tuple[Any, ...]:
        return without_secrets(self)


class LinkedAccountResult(Result[LinkedAccount], kw_only=True, frozen=True):
    """One linked account."""


class AccountMeta(Answer, kw_only=True, frozen=True):
    """What the provider of an account supports. Legacy: StackOne has deprecated it since 2026-04."""

    SCHEMA = "LinkedAccountMeta"

    provider: str | None = None
    """Key of the provider."""
    category: CategoryKey | str | None = None
    """The API that it belongs to."""
    models: dict[str, Any] | None = None
    """What it supports, by resource and action."""
