"""Taking accounts out of a target for good: afterwards their bytes are nowhere in it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

import msgspec

from ..errors import ExportError
from .options import account_ids, seconds
from .state.manifest import ListEntry
from .state.storage import locked
from .state.store import clear_lists, erase, load, name_failed_accounts
from .stores.address import read_options, read_work, store_access
from .targets.base import Target
from .targets.choose import find_target


class Forgotten(msgspec.Struct, frozen=True, kw_only=True):
    """What was taken out of a target."""

    account_id: str
    """The linked account."""
    lists: int
    """How many of its lists the target knew of; 0: nothing of the account was there."""
    records: int
    """How many records they had."""


def forget(
    target: str | os.PathLike[str],
    accounts: str | Iterable[str],
    *,
    lock_timeout: float = 60.0,
    work: str | os.PathLike[str] | None = None,
    store_options: Mapping[str, str] | None = None,
    break_lock: bool = False,
) -> tuple[Forgotten, ...]:
    """Take everything of some accounts out of a target, as a request for deletion asks for.

    Afterwards neither their records nor their ids stand in any file below the target: files, tables, journals of
    exports under way, manifest, and the file of failed accounts. An SQLite file is overwritten and vacuumed, a DuckDB
    file is rewritten, so that free space in them holds nothing either. The other accounts stay as they are. Copies made
    elsewhere, backups, and reports, are not known here. It can be interrupted: the same call goes on.

    Args:
        target: A folder, a place in a store, `duckdb:FILE` or `sqlite:FILE`.
        accounts: The ids of the linked accounts.
        lock_timeout: Seconds to wait for a database that somebody else is using.
        work: Of a store: the folder of its journals, which may hold records of lists that failed.
        store_options: Of a store; see `ExportOptions`.
        break_lock: Of a store: take the place of an export that was broken off elsewhere.

    Returns:
        What was there of each account.

    Raises:
        InvalidArgumentError: Before any I/O: it is no target, or there are no accounts.
        ExportError: There is no export, another one is under way, or it cannot be written to.
    """
    ids = account_ids(accounts)
    timeout = seconds("lock_timeout", lock_timeout)
    folder, options = read_work("work", work), read_options("store_options", store_options)
    found = find_target(target, store_access(target, folder, options, break_lock=break_lock, write=True))
    found.prepare()
    found.lock_timeout = timeout
    if not found.exists():
        raise ExportError("there is no export")
    with locked(found.work / "lock"):
        found.acquire()
        entries = _entries(found)
        known = [[entry for entry in entries if entry.account_id == account] for account in ids]
        found.remove(ids, erase=True)
        clear_lists(found.work, ids)
        erase(found.files, found.work, ids)
        state = load(found.files, found.work, found.format)
        name_failed_accounts(found.failed_accounts_path, state or ())
        found.release()
    return tuple(
        Forgotten(account_id=account, lists=len(some), records=sum(entry.records for entry in some))
        for account, some in zip(ids, known, strict=True)
    )


def _entries(target: Target) -> list[ListEntry]:
    """Return what the target knows of each list, whichever of the two places says so."""
    state = load(target.files, target.work, target.format)
    found = {entry.key: entry for entry in state or ()}
    found |= {entry.key: entry for entry in target.entries() or ()}
    return [*found.values()]
