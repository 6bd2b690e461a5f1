"""What an export was asked for, and what follows from that for each list."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from ..models.base import to_wire
from .lists import ListResource
from .outcome import ProgressCallback
from .state.manifest import ListEntry
from .targets.base import ListJob, Target

FULL_EVERY: Final = timedelta(days=7)
"""How often a list is fetched whole of which some records do not tell when they were changed."""
_FIRST: Final = datetime.min.replace(tzinfo=UTC)


class FailureLimit(NamedTuple):
    """How many accounts may fail."""

    value: float = 0
    percent: bool = False

    def of(self, accounts: int) -> int:
        """Return how many of so many accounts that are."""
        return math.floor(accounts * self.value / 100 if self.percent else self.value)


class Approach(NamedTuple):
    """How a list is brought up to date."""

    after: str | None
    """The moment after which records are asked for; None: all."""
    merge: bool
    """Whether what comes is merged with what is there; else it takes its place."""
    reason: str | None = None
    """Why it is fetched whole though changes were asked for."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What an export was asked for; see `ExportOptions`."""

    resources: tuple[ListResource, ...]
    target: Target
    accounts: Mapping[str, str | None] = {}
    """Ids of accounts, with their names as far as they are known."""
    since: str | None = None
    incremental: bool = False
    full_every: timedelta | None = None
    fields: tuple[str, ...] | None = None
    raw: bool = False
    users: tuple[str, ...] | None = None
    page_size: int = 100
    overlap: timedelta = timedelta(minutes=10)
    resume_within: timedelta = timedelta(hours=24)
    restart: bool = False
    retry_failed: bool = False
    max_failures: FailureLimit = FailureLimit()
    summary: Path | None = None
    prune: bool = False
    optimize: bool = False
    max_concurrent_accounts: int | None = None
    commit_interval: float = 1.0
    lock_timeout: float = 60.0
    progress: ProgressCallback | None = None

    def parameters(self, base_url: str) -> dict[str, Any]:
        """Return what the manifest says about what was asked for."""
        return {
            "resources": sorted(resource.name for resource in self.resources),
            "accounts": sorted(self.accounts),
            "base_url": base_url,
            "format": self.target.format,
            "incremental": self.incremental,
            **self.list_parameters(),
        }

    def lists_of(self, account: str, name: str | None) -> list[ListJob]:
        """Return the lists of an account, in the order asked for."""
        return [ListJob(resource, account, name) for resource in self.resources]

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

    def approach(self, before: ListEntry | None, damage: str | None, now: datetime) -> Approach:
        """Decide how a list is brought up to date.

        Args:
            before: What the target holds of it; None: nothing.
            damage: What is wrong with that, if anything is.
            now: When it is begun.
        """
        usable = before is not None and damage is None
        if not self.incremental or before is None or not usable:
            return Approach(self.since, merge=self.since is not None and usable, reason=damage)
        since: str | None = before.parameters.get("since")
        differing = differences(before.parameters, self.content_parameters())
        if differing:
            return Approach(None, merge=False, reason=f"it was exported with other options: {'; '.join(differing)}")
        if before.high_water is None:
            return Approach(since, merge=False)
        every = self.full_every
        if every is None and before.undated:
            every = FULL_EVERY
        if every is not None and (before.full is None or now - datetime.fromisoformat(before.full) >= every):
            return Approach(since, merge=False, reason=f"that was not done for {_in_words(every)}")
        return Approach(to_wire(less_overlap(datetime.fromisoformat(before.high_water), self.overlap)), merge=True)

    def content_parameters(self) -> dict[str, Any]:
        """Return the parameters that shape the records of a list."""
        return {
            "fields": sorted(self.fields) if self.fields else None,
            "raw": self.raw,
            "users": sorted(self.users) if self.users is not None else None,
        }

    def asked(self) -> dict[str, Any]:
        """Return what makes another list of it: a list that was completed with the same is what is asked for."""
        return {**self.content_parameters(), "since": self.since, "incremental": self.incremental}

    def list_parameters(self) -> dict[str, Any]:
        """Return the parameters of a list: with others, its cursor and its records mean something else."""
        return {**self.content_parameters(), "since": self.since, "page_size": self.page_size}


def less_overlap(moment: datetime, overlap: timedelta) -> datetime:
    """Return a moment so much earlier, or the first one that there is, which is .NET's default for a moment."""
    return moment - overlap if moment - _FIRST > overlap else _FIRST


def differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Say which parameters differ; of users only how many there are."""
    found: list[str] = []
    for name, value in now.items():
        before = then.get(name)
        if before == value:
            continue
        if name == "users":
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


def _in_words(span: timedelta) -> str:
    return f"{span / timedelta(days=1):g} days" if span >= timedelta(days=1) else f"{span / timedelta(hours=1):g} hours"
