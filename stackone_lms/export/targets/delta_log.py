"""What the log of a Delta table says about lists: each commit of an export tells, beside its rows, how far they are.

Commits of ours carry, in their own information under `stackone_lms`, what is known about the lists that they write, as
JSON; some of them about all lists, so that nobody has to read on. A log forgets its old commits, after 30 days by
default: what was known then is known no more, and such lists are fetched whole. An application transaction, which
stays, tells that a table is one of an export, and keeps two exports from writing over each other.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

import msgspec

from ..state.manifest import ListEntry

APP: Final = "stackone-lms"
"""The application of the transactions."""
KEY: Final = "stackone_lms"
"""Where a commit tells what it is about."""
_AT_FIRST: Final = 20
"""Commits that are read first."""
_ALL_EVERY: Final = 7 * 24 * 3600 * 1000
"""Milliseconds after which a commit tells of all lists again."""
_AT_LEAST: Final = 50
"""Lists that may be told of one by one before a commit tells of all."""
_RESTORE: Final = "RESTORE"


class _Told(msgspec.Struct):
    """What a commit tells."""

    run: str = ""
    """The run that made it."""
    all: bool = False
    """Whether it is about all lists that there are."""
    lists: list[ListEntry] = []
    gone: list[str] = []
    """Accounts of which nothing is there any more."""


class Marks:
    """What is known about the lists of a table, by account."""

    def __init__(self) -> None:
        self.entries: dict[str, ListEntry] = {}
        self._since = 0
        """Lists told of since a commit told of all."""
        self._all_at = 0
        """When one did, in milliseconds."""

    @classmethod
    def read(cls, table: Any) -> Marks:
        """Read what the commits of a table tell, from the last one back to one that tells of all lists."""
        marks, limit = cls(), _AT_FIRST
        while True:
            history: list[dict[str, Any]] = table.history(limit)
            whole = marks._read(history)
            if whole or len(history) < limit:
                return marks
            limit *= 8

    def _read(self, history: Iterable[Mapping[str, Any]]) -> bool:
        """Take commits, the last one first; tell whether one of them was about all lists."""
        self.entries, self._since, gone = {}, 0, set[str]()
        back_to: int | None = None
        for commit in history:
            if back_to is not None and commit["version"] > back_to:
                continue  # the table was set back to before it
            if commit.get("operation") == _RESTORE:
                version = str(commit.get("operationParameters", {}).get("version") or "")
                if not version.isdigit():
                    return True
                back_to = int(version)
                continue
            told = _told(commit)
            for entry in told.lists:
                if entry.account_id not in gone:
                    self.entries.setdefault(entry.account_id, entry)
            gone.update(told.gone)
            self._since += len(told.lists)
            if told.all:
                self._all_at = commit.get("timestamp", 0)
                return True
        return False

    def commit(self, run: str, entries: Iterable[ListEntry], gone: Collection[str], *, all: bool) -> dict[str, Any]:
        """Take over what a commit is about to write; return what it tells."""
        told = [*entries]
        self.entries |= {entry.account_id: entry for entry in told}
        for account in gone:
            self.entries.pop(account, None)
        now = int(time.time() * 1000)
        self._since += len(told) + len(gone)
        all = all or self._since > max(_AT_LEAST, len(self.entries)) or now - self._all_at > _ALL_EVERY
        if all:
            told, gone, self._since, self._all_at = [*self.entries.values()], (), 0, now
        about: dict[str, Any] = {"run": run, "lists": [_plain(entry) for entry in told]}
        return {KEY: {**about, **({"all": True} if all else {}), **({"gone": [*gone]} if gone else {})}}


def _told(commit: Mapping[str, Any]) -> _Told:
    try:
        return msgspec.convert(commit.get(KEY, {}), _Told)
    except msgspec.ValidationError:  # somebody else calls something by the same name
        return _Told()


def _plain(entry: ListEntry) -> dict[str, Any]:
    """Return what is not as it is by default."""
    usual = msgspec.to_builtins(ListEntry(resource="", account_id=""))
    return {name: value for name, value in msgspec.to_builtins(entry).items() if value != usual.get(name, "")}
