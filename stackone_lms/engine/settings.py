"""What the views of a client may differ in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from ..options import RetryPolicy, Timeout
from .hooks import Hooks
from .responses import Redact


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What may differ from one view of a client to the next."""

    account_id: str | None
    timeout: Timeout
    retry: RetryPolicy
    heartbeat: bool
    keep_unknown: bool
    verify_ids: bool
    headers: Mapping[str, str]
    body_headers: Mapping[str, str]
    redact: Redact
    extra_headers: Mapping[str, str] = {}
    """Those of the headers that the caller added."""
    extra_query: str = ""
    """What every query ends with."""
    adaptive: bool = True
    """Whether requests wait for the limit that their account has found for itself."""
    hooks: Hooks | None = None
    """What of the caller's sees the calls."""

    def __repr__(self) -> str:
        return f"Settings({', '.join(f'{name}={value!r}' for name, value in self.__rich_repr__())})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        shown = ("account_id", "timeout", "retry", "heartbeat", "keep_unknown")
        return [(name, getattr(self, name)) for name in shown]
