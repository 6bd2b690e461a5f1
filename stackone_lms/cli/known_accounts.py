"""The accounts that were seen last, by id and name: for completion and to call them by their names, without a request.

A file in the user's cache, without anything secret; it may be deleted at any time.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING
from urllib.parse import quote

import msgspec

if TYPE_CHECKING:
    from ..models import LinkedAccount


class Known(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is kept of an account."""

    id: str
    origin_owner_name: str | None = None
    label: str | None = None
    provider: str | None = None


def _path(profile: str | None, base_url: str | None) -> Path | None:
    """Return the file for a profile and an address; None: there is no place for it."""
    try:
        from platformdirs import user_cache_path  # noqa: PLC0415 (not needed for --help)
    except ImportError:
        return None
    whose = profile or os.environ.get("STACKONE_PROFILE") or "default"
    where = base_url or os.environ.get("STACKONE_BASE_URL") or ""
    name = quote(f"{whose} {where}".strip(), safe="")[-180:]
    return user_cache_path("stackone-lms", appauthor=False) / f"accounts {name}.json"


def known(profile: str | None, base_url: str | None) -> Mapping[str, Known]:
    """Return the accounts that were seen last with a profile and an address, by their ids."""
    path = _path(profile, base_url)
    if path is None:
        return {}
    try:
        found = msgspec.json.decode(path.read_bytes(), type=list[Known])
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return {}
    return {one.id: one for one in found}


def remember(
    profile: str | None, base_url: str | None, accounts: Iterable[LinkedAccount], *, all: bool = False
) -> None:
    """Keep accounts for the next time.

    Args:
        profile: The profile that they were seen with.
        base_url: The address, where one was given.
        accounts: What was seen.
        all: Whether there are no others: those that were known before are forgotten.
    """
    path = _path(profile, base_url)
    if path is None:
        return
    found = {} if all else dict(known(profile, base_url))
    for one in accounts:
        if one.id is not None:
            found[one.id] = Known(one.id, one.origin_owner_name, one.label, one.provider_name or one.provider)
    draft = path.with_name(f".{token_hex(4)}")
    with suppress(OSError):  # a cache only
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(msgspec.json.encode(list(found.values())))
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)


def named(profile: str | None, base_url: str | None, ids: Iterable[str]) -> list[str | LinkedAccount]:
    """Return accounts by their ids, as records with names where those are known."""
    from ..models import LinkedAccount  # noqa: PLC0415 (not needed for --help)

    seen = known(profile, base_url)
    return [
        LinkedAccount(id=id, origin_owner_name=one.origin_owner_name, label=one.label, provider=one.provider)
        if (one := seen.get(id)) is not None
        else id
        for id in ids
    ]
