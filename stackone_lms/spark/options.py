"""What the Spark source was asked for: its options, checked before anything is sent."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, TypeAlias
from urllib.parse import unquote

from ..batches import Connect, Slice
from ..batches.scan import account_ids_of
from ..batches.slices import refuse_twice
from ..configuration import as_secret, check_api_key, check_base_url, from_environment, numbers_from_environment
from ..errors import ConfigurationError, InvalidArgumentError
from ..export.accounts import listed_accounts
from ..export.options import account_ids, duration, wire_moment
from ..options import DEFAULT_RATE_LIMIT, DEFAULT_RETRY, DEFAULT_TIMEOUT, RateLimit
from ..shared_limit import SharedLimit

OnError: TypeAlias = Literal["fail", "skip", "row"]

_ACCOUNTS: Final = ("accounts", "accountsPath", "allAccounts")
_BATCH_ONLY: Final = ("partitions", "pushdown")
_STREAM_ONLY: Final = ("lag", "pollInterval")


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyedConnect(Connect):
    """A `Connect` that holds the key itself, since an executor has no place where it could find one.

    It pickles with the key, and shows it nowhere.
    """

    api_key: str = field(repr=False)
    """The key."""

    def _key(self) -> str:
        return self.api_key


class Options(NamedTuple):
    """The options of the source."""

    resource: str
    """Name of the list."""
    accounts: tuple[str, ...] | None
    """The accounts; None: all that are active, looked up when a query begins."""
    connect: KeyedConnect
    """How the API is reached, with the whole limit of the key."""
    limit: RateLimit | SharedLimit
    """That limit."""
    partitions: int
    """Tasks of a batch query at most."""
    accounts_at_once: int | None
    """Accounts under way in each of them."""
    updated_after: str | None
    """Only records changed after it."""
    filters: Mapping[str, str]
    """Filters of the list."""
    page_size: int
    """Records a page."""
    batch_rows: int | None
    """Records of a record batch, or of a micro-batch."""
    pushdown: bool
    """Whether filters of the query narrow what is asked for."""
    on_error: OnError | None
    """What becomes of a list that fails."""
    lag: timedelta
    """How old a change is before a stream delivers it."""
    poll_interval: timedelta
    """From the beginning of a round to that of the next one."""
    given: frozenset[str]
    """Names of the options that were given."""

    def for_batch(self) -> Options:
        """Check that it can be read at once.

        Raises:
            InvalidArgumentError: An option is for streams.
        """
        return self._without(_STREAM_ONLY, "spark.readStream")

    def for_stream(self) -> Options:
        """Check that it can be a stream.

        Raises:
            InvalidArgumentError: An option is for batches.
        """
        if self.on_error == "row":
            raise InvalidArgumentError("onError=row is for spark.read; a stream tells of failed lists in its offsets")
        return self._without(_BATCH_ONLY, "spark.read: a stream reads in one process beside the driver")

    def _without(self, names: Iterable[str], place: str) -> Options:
        for name in names:
            if name in self.given:
                raise InvalidArgumentError(f"the option {name} is for {place}")
        return self

    def shared_by(self, processes: int) -> KeyedConnect:
        """Return how each of some processes reaches the API so that they keep to the limit of the key together."""
        limit = self.limit
        if isinstance(limit, RateLimit):
            # One at a time: processes come and go, and each new one would begin with a burst.
            limit = RateLimit(limit.requests, limit.per, burst=1, share=1 / processes)
        return replace(self.connect, rate_limit=limit)

    def slice(self, account: str, columns: tuple[str, ...] | None) -> Slice:
        """Return the list of an account."""
        return Slice(
            self.resource,
            account,
            updated_after=self.updated_after,
            filters=self.filters,
            columns=columns,
            page_size=self.page_size,
        )


def read_options(given: Mapping[str, str]) -> Options:
    """Check the options of a query; the name of the list is what was given to `load()`.

    Args:
        given: By names of any case, as Spark passes them on.

    Raises:
        InvalidArgumentError: An option is unknown, or cannot be.
        ConfigurationError: The key is missing, or the limit cannot be used.
    """
    by_name = {name.lower(): name for name in _CHECKS}
    options: dict[str, Any] = {}
    for lowered, value in given.items():
        if lowered.lower() == "path":
            continue
        name = by_name.get(lowered.lower())
        if name is None:
            raise InvalidArgumentError(f"there is no option {lowered!r:.60}; there are: {', '.join(_CHECKS)}")
        options[name] = value
    path = next((value for name, value in given.items() if name.lower() == "path"), None)
    if not path:
        raise InvalidArgumentError('name the list: .load("completions")')
    names = frozenset(options)
    accounts = _accounts(options)
    checked = {name: _CHECKS[name](name, value) for name, value in options.items() if name not in _ACCOUNTS}
    timeout, retry, standard = numbers_from_environment(DEFAULT_TIMEOUT, DEFAULT_RETRY, DEFAULT_RATE_LIMIT)
    requests = checked.get("requestsPerMinute", standard.requests)
    url = checked.get("limitUrl")
    connect = KeyedConnect(
        api_key=_key(checked.get("apiKey")),
        base_url=check_base_url(checked.get("baseUrl")).geturl(),
        timeout=timeout,
        retry=retry,
    )
    found = Options(
        resource=path,
        accounts=accounts,
        connect=connect,
        limit=RateLimit(requests) if url is None else SharedLimit.from_url(url, requests=requests),
        partitions=checked.get("partitions", 8),
        accounts_at_once=checked.get("accountsAtOnce"),
        updated_after=checked.get("updatedAfter"),
        filters={"status": checked["status"]} if "status" in checked else {},
        page_size=checked.get("pageSize", 100),
        batch_rows=checked.get("batchRows"),
        pushdown=checked.get("pushdown", False),
        on_error=checked.get("onError"),
        lag=checked.get("lag", timedelta(minutes=10)),
        poll_interval=checked.get("pollInterval", timedelta(minutes=10)),
        given=names,
    )
    found.slice("any", None)  # checks the name of the list, its filters, the size of a page
    return found


def _key(given: str | None) -> str:
    key = as_secret(from_environment(given, "STACKONE_API_KEY"))
    if key is None:
        raise ConfigurationError(
            'no API key: pass .option("apiKey", ...), from a secret scope, or set STACKONE_API_KEY for the driver'
        )
    return as_secret(check_api_key(key))


def _accounts(options: Mapping[str, str]) -> tuple[str, ...] | None:
    kinds = [name for name in _ACCOUNTS if name in options]
    if len(kinds) != 1:
        problem = f"give only one of {' and '.join(kinds)}" if kinds else "name the accounts"
        raise InvalidArgumentError(f"{problem}: accounts=ID,ID or accountsPath=FILE or allAccounts=true")
    (kind,) = kinds
    value = options[kind]
    if kind == "accounts":
        return account_ids_of([part.strip() for part in value.split(",") if part.strip()])
    if kind == "accountsPath":
        several = listed_accounts(_path(value))
        refuse_twice(f"{value:.200}: the account", several)
        return account_ids(several)
    if not _flag(kind, value):
        raise InvalidArgumentError("allAccounts=false names no accounts: give accounts or accountsPath")
    return None


def _path(value: str) -> Path:
    """Return the path of a file, which Spark's users also write as file:///PATH."""
    scheme, colon, rest = value.partition("://")
    if not colon:
        return Path(value)
    if scheme.lower() != "file" or not rest.startswith("/"):
        raise InvalidArgumentError(
            f"accountsPath must be a file that the driver can open, as /PATH or file:///PATH, not {value!r:.200}; "
            "Databricks has its volumes at /Volumes"
        )
    return Path(unquote(rest))


