"""What every target offers: a folder of files, or a database."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

from ..formats.base import CheckCancelled
from ..lists import ListResource
from ..records.keys import DuplicateScan
from ..state.files import Files
from ..state.journal import Journal
from ..state.manifest import NAME, FileEntry, ListEntry, parsed
from ..state.store import partition

FAILED_ACCOUNTS: Final = "failed-accounts.txt"
CALLS: Final = ".calls"
"""Added to the name of a resource: the provider calls behind it, with `raw`."""


class WriteResult(NamedTuple):
    """What became of the records of a list."""

    duplicates: DuplicateScan
    """What was found in them."""
    records: int
    """How many there are now."""
    files: list[FileEntry]
    """Where they are."""
    new: int = 0
    """How many of them were not there before."""
    changed: int = 0
    """How many of them were there before with other values."""


class WriteOptions(NamedTuple):
    """How the records of a list are written."""

    run: str
    """What tells this run from others."""
    exported_at: datetime
    """When this run began."""
    before: ListEntry | None
    """What the target holds of the list already, as far as is known."""
    merge: bool
    """Whether the records are changes to that, or of a part of the list; else they replace it."""
    check_cancelled: CheckCancelled
    """Called now and then; raises to end the writing."""


class ListJob(NamedTuple):
    """A list to be exported."""

    resource: ListResource
    """Which."""
    account: str
    """Of which linked account."""
    account_name: str | None = None
    """What that is called, if it is known."""

    @property
    def folder(self) -> Path:
        """Where it stands in a data set, relative to its folder."""
        return partition(self.resource.name, self.account)

    @property
    def key(self) -> tuple[str, str]:
        """Resource and account."""
        return self.resource.name, self.account


class TargetCheck(NamedTuple):
    """What was found when a target was compared with what is known about it."""

    files: int
    """Files looked at."""
    records: int
    """Records that should be in them."""
    problems: list[str]
    """What is wrong, a sentence each."""


Describe = Callable[[WriteResult], ListEntry]
"""Says what is to be remembered about a list."""


class Written(NamedTuple):
    """A list that was written."""

    entry: ListEntry
    """What is to be remembered about it."""
    durable: bool = True
    """False: it is kept, to be written together with others by `flush`."""


class Target:
    """Where an export goes.

    Attributes:
        format: Its name: of the files, or of the database.
        files: The manifest, and the files of a data set.
        work: The folder of the journals.
        lock_timeout: Seconds to wait for somebody else who is writing.
        remote: Whether its files lie elsewhere, so that placing them takes its time.
    """

    format: str
    files: Files
    work: Path
    lock_timeout = 60.0
    remote = False

    @property
    def failed_accounts_path(self) -> Path:
        """Where the ids of the accounts stand of which a list failed last."""
        return self.work / FAILED_ACCOUNTS

    def prepare(self) -> None:
        """Raise ExportError if a package is missing that it needs."""

    def check_access(self) -> None:
        """Raise ExportError if it is elsewhere and cannot be reached, before anything else is asked for."""

    def acquire(self) -> None:
        """Keep others out who would write from other machines.

        Raises:
            ExportError: One of them does.
        """

    def release(self) -> None:
        """Let others in again, if nothing is unfinished."""

    def interruption(self) -> str | None:
        """Say who is writing, or was broken off, as far as the target itself knows."""
        return None

    def open(self, resources: Sequence[ListResource]) -> None:
        """Try what writing needs, before the first request.

        Args:
            resources: What will be written.

        Raises:
            ExportError: It cannot be written to, or holds something else by the name of one of them.
        """

    def entries(self) -> Sequence[ListEntry] | None:
        """Return what the target itself says that it holds; None if nothing but the manifest says so.

        A database that was deleted, restored from a copy, or lost a table says so here.

        Raises:
            ExportError: It cannot be read.
        """
        return None

    def exists(self) -> bool:
        """Tell whether an export was written there, or begun."""
        return self.files.size(NAME) is not None or self.work.exists()

    def damage(self, entry: ListEntry) -> str | None:
        """Say at a glance what is wrong with what it holds of a list; None: nothing."""
        return None

    def write(self, job: ListJob, journal: Journal, options: WriteOptions, describe: Describe) -> Written:
        """Write what a journal holds, so that a crash leaves all of it or nothing; durable when it returns, or kept.

        What is merged into files stands beside them then; `place` puts it in their place.

        Args:
            job: The list.
            journal: Its records, all of them.
            options: How.
            describe: Says what is to be remembered about the list, once it is known what became of its records; a
                target with entries of its own stores it in the same transaction.

        Returns:
            What `describe` gave, or had given when this very journal was written before a crash.

        Raises:
            DamagedError: What it should be merged with is not what was written.
        """
        raise NotImplementedError

    def rest(self) -> None:
        """Let others at it until the next list comes: nothing waits to be written."""

    @property
    def is_full(self) -> bool:
        """Whether so much is kept that it has to be written."""
        return False

    def flush(self) -> Iterable[tuple[ListJob, ListEntry]]:
        """Write what is kept; return what is to be remembered about each of those lists. Their journals are there."""
        return ()

    def optimize(self, check_cancelled: CheckCancelled) -> int:
        """Put small files together, where that can be done; return how many there are fewer."""
        return 0

    def place(self, entry: ListEntry, *, after_crash: bool = False) -> None:
        """Put the files of a list in their places, and take away those that it has no more.

        After a crash they may be there already, and beside them what was not written to its end.
        """

    def remove(self, accounts: Sequence[str], *, erase: bool) -> None:
        """Take out all records of some accounts, and what the target itself remembers of them.

        Args:
            accounts: The accounts.
            erase: Leave none of their bytes in free space of its files either.

        Raises:
            ExportError: It cannot be written to.
        """
        raise NotImplementedError

    def check(self, entries: Sequence[ListEntry], accounts: Collection[str] | None) -> TargetCheck:
        """Compare what it holds with what is known about it.

        Args:
            entries: What is known.
            accounts: Whose records are looked at, those of all if None.
        """
        raise NotImplementedError

    def columns(self, entry: ListEntry, names: Sequence[str]) -> Iterator[Mapping[str, Sequence[Any]]]:
        """Yield the values of some columns of a list, some records at a time."""
        raise NotImplementedError


def with_dates_of(found: DuplicateScan, before: ListEntry) -> DuplicateScan:
    """Return what was found in changes, with when records were changed that were there before."""
    return found._replace(
        oldest=min(filter(None, (found.oldest, parsed(before.oldest_update))), default=None),
        newest=max(filter(None, (found.newest, parsed(before.newest_update))), default=None),
        undated=max(found.undated, before.undated),
    )


def lost(listed: ListEntry, held: ListEntry | None) -> str | None:
    """Say what is wrong with what a target knows of a list, by the manifest, which is never ahead of it."""
    if held is None:
        return f"{listed.resource}, account {listed.account_id}: not there any more"
    if held.finished is not None and listed.finished is not None and held.finished < listed.finished:
        return f"{listed.resource}, account {listed.account_id}: as of {held.finished}, {listed.finished} was exported"
    return None
