"""The options of an export: every one, its default and its check."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Final, TypedDict, cast

from ..calls.lists import AsyncPager
from ..checks import known_keywords, whole_number
from ..configuration import check_token
from ..errors import InvalidArgumentError
from ..models.accounts import LinkedAccount
from ..models.base import to_wire
from .accounts import read_accounts
from .lists import ListResource, find, resources
from .outcome import ProgressCallback
from .plan import FailureLimit, Plan
from .stores.address import read_options, read_work, store_access
from .targets.choose import make_target
from .targets.delta import Delta

ALL: Final = "all"
"""Stands for every list of an account; the lists of each user have to be named."""
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


class ExportOptions(TypedDict, total=False):
    """The options of `export`."""

    accounts: Iterable[str | LinkedAccount] | AsyncPager[LinkedAccount] | os.PathLike[str]
    """The linked accounts: their ids, records, a pager of them, or a file that names them (see `read_accounts`).
    Each is listed by itself, many at once. Default: the account of the client."""
    format: str
    """Of a folder: `parquet` (the default), `jsonl` or `csv`."""
    since: datetime | date | str | None
    """Only records changed after this moment, merged into what is there; a date counts in UTC."""
    incremental: bool
    """Fetch only what changed since the last export to this target, and merge it in by id."""
    full_every: timedelta | str | None
    """Of incremental exports: fetch a list whole where that was done longer ago than this, such as `7d`. It is how
    deletions are noticed. Default: 7 days for lists with records that do not tell when they were changed."""
    fields: str | Iterable[str] | None
    """Names of the fields to export; `id` and `updated_at` come along. Default: all."""
    raw: bool
    """Export the provider calls behind the pages too, as a resource of its own, such as `completions.calls`."""
    users: Iterable[str] | None
    """For lists of users: whose lists. Default: all users of the account."""
    page_size: int
    """Records a page. Default: 100."""
    overlap: timedelta | str
    """How far an incremental run reaches back behind the newest change known. Default: 10 minutes."""
    resume_within: timedelta | str
    """After a crash or Ctrl-C: how old the interrupted export may be to be gone on with. Default: 24 hours."""
    restart: bool
    """Begin anew, whatever an interrupted export left."""
    retry_failed: bool
    """Only the lists that failed last, from where they stopped; without `accounts` those of all accounts."""
    max_failures: int | str
    """How many accounts may fail for the result to be `acceptable`: a number, or a share of all such as `1%`.
    Default: 0."""
    summary: str | os.PathLike[str] | None
    """A file for what became of each list, as JSON; see `ExportResult.to_dict`. There is none while the export runs."""
    prune: bool
    """Remove what the target holds of accounts that are not asked for, when every list was tried."""
    change_feed: bool
    """Of Delta tables: turn on their change data feed, which stays on."""
    optimize: bool
    """Of Delta tables: put small files together when every list was tried."""
    max_concurrent_accounts: int | None
    """Accounts under way at a time. Default: as many as the rate limit has room for."""
    commit_interval: float
    """How often what was fetched is made durable: the most that a crash can cost. Default: 1 second."""
    lock_timeout: float
    """Seconds to wait for a database that somebody else is writing to. Default: 60."""
    work: str | os.PathLike[str] | None
    """Of a target in a store: a folder on this machine for the journals, one for each target."""
    store_options: Mapping[str, str] | None
    """Of a target in a store: options of obstore such as `endpoint` and `region`. What is not given is taken from the
    environment, such as `AWS_ACCESS_KEY_ID`."""
    break_lock: bool
    """Of a target in a store: take the place of an export that holds it, which was broken off and whose work folder is
    lost."""
    progress: ProgressCallback | None
    """Called on the client's event loop after every page with an `ExportProgress`."""