def _text(name: str, value: str) -> str:
    if not value.strip():
        raise InvalidArgumentError(f"the option {name} is empty")
    return value


def _secret(name: str, value: str) -> str:
    return as_secret(_text(name, value))


def _flag(name: str, value: str) -> bool:
    if value.strip().lower() not in {"true", "false"}:
        raise InvalidArgumentError(f"the option {name} must be true or false, not {value!r:.60}")
    return value.strip().lower() == "true"


def _count(name: str, value: str) -> int:
    if not re.fullmatch(r"0*[1-9][0-9]{0,8}", value.strip()):
        raise InvalidArgumentError(f"the option {name} must be a whole number, 1 or more, not {value!r:.60}")
    return int(value)


def _moment(name: str, value: str) -> str | None:
    return wire_moment(f"the option {name}", value.strip())


def _span(name: str, value: str) -> timedelta:
    return duration(f"the option {name}", value)


def _on_error(name: str, value: str) -> str:
    chosen = value.strip().lower()
    if chosen not in {"fail", "skip", "row"}:
        raise InvalidArgumentError(f"the option {name} must be fail, skip or row, not {value!r:.60}")
    return chosen


_CHECKS: Final[Mapping[str, Callable[[str, str], Any]]] = {
    "accounts": _text,
    "accountsPath": _text,
    "allAccounts": _flag,
    "apiKey": _secret,
    "baseUrl": _text,
    "partitions": _count,
    "accountsAtOnce": _count,
    "requestsPerMinute": _count,
    "limitUrl": _secret,
    "updatedAfter": _moment,
    "status": _text,
    "pageSize": _count,
    "batchRows": _count,
    "pushdown": _flag,
    "onError": _on_error,
    "lag": _span,
    "pollInterval": _span,
}
