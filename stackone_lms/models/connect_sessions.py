"""Connect sessions: links with which a customer connects a learning system."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import UNSET

from .accounts import AccountTypeValue, CategoryKey
from .base import Answer, DateTime, plain_secret, without_secrets
from .bodies import Body, Omittable


class CreateConnectSession(Body, kw_only=True, frozen=True):
    """A link for one customer."""

    SCHEMA = "ConnectSessionCreate"

    origin_owner_id: str
    """Your own id of the customer."""
    origin_owner_name: str
    """Your own name of the customer."""
    categories: Omittable[list[CategoryKey]] = UNSET
    """Which kinds of system the customer may choose from, such as `["lms"]`."""
    provider: Omittable[str] = UNSET
    """Key of the provider, if the customer has no choice."""
    provider_version: Omittable[str] = UNSET
    """Deprecated by the API."""
    origin_username: Omittable[str] = UNSET
    """The user of yours who connects it."""
    account_id: Omittable[str] = UNSET
    """The account to edit, instead of linking a new one."""
    expires_in: Omittable[float] = UNSET
    """Seconds for which the link works. Default: 1800."""
    metadata: Omittable[dict[str, Any]] = UNSET
    """Whatever you want to find again with the account."""
    multiple: Omittable[bool] = UNSET
    """Whether several accounts may be linked with it. Default: false."""
    label: Omittable[str] = UNSET
    """A name for the account."""
    type: Omittable[Literal["production", "test"]] = UNSET
    """Default: production."""
    integration_id: Omittable[str] = UNSET
    """The integration that it belongs to."""


class AuthenticateConnectSession(Body, kw_only=True, frozen=True, repr_omit_defaults=True):
    """The token of a session."""

    SCHEMA = "ConnectSessionAuthenticate"

    token: str
    """The token: a secret."""

    def __repr__(self) -> str:
        return "AuthenticateConnectSession(token=***)"

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError("the token of a connect session is not pickled")


class ConnectSession(Answer, kw_only=True, frozen=True):
    """A connect session.

    Its token and links are secrets: they are not in its repr, and are left out when it is pickled.
    """

    SCHEMA = "ConnectSessionTokenAuthLink"

    id: int | str | None = None
    """StackOne's id of the session."""
    organization_id: int | str | None = None
    """Your organization."""
    project_id: str | None = None
    """Your project."""
    origin_owner_id: str | None = None
    """Your own id of the customer."""
    origin_owner_name: str | None = None
    """Your own name of the customer."""
    categories: list[CategoryKey | str] | None = None
    """Which kinds of system the customer may choose from."""
    provider: str | None = None
    """Key of the provider, if the customer has no choice."""
    origin_username: str | None = None
    """The user of yours who connects it."""
    account_id: str | None = None
    """The account that is edited."""
    label: str | None = None
    """A name for the account."""
    metadata: dict[str, Any] | None = None
    """What was given to be found again."""
    type: AccountTypeValue | str | None = None
    """Production or test."""
    integration_id: str | None = None
    """The integration that it belongs to."""
    created_at: DateTime | None = None
    """When the session was made."""
    token_json: msgspec.Raw = msgspec.field(name="token", default=msgspec.Raw())
    """The token, not yet decoded."""
    auth_link_url_json: msgspec.Raw = msgspec.field(name="auth_link_url", default=msgspec.Raw())
    """The link, not yet decoded."""
    external_trigger_token_json: msgspec.Raw = msgspec.field(name="external_trigger_token", default=msgspec.Raw())
    """The trigger token, not yet decoded."""

    @property
    def token(self) -> str | None:
        """What StackOne's connect component in a browser takes: a secret. None where it was not asked for."""
        token: str | None = plain_secret(self.token_json)
        return token

    @property
    def auth_link_url(self) -> str | None:
        """The link for the customer: a secret. None where it was not asked for."""
        auth_link_url: str | None = plain_secret(self.auth_link_url_json)
        return auth_link_url

    @property
    def external_trigger_token(self) -> str | None:
        """What triggers the session from outside: a secret."""
        external_trigger_token: str | None = plain_secret(self.external_trigger_token_json)
        return external_trigger_token

    def __reduce__(self) -> tuple[Any, ...]:
        return without_secrets(self)
