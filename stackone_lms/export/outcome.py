"""What an export tells: how far it is, and what became of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import msgspec

from ..errors import StackOneError, key_refused, printable
from .state.manifest import SkippedUser

State: TypeAlias = Literal["waiting", "fetching", "writing", "done", "failed"]


def called(account_id: str, account_name: str | None) -> str:
    """Return what to call an account for people."""
    return account_id if account_name is None else f"{printable(account_name)} ({account_id})"


class OfAccount(msgspec.Struct, frozen=True, kw_only=True):
    """Something about one list."""

    resource: str
    """As on a client: `completions`, `users.completions`."""
    account_id: str
    """The linked account."""
    account_name: str | None = None
    """Its name, where the export was given accounts with names (`LinkedAccount.name`), now or before."""

    @property
    def account(self) -> str:
        """What to call the account for people: its name, if there is one, and its id."""
        return called(self.account_id, self.account_name)


class ExportProgress(OfAccount, frozen=True, kw_only=True):
    """How far one list is; given to `progress=` after every page."""

    state: State
    """What is being done."""
    records: int
    """Records fetched."""
    total: float | None = None
    """How many there will be, where the API tells: courses and content."""
    accounts: int = 0
    """Accounts of this run."""
    accounts_done: int = 0
    """Those of which every list was tried."""
    lists: int = 0
    """Lists of this run."""
    lists_done: int = 0
    """Those that were tried."""


ProgressCallback: TypeAlias = Callable[[ExportProgress], object]
"""What `progress=` takes; called on the client's event loop, so it has to be quick."""


class ListOutcome(OfAccount, frozen=True, kw_only=True):
    """What became of one list."""

    records: int
    """Records that the target holds now."""
    fetched: int
    """Records that came, in all tries of this run together."""
    superseded: int = 0
    """Records superseded by a later version of the same."""
    missing_users: int = 0
    """Users whose list was asked for and not found, of lists of users."""
    skipped_users: tuple[SkippedUser, ...] = ()
    """Users whose list could not be read, of lists of users: their records are missing, those of the others are not."""
    undated: int = 0
    """Records that do not tell when they were changed; see `full_every`."""
    replaced: int = 0
    """Records fetched in which half of a character stood, cut within an emoji; U+FFFD stands in its place, in ids its
    escape, so that two of them stay two."""
    whole_because: str | None = None
    """Why it was fetched whole where less was asked for."""
    new: int = 0
    """Records that were not there before."""
    changed: int = 0
    """Records that were there before with other values."""
    seconds: float = 0.0
    """How long it took this time."""
    error: StackOneError | None = None
    """Why it did not reach its end; the target holds what it held before."""

    @property
    def key_refused(self) -> bool:
        """Whether the API key was not accepted, so that it could not be tried to its end."""
        return key_refused(self.error)

    @property
    def ok(self) -> bool:
        """Whether it is complete."""
        return self.error is None and not self.skipped_users

    @property
    def state(self) -> str:
        """One of `complete`, `partial` (some users are missing), `failed` and `interrupted` (not tried to its end)."""
        if self.error is None:
            return "partial" if self.skipped_users else "complete"
        return "interrupted" if self.key_refused else "failed"

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values, for JSON."""
        error, failure = self.error, None
        if error is not None:
            failure = {
                "type": type(error).__name__,
                "message": error.message,
                "status": error.status if isinstance(error.status, int) else None,
                "request_id": error.request_id,
                "account_id": self.account_id,
            }
        return {
            "resource": self.resource,
            "account_id": self.account_id,
            "account_name": self.account_name,
            "state": self.state,
            "records": self.records,
            "fetched": self.fetched,
            "new": self.new,
            "changed": self.changed,
            "undated": self.undated,
            "replaced": self.replaced,
            "missing_users": self.missing_users,
            "skipped_users": [msgspec.structs.asdict(one) for one in self.skipped_users],
            "whole_because": self.whole_because,
            "seconds": round(self.seconds, 3),
            "failure": failure,
        }

    @property
    def dropped(self) -> int:
        """Former name of `superseded`; it goes in the next release."""
        return self.superseded

    @property
    def gone_users(self) -> int:
        """Former name of `missing_users`; it goes in the next release."""
        return self.missing_users


class ExportResult(msgspec.Struct, frozen=True, kw_only=True):
    """What became of an export."""

    lists: tuple[ListOutcome, ...]
    """Every list asked for, in the order asked for."""
    seconds: float
    """How long it took this time."""
    interrupted: bool = False
    """Whether it ended before every list was tried, since the API key is not accepted; the same call goes on."""
    pruned_accounts: tuple[str, ...] = ()
    """The accounts whose data were removed, with `prune`."""
    max_failed_accounts: int = 0
    """How many accounts may fail, by `max_failures`."""

    @property
    def ok(self) -> bool:
        """Whether all lists are complete."""
        return all(outcome.ok for outcome in self.lists)

    @property
    def acceptable(self) -> bool:
        """Whether every list was tried, and no more accounts failed than `max_failures` allows."""
        return not self.interrupted and len(self.failed_accounts) <= self.max_failed_accounts

    @property
    def failures(self) -> tuple[ListOutcome, ...]:
        """The lists that did not reach their end."""
        return tuple(outcome for outcome in self.lists if not outcome.ok)

    @property
    def failed_accounts(self) -> tuple[str, ...]:
        """The accounts with such a list, each once."""
        return tuple(dict.fromkeys(outcome.account_id for outcome in self.failures))

    @property
    def records(self) -> int:
        """Records that the target holds of these lists."""
        return sum(outcome.records for outcome in self.lists)

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values, for JSON: what `summary` writes."""
        return {
            "ok": self.ok,
            "acceptable": self.acceptable,
            "interrupted": self.interrupted,
            "seconds": round(self.seconds, 3),
            "records": self.records,
            "failed_accounts": list(self.failed_accounts),
            "pruned_accounts": list(self.pruned_accounts),
            "lists": [one.to_dict() for one in self.lists],
        }
