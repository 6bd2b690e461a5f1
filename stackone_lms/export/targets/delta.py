"""Delta Lake as a target: a table a resource, brought up to date by one commit for many lists; extra `delta`."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, Final, NamedTuple, TypedDict

from ...errors import ExportError, InvalidArgumentError, printable
from ..formats.base import CheckCancelled, Inputs
from ..formats.parquet import values_of
from ..lists import ListResource, find
from ..records.arrow import import_pyarrow
from ..records.columns import ACCOUNT
from ..records.history import History, Stamp
from ..records.keys import DuplicateScan, find_duplicates, keys_of_lines
from ..state.files import WORK, Files
from ..state.journal import Journal
from ..state.manifest import NAME, ListEntry
from ..state.storage import wrap_os_errors, write_whole
from ..state.store import DRAFTS, clear
from ..stores.address import allows_http, is_store, parse_address
from ..stores.lock import LOCK, work_of_another
from .base import (
    CALLS,
    FAILED_ACCOUNTS,
    Describe,
    ListJob,
    Target,
    TargetCheck,
    WriteOptions,
    WriteResult,
    Written,
    lost,
    with_dates_of,
)
from .delta_changes import Change
from .delta_library import import_deltalake, speaking
from .delta_storage import RemoteStorage, Storage
from .delta_table import LakeTable, RowCounts
from .tables import CALLS_TABLE, models_by_table, table_spec

KEPT_BYTES: Final = 256 * 1024 * 1024
"""How much of what was fetched, as JSON, is kept for one commit."""
KEPT_LISTS: Final = 20_000
_NOTE: Final = "place"
"""In the work folder of a store: whose it is."""


class DeltaOptions(TypedDict, total=False):
    """Options of the tables."""

    store_options: Mapping[str, str] | None
    """What reaching a store takes, such as `aws_region`."""
    work: Path | None
    """A folder of this machine for the manifest and the journals, of tables in a store."""
    change_feed: bool
    """Whether tables get a change data feed."""


class _Kept(NamedTuple):
    """A list that is kept to be written together with others."""

    job: ListJob
    journal: Journal
    options: WriteOptions
    describe: Describe
    found: DuplicateScan


def _nothing() -> None:
    """Go on."""


class Delta(Target):
    """Delta tables below one place.

    Args:
        place: A folder of this machine, or the URL of a prefix in an object store.
        store_options: What reaching the store takes, such as `aws_region`.
        work: The folder of the manifest and the journals of a store; of a folder they are in it.
        change_feed: Whether tables get a change data feed.
    """

    format = "delta"

    def __init__(
        self,
        place: Path | str,
        *,
        store_options: Mapping[str, str] | None = None,
        work: Path | None = None,
        change_feed: bool = False,
    ) -> None:
        self._place, self._options, self._feed = place, dict(store_options or {}), change_feed
        if isinstance(place, str) and is_store(place) and allows_http(parse_address(place), self._options):
            self._options["allow_http"] = "true"  # it is on this machine, or that was said
        if isinstance(place, Path):
            self.files, self.work = Files(place), place / WORK
        else:
            self.work = work if work is not None else Path(f".stackone-{abs(hash(place))}")
            self.files = Files(self.work)
        self._is_lent = work is None and not isinstance(place, Path)
        self._tables: dict[str, LakeTable] = {}
        self._kept: list[_Kept] = []
        self._bytes = 0
        self._counted: dict[str, Mapping[str, int]] = {}
        self._resources: Sequence[str] = ()

    @property
    def failed_accounts_path(self) -> Path:
        """Where the ids of the accounts stand of which a list failed last: beside the manifest."""
        return self.files.root / FAILED_ACCOUNTS

    def _table(self, name: str) -> LakeTable:
        """Return a table by its name."""
        if name not in self._tables:
            storage: Storage
            if isinstance(self._place, Path):
                storage = Storage(self._place.absolute() / name)
            else:
                storage = RemoteStorage(f"{self._place.rstrip('/')}/{name}", self._options)
            columns = table_spec(name).columns
            self._tables[name] = LakeTable(storage, name, columns, self.work / DRAFTS)
        return self._tables[name]

    def _own(self) -> Iterator[tuple[str, LakeTable]]:
        """Yield the tables of exports that are there, those of provider calls too."""
        for name in sorted(models_by_table()):
            for calls in ("", CALLS_TABLE):
                table = self._table(name + calls)
                if table.exists() and table.is_ours:
                    yield name + calls, table

    def prepare(self) -> None:
        """Raise ExportError if deltalake or pyarrow is missing."""
        import_deltalake()
        import_pyarrow()
        for module in ("pyarrow.parquet", "pyarrow.compute"):
            import_module(module)

    def acquire(self) -> None:
        """Note whose journals are in the work folder of a store.

        Raises:
            ExportError: They are those of another place, whose failed and unfinished lists would be taken for its own.
        """
        if isinstance(self._place, Path) or self._is_lent:
            return
        note, url = self.work / _NOTE, self._place.rstrip("/")
        with wrap_os_errors("reading whose work folder it is"), suppress(FileNotFoundError):
            if (noted := note.read_text("utf-8", "replace")) != url:
                raise work_of_another(printable(noted))
            return
        write_whole(note, url.encode())

    def open(self, resources: Sequence[ListResource]) -> None:
        """Make the tables, so that what is in the way is told before the first request."""
        if self._is_lent:
            raise InvalidArgumentError("a Delta table in an object store needs work=, a folder for what is under way")
        if not isinstance(self._place, Path):
            there = RemoteStorage(self._place, self._options)
            if there.has(NAME) or there.has(LOCK):
                raise ExportError(f"{self._place} holds an export of files: give the tables a prefix of their own")
        names = self._resources = [resource.sql_name for resource in resources]
        for name in (*names, *(name + CALLS_TABLE for name in names)):
            self._table(name).refuse_foreign()
        for name in names:
            self._table(name).make(feed=self._feed)
        for name, table in self._own():
            if name.removesuffix(CALLS_TABLE) in names:
                table.clear_strays()
                table.drop_lost_files()
            if name in names and (counted := table.miscounted(_nothing)) is not None:
                self._counted[name] = counted

    def entries(self) -> Sequence[ListEntry]:
        """Return what the tables say that they hold."""
        return [
            entry
            for name, table in self._own()
            if not name.endswith(CALLS_TABLE)
            for entry in table.marks.entries.values()
        ]

    def exists(self) -> bool:
        """Tell whether an export was written there, or begun."""
        return super().exists() or any(True for _ in self._own())

    def damage(self, entry: ListEntry) -> str | None:
        """Say whether rows of a list are gone, or were added by others."""
        counted = self._counted.get(find(entry.resource).sql_name)
        found = None if counted is None else counted.get(entry.account_id, 0)
        if found is None or found == entry.records:
            return None
        return f"the table has {found:,} records of it, and not {entry.records:,}"

    # Writing

    def write(self, job: ListJob, journal: Journal, options: WriteOptions, describe: Describe) -> Written:
        """Keep the list, to be written together with others: a commit a list would be a file a list."""
        of_users = job.resource.of_users
        found = find_duplicates([partial(keys_of_lines, journal.rows_path, of_users=of_users)])
        self._kept.append(_Kept(job, journal, options, describe, found))
        self._bytes += journal.checkpoint.rows + journal.checkpoint.calls
        return Written(describe(WriteResult(found, found.total - len(found.superseded), [])), durable=False)

    @property
    def is_full(self) -> bool:
        """Whether enough is kept to be written."""
        return self._bytes >= KEPT_BYTES or len(self._kept) >= KEPT_LISTS

    def flush(self) -> Iterable[tuple[ListJob, ListEntry]]:
        """Write what is kept, one commit a table, in the order of their names: so one of two exports goes on.

        While more is to come, tables without news get a commit too, so that another export ends at the first of them.
        """
        names = self._resources if self.is_full else ()
        kept, self._kept, self._bytes = sorted(self._kept, key=lambda one: one.job.account), [], 0
        by_resource: dict[str, list[_Kept]] = {name: [] for name in names}
        for one in kept:
            by_resource.setdefault(one.job.resource.sql_name, []).append(one)
        done: list[tuple[ListJob, ListEntry]] = []
        for name, some in sorted(by_resource.items()):
            # The calls first: a list is written when its rows are.
            if calls := [one for one in some if one.journal.calls is not None]:
                self._write(name + CALLS_TABLE, calls, kept[0].options)
            done += self._write(name, some, kept[0].options)
        return done

    def _write(self, name: str, some: Sequence[_Kept], options: WriteOptions) -> list[tuple[ListJob, ListEntry]]:
        table, of_calls = self._table(name), name.endswith(CALLS_TABLE)
        table.make(feed=self._feed)
        done: list[tuple[ListJob, ListEntry]] = []
        waiting: list[_Kept] = []
        for one in some:
            # What was written before a crash is not written again.
            entry = table.marks.entries.get(one.job.account)
            if entry is None or (entry.run, entry.started) != (options.run, one.journal.header.started):
                waiting.append(one)
            else:
                done.append((one.job, entry))
        if some and not waiting:
            return done
        written: list[tuple[ListJob, ListEntry]] = []

        def entries_of(counts: Mapping[str, RowCounts]) -> Iterable[ListEntry]:
            there, entry_of = table.marks.entries, _calls_entry if of_calls else _entry
            written[:] = [
                (one.job, entry_of(one, counts[one.job.account], there.get(one.job.account))) for one in waiting
            ]
            return [entry for _, entry in written]

        changes = [_change(name, one) for one in waiting]
        deadline = time.monotonic() + self.lock_timeout
        table.apply(changes, options.run, entries_of, options.check_cancelled, deadline=deadline)
        return done + written

    def optimize(self, check_cancelled: CheckCancelled) -> int:
        """Put small files together; return how many files there are fewer."""
        return sum(table.compact(check_cancelled) for _, table in self._own())

    # Taking out, and looking

    def remove(self, accounts: Sequence[str], *, erase: bool) -> None:
        """Delete all rows of some accounts; to erase them, older versions of the tables go too."""
        if erase:
            clear(self.work / DRAFTS)
        (self.work / DRAFTS).mkdir(mode=0o700, parents=True, exist_ok=True)
        for name, table in self._own():
            changes = [Change(table_spec(name, account), None, keep=False) for account in accounts]
            deadline = time.monotonic() + self.lock_timeout
            table.clear_strays()
            table.apply(changes, "", lambda _: (), _nothing, deadline=deadline, gone=accounts, all=erase)
            if erase:
                table.forget_the_past()
        if erase:
            clear(self.work / DRAFTS)  # of a store there are copies of the files that were rewritten

    def check(self, entries: Sequence[ListEntry], accounts: Collection[str] | None) -> TargetCheck:
        """Read all rows, and compare their numbers with what is known; and look for rows of others."""
        held = {e.key: e for e in self.entries() if accounts is None or e.account_id in accounts}
        problems = [text for one in entries if one.finished and (text := lost(one, held.get(one.key))) is not None]
        files = records = 0
        for name, table in self._own():
            counts: dict[str, int] = {}
            for file in table.files():
                files += 1
                try:
                    with speaking(f"{name}: reading {file.path}"):
                        source = table.source(file, verify=True)
                        for batch in source.batches(range(source.groups)):
                            for one in batch.column(ACCOUNT).value_counts().to_pylist():
                                counts[one["values"]] = counts.get(one["values"], 0) + one["counts"]
                except ExportError as error:
                    problems.append(error.message)
            known = {entry.account_id: entry for entry in table.marks.entries.values()}
            records += sum(one.records for key, one in held.items() if find(key[0]).sql_name == name)
            for account in sorted(counts.keys() | known.keys()):
                expected = known[account].records if account in known else None
                if (accounts is not None and account not in accounts) or counts.get(account, 0) == expected:
                    continue
                if expected is not None:
                    problems.append(f"{name}, account {account}: {counts.get(account, 0)} records, {expected} expected")
                else:
                    strange = f"{counts[account]} records that are not part of the export"
                    problems.append(f"{name}, account {account}: {strange}")
        return TargetCheck(files, records, problems)

    def columns(self, entry: ListEntry, names: Sequence[str]) -> Iterator[Mapping[str, Sequence[Any]]]:
        """Yield the values of some columns of a list, some records at a time."""
        table = self._table(find(entry.resource).sql_name)
        pc: Any = import_module("pyarrow.compute")
        present = [name for name in names if name in table.schema.names]
        for file in table.files():
            if not file.may_hold([entry.account_id]):
                continue
            source = table.source(file)
            for batch in source.batches([*source.groups_of([entry.account_id])], [*dict.fromkeys((ACCOUNT, *present))]):
                some = batch.filter(pc.equal(batch.column(ACCOUNT), entry.account_id))
                if some.num_rows:
                    nothing: list[Any] = [None] * some.num_rows
                    yield {name: values_of(some.column(name)) if name in present else nothing for name in names}


def _change(name: str, one: _Kept) -> Change:
    journal, options = one.journal, one.options
    is_calls = name.endswith(CALLS_TABLE)
    spool = journal.calls_path if is_calls else journal.rows_path
    superseded = frozenset[int]() if is_calls else one.found.superseded
    stamp = Stamp(options.exported_at, options.run)
    return Change(table_spec(name, one.job.account), Inputs(None, spool, superseded, History(stamp)), options.merge)


def _entry(one: _Kept, counts: RowCounts, _: ListEntry | None) -> ListEntry:
    """Return what is known of a list that is written."""
    before, found = one.options.before if one.options.merge else None, one.found
    records = found.total - len(found.superseded)
    if before is not None:
        records = before.records + counts.new
        found = with_dates_of(found, before)
    return one.describe(WriteResult(found, records, [], counts.new, counts.changed))


def _calls_entry(one: _Kept, counts: RowCounts, before: ListEntry | None) -> ListEntry:
    """Return what is known of the provider calls behind a list that are written."""
    return ListEntry(
        resource=one.job.resource.name + CALLS,
        account_id=one.job.account,
        run=one.options.run,
        started=one.journal.header.started,
        records=counts.new + (before.records if one.options.merge and before is not None else 0),
    )
