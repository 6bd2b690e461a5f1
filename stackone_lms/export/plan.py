"""What an export was asked for, and whether an unfinished one was asked for the same."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import msgspec

from ..configuration import check_token
from ..errors import ExportError, InvalidArgumentError
from ..models.base import to_wire
from .formats.base import with_user
from .lists import Resource, find
from .state.manifest import ListEntry
from .targets.base import ListJob, Target
from .targets.folder import Folder

PAGE_SIZE: Final = 100
OVERLAP: Final = timedelta(minutes=10)
_FIRST: Final = datetime.min.replace(tzinfo=UTC)
_SECRET: Final = frozenset({"accounts", "users"})


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What an export was asked for."""

    resources: tuple[Resource, ...]
    accounts: tuple[str, ...]
    target: Target
    since: str | None
    incremental: bool
    fields: tuple[str, ...] | None
    raw: bool
    page_size: int
    users: tuple[str, ...] | None
    overlap: timedelta
    restart: bool
    max_concurrent_accounts: int
    commit_interval: float

    def parameters(self, base_url: str) -> dict[str, Any]:
        """Return what has to be the same to go on with an unfinished export."""
        return {
            "resources": sorted(resource.name for resource in self.resources),
            "accounts": sorted(self.accounts),
            "base_url": base_url,
            "format": self.target.format,
            "since": self.since,
            "incremental": self.incremental,
            "fields": sorted(self.fields) if self.fields else None,
            "raw": self.raw,
            "page_size": self.page_size,
            "users": sorted(self.users) if self.users is not None else None,
        }

    def lists_of(self, account: str) -> list[ListJob]:
        """Return the lists of an account, in the order asked for."""
        return [
            ListJob(resource, with_user(resource.model) if resource.of_users else resource.model, account)
            for resource in self.resources
        ]

    def query(self, job: ListJob, after: str | None) -> dict[str, Any]:
        """Return the keywords of a list."""
        query: dict[str, Any] = {"page_size": self.page_size}
        if self.fields:
            # Without these two nothing could be merged.
            needed = [name for name in ("id", "updated_at") if name in job.resource.model.__struct_fields__]
            query["fields"] = ",".join(dict.fromkeys([*needed, *self.fields]))
        if self.raw:
            query["raw"] = True
        if after is not None:
            query["updated_after"] = after
        return query

    def changes_after(self, job: ListJob, before: ListEntry | None) -> tuple[str | None, bool]:
        """Return the moment after which records are asked for, and whether they are merged with what is there.

        Raises:
            ExportError: What is there was asked for with other parameters, so that changes would not fit to it.
        """
        if not self.incremental or before is None:
            return self.since, False
        if before.high_water is None:
            return before.parameters.get("since"), False
        differing = differences(before.parameters, self.kept_parameters())
        if differing:
            raise ExportError(
                f"{job.resource.name} was exported with other parameters, so that changes do not fit to it: "
                f"{'; '.join(differing)}; take the same ones, or run a full export"
            )
        return to_wire(self._less_overlap(datetime.fromisoformat(before.high_water))), True

    def _less_overlap(self, moment: datetime) -> datetime:
        # .NET's default for a moment is the first one that there is.
        return moment - self.overlap if moment - _FIRST > self.overlap else _FIRST

    def kept_parameters(self) -> dict[str, Any]:
        """Return the parameters that shape the records of a list."""
        return {
            "fields": sorted(self.fields) if self.fields else None,
            "raw": self.raw,
            "users": sorted(self.users) if self.users is not None else None,
        }


def differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Say which parameters differ; of ids only how many there are."""
    found: list[str] = []
    for name, value in now.items():
        before = then.get(name)
        if before == value:
            continue
        if name in _SECRET:
            counts = [len(ids) if ids is not None else "all" for ids in (before, value)]
            text = f"{counts[0]} then, {counts[1]} now" if counts[0] != counts[1] else "other ones"
            found.append(f"{name} ({text})")
        else:
            found.append(f"{name} ({_shown(before)} then, {_shown(value)} now)")
    return found


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(str, value))  # pyright: ignore[reportUnknownArgumentType]
    return {None: "none", True: "on", False: "off"}.get(value, str(value))


def make_target(target: str | os.PathLike[str], format: str) -> Target:
    """Return where an export goes: a folder, or `duckdb:FILE`, or `sqlite:FILE`."""
    text = os.fspath(target)
    kind, colon, file = text.partition(":")
    if colon and kind in ("duckdb", "sqlite"):
        from .targets.database import database  # noqa: PLC0415 (only where it is needed)

        if not file:
            raise InvalidArgumentError(f"{kind}: needs a file, such as {kind}:lms.db")
        return database(kind, Path(file))
    if not text:
        raise InvalidArgumentError("target must be a folder, or duckdb:FILE, or sqlite:FILE")
    return Folder(Path(text), format)


def make_plan(
    resources: str | Iterable[str],
    target: str | os.PathLike[str],
    *,
    accounts: Iterable[str],
    format: str,
    since: datetime | date | str | None,
    incremental: bool,
    fields: str | Iterable[str] | None,
    raw: bool,
    users: Iterable[str] | None,
    page_size: int,
    overlap: timedelta,
    restart: bool,
    max_concurrent_accounts: int,
    commit_interval: float,
) -> Plan:
    """Check what was asked for.

    Raises:
        InvalidArgumentError: It cannot be done.
    """
    names = [resources] if isinstance(resources, str) else list(resources)
    ids = _several("accounts", accounts)
    if not names or not ids:
        raise InvalidArgumentError(f"name at least one {'account' if names else 'resource'}")
    if since is not None and incremental:
        raise InvalidArgumentError("since and incremental exclude each other: incremental knows since when")
    if page_size < 1 or max_concurrent_accounts < 1:
        raise InvalidArgumentError("page_size and accounts_at_once must be 1 or more")
    if overlap < timedelta(0):
        raise InvalidArgumentError("overlap cannot be negative")
    found = tuple(find(name) for name in dict.fromkeys(names))
    if users is not None and not any(resource.of_users for resource in found):
        raise InvalidArgumentError("users narrows lists of users only, such as users.completions")
    parts = (fields.split(",") if isinstance(fields, str) else list(fields)) if fields is not None else []
    return Plan(
        resources=found,
        accounts=ids,
        target=make_target(target, format),
        since=None if since is None else _moment(since),
        incremental=incremental,
        fields=tuple(dict.fromkeys(part.strip() for part in parts if part.strip())) or None,
        raw=raw,
        page_size=page_size,
        users=None if users is None else _several("users", users),
        overlap=overlap,
        restart=restart,
        max_concurrent_accounts=max_concurrent_accounts,
        commit_interval=commit_interval,
    )


def _several(name: str, ids: Iterable[str]) -> tuple[str, ...]:
    if isinstance(ids, str):
        raise InvalidArgumentError(f"{name} must be several ids, such as a list")
    several = tuple(dict.fromkeys(ids))
    for id in several:
        check_token(id, f"one of the {name}", InvalidArgumentError)
    return several


def _moment(value: datetime | date | str) -> str:
    try:
        if isinstance(value, str):
            value = datetime.fromisoformat(value)
        if not isinstance(value, datetime):
            value = datetime(value.year, value.month, value.day, tzinfo=UTC)
        return to_wire(value if value.tzinfo is not None else value.replace(tzinfo=UTC))
    except ValueError:
        raise InvalidArgumentError(f"since must be a date or a moment, not {value!r:.60}") from None