def make_plan(names: str | Iterable[str], target: str | os.PathLike[str], options: Mapping[str, Any]) -> Plan:
    """Check what was asked for, all of it.

    Args:
        names: Names of resources; `all` for every list of an account.
        target: Where to.
        options: Those of `ExportOptions`.

    Raises:
        TypeError: There is no such option.
        InvalidArgumentError: It cannot be done.
    """
    known_keywords("export", options, _CHECKS)
    checked = {name: _CHECKS[name](name, value) for name, value in options.items()}
    form = checked.pop("format", "parquet")
    own = {name: checked.pop(name) for name in ("work", "store_options", "break_lock") if name in checked}
    access = store_access(target, **own, write=True)
    made = make_target(target, form, access, change_feed=checked.pop("change_feed", False))
    plan = Plan(resources=_resources(names), target=made, **checked)
    if plan.optimize and not isinstance(plan.target, Delta):
        raise InvalidArgumentError("optimize is for Delta tables, such as delta:lake")
    if plan.since is not None and plan.incremental:
        raise InvalidArgumentError("since and incremental exclude each other: incremental knows since when")
    if plan.full_every is not None and not plan.incremental:
        raise InvalidArgumentError("full_every is for incremental exports; any other fetches every list whole")
    if plan.prune and plan.retry_failed:
        raise InvalidArgumentError("prune and retry_failed exclude each other: prune needs the accounts, all of them")
    if plan.users is not None and not any(resource.of_users for resource in plan.resources):
        raise InvalidArgumentError("users narrows lists of users only, such as users.completions")
    return plan


def _resources(names: str | Iterable[str]) -> tuple[ListResource, ...]:
    given = [names] if isinstance(names, str) else texts("resources", names)
    if not given:
        raise InvalidArgumentError("name at least one resource")
    every = [name for name, resource in sorted(resources().items()) if not resource.of_users]
    found = [one for name in given for one in (every if name == ALL else [name])]
    return tuple(find(name) for name in dict.fromkeys(found))


# One check an option: it returns the value in the form that `Plan` has it.


def texts(name: str, value: Any) -> list[str]:
    """Return several texts as a list.

    Raises:
        InvalidArgumentError: They are none, or a single text.
    """
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        raise InvalidArgumentError(f"{name} must be several texts, such as a list, not {value!r:.60}")
    found = list(cast("Iterable[Any]", value))
    if strange := [one for one in found if not isinstance(one, str)]:
        raise InvalidArgumentError(f"{name} must be texts, not {strange[0]!r:.60}")
    return found


def account_ids(value: Any) -> tuple[str, ...]:
    """Return the ids of some accounts, one or several of them.

    Raises:
        InvalidArgumentError: There are none, or they cannot be ids.
    """
    return tuple(_accounts("accounts", [value] if isinstance(value, str) else value))


def _accounts(name: str, value: Any) -> dict[str, str | None]:
    called: dict[Any, str] = {}
    if isinstance(value, os.PathLike):
        value = read_accounts(Path(cast("os.PathLike[str]", value)))
    elif isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping):
        several = list(cast("Iterable[object]", value))
        called = {one.id: one.name for one in several if isinstance(one, LinkedAccount) and one.name != one.id}
        value = [one.id if isinstance(one, LinkedAccount) else one for one in several]
    ids = _ids(name, value)
    if not ids:
        raise InvalidArgumentError("name at least one account")
    return {id: called.get(id) for id in ids}


def _ids(name: str, value: Any) -> tuple[str, ...]:
    several = tuple(dict.fromkeys(texts(name, value)))
    for id in several:
        check_token(id, f"{id!r:.80}, one of the {name},", InvalidArgumentError)
    return several


def _users(name: str, value: Any) -> tuple[str, ...] | None:
    return None if value is None else _ids(name, value)


def _fields(name: str, value: Any) -> tuple[str, ...] | None:
    if value is None:
        return None
    parts = value.split(",") if isinstance(value, str) else texts(name, value)
    return tuple(dict.fromkeys(part.strip() for part in parts if part.strip())) or None


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise InvalidArgumentError(f"{name} must be True or False, not {value!r:.60}")
    return value


def _count(name: str, value: Any) -> int:
    return whole_number(name, value, at_least=1)


def _count_or_none(name: str, value: Any) -> int | None:
    return None if value is None else _count(name, value)


def seconds(name: str, value: Any) -> float:
    """Check a number of seconds.

    Raises:
        InvalidArgumentError: It is none, or negative, or has no end.
    """
    good = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf
    if not good:
        raise InvalidArgumentError(f"{name} must be seconds, 0 or more, not {value!r:.60}")
    return float(value)


def duration(name: str, value: Any) -> timedelta:
    """Read a span of time: a timedelta, or a text such as `90m`, `24h`, `7d`.

    Raises:
        InvalidArgumentError: It is none of these, or negative.
    """
    if isinstance(value, str) and (match := re.fullmatch(r"(\d{1,9})([smhdw])", value.strip())):
        value = timedelta(**{_UNITS[match[2]]: int(match[1])}) if int(match[1]) < 10**6 else None
    if not isinstance(value, timedelta) or value < timedelta(0):
        raise InvalidArgumentError(f"{name} must be a span of time such as 90m, 24h or 7d, not {value!r:.60}")
    return value


def _duration_or_none(name: str, value: Any) -> timedelta | None:
    return None if value is None else duration(name, value)


def wire_moment(name: str, value: Any) -> str | None:
    """Read a date or a moment, a text of one too, and return it as it is sent; None for None.

    Raises:
        InvalidArgumentError: It is none of these.
    """
    if value is None:
        return None
    try:
        if isinstance(value, str):
            value = datetime.fromisoformat(value)
        if isinstance(value, date) and not isinstance(value, datetime):
            value = datetime(value.year, value.month, value.day, tzinfo=UTC)
        if isinstance(value, datetime):
            return to_wire(value if value.tzinfo is not None else value.replace(tzinfo=UTC))
    except (ValueError, OverflowError):
        pass
    raise InvalidArgumentError(f"{name} must be a date or a moment such as 2026-01-31, not {value!r:.60}")


def _failure_limit(name: str, value: Any) -> FailureLimit:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return FailureLimit(value)
    match = re.fullmatch(r"(\d{1,9})|(\d{1,3}(?:\.\d{1,9})?)%", value.strip()) if isinstance(value, str) else None
    if match is None or float(match[2] or 0) > 100:
        raise InvalidArgumentError(f"{name} must be a number of accounts, or a share such as 1%, not {value!r:.60}")
    return FailureLimit(float(match[1] or match[2]), percent=match[2] is not None)


def _file_or_none(name: str, value: Any) -> Path | None:
    if value is None:
        return None
    text = os.fspath(cast("os.PathLike[str]", value)) if isinstance(value, str | os.PathLike) else None
    if not isinstance(text, str) or not text.strip() or "\0" in text:
        raise InvalidArgumentError(f"{name} must be the path of a file, not {value!r:.60}")
    path = Path(text).expanduser()
    if path.is_dir():
        raise InvalidArgumentError(f"{name}: {text!r:.200} is a folder")
    return path


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise InvalidArgumentError(f"{name} must be a text, not {value!r:.60}")
    return value


def _callback(name: str, value: Any) -> ProgressCallback | None:
    if value is not None and not callable(value):
        raise InvalidArgumentError(f"{name} must be a function, not {value!r:.60}")
    return cast("ProgressCallback | None", value)


_CHECKS: Final[Mapping[str, Callable[[str, Any], Any]]] = {
    "accounts": _accounts,
    "format": _text,
    "since": wire_moment,
    "incremental": _flag,
    "full_every": _duration_or_none,
    "fields": _fields,
    "raw": _flag,
    "users": _users,
    "page_size": _count,
    "overlap": duration,
    "resume_within": duration,
    "restart": _flag,
    "retry_failed": _flag,
    "max_failures": _failure_limit,
    "summary": _file_or_none,
    "prune": _flag,
    "change_feed": _flag,
    "optimize": _flag,
    "max_concurrent_accounts": _count_or_none,
    "commit_interval": seconds,
    "lock_timeout": seconds,
    "work": read_work,
    "store_options": read_options,
    "break_lock": _flag,
    "progress": _callback,
}
