"""Databases as targets: a table a resource, updated by account and id, each list in one transaction."""

# ruff: noqa: S608 (the names in the statements are those of models; values are parameters)

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final

import msgspec

from ..formats.base import CheckCancelled, Inputs
from ..lists import ListResource, find, resources
from ..records.columns import ACCOUNT
from ..records.history import History, Stamp
from ..records.keys import find_duplicates, keys_of_lines
from ..state.journal import Journal
from ..state.manifest import ListEntry, parsed
from ..state.storage import sync_folder
from .base import Describe, ListJob, TargetCheck, WriteOptions, WriteResult, Written, lost, with_dates_of
from .database_file import DatabaseFile, Execute, opening_failed
from .rows import rows_of
from .schema import make_table, own_tables, prepare_lists, prepare_tables, refuse_foreign
from .tables import CALLS_TABLE, LISTS, TableSpec, quoted, same_record, table_spec

_TOGETHER: Final = 10_000
"""Rows that are read at a time."""


_decode_entry = msgspec.json.Decoder(ListEntry).decode


class Database(DatabaseFile):
    """A database in a file as a target; how to speak with it, each kind of database adds."""

    def open(self, resources: Sequence[ListResource]) -> None:
        """Write once as every list does, so that what is in the way is told before the first request."""
        with self._transaction(opening_failed) as execute:
            refuse_foreign(self, execute, resources)
            prepare_lists(self, execute)

    def entries(self) -> Sequence[ListEntry]:
        """Return what the database says that it holds: nothing of a table that is not there any more."""
        if not self._file.exists():
            return []
        with self._reading() as execute:
            tables = self.tables(execute)
            if LISTS not in tables or "entry" not in self.column_names(execute, LISTS):
                return []
            rows = execute(f"SELECT resource, entry FROM {LISTS} WHERE entry IS NOT NULL")
        known = {name for name, resource in resources().items() if resource.sql_name in tables}
        return [_decode_entry(entry) for resource, entry in rows if resource in known]

    def exists(self) -> bool:
        """Tell whether an export was written there, or begun."""
        if super().exists():
            return True
        if not self._file.exists():
            return False
        with self._reading() as execute:
            return LISTS in self.tables(execute)

    def remove(self, accounts: Sequence[str], *, erase: bool) -> None:
        """Delete all rows of some accounts; to erase them the file is rewritten, since it keeps what it has freed."""
        if not self._file.exists():
            return
        with self._transaction() as execute:
            if erase:
                self._overwrite_deleted(execute)
            for name in sorted(own_tables(self, execute)):
                for account in accounts:
                    execute(f"DELETE FROM {quoted(name)} WHERE {ACCOUNT} = ?", account)
        if erase:
            self._rewrite()
        sync_folder(self._file.parent)

    def check(self, entries: Sequence[ListEntry], accounts: Collection[str] | None) -> TargetCheck:
        """Read all rows, and compare their numbers with what is known; and look for rows of others."""
        if not self._file.exists():
            return TargetCheck(0, 0, [f"{self._file.name}: missing"])
        held = {e.key: e for e in self.entries() if accounts is None or e.account_id in accounts}
        listed = [entry for entry in entries if entry.finished]
        problems = [text for one in listed if (text := lost(one, held.get(one.key))) is not None]
        known = {(find(entry.resource).sql_name, entry.account_id): entry for entry in held.values()}
        with self._reading() as execute:
            tables = own_tables(self, execute) - {LISTS}
            problems += self._damage(execute, tables)
            counts = {
                (name, account): count
                for name in sorted(tables)
                for account, count in execute(f"SELECT {ACCOUNT}, count(*) FROM {quoted(name)} GROUP BY {ACCOUNT}")
                if accounts is None or account in accounts
            }
        for (name, account), entry in known.items():
            if (found := counts.get((name, account), 0)) != entry.records:
                problems.append(f"{name}, account {account}: {found} records, {entry.records} expected")
        expected = {*known, *((name + CALLS_TABLE, account) for name, account in known)}
        problems += [
            f"{name}, account {account}: {counts[name, account]} records that are not part of the export"
            for name, account in sorted(counts.keys() - expected)
        ]
        return TargetCheck(1, sum(entry.records for entry in known.values()), problems)

    def columns(self, entry: ListEntry, names: Sequence[str]) -> Iterator[Mapping[str, Sequence[Any]]]:
        """Yield the values of some columns of a list, some records at a time."""
        resource = find(entry.resource)
        kinds = dict(table_spec(resource.sql_name).columns)
        with self._reading() as execute:
            present = self.column_names(execute, resource.sql_name)
            chosen = [self._readable(name, kinds[name]) if name in present else "NULL" for name in names]
            sql = f"SELECT {', '.join(chosen)} FROM {quoted(resource.sql_name)} WHERE {ACCOUNT} = ?"
            cursor = self._connection.execute(sql, (entry.account_id,))
            while rows := cursor.fetchmany(_TOGETHER):
                columns = dict(zip(names, zip(*rows, strict=True), strict=True))
                for name in names:
                    if kinds[name] == "timestamp":
                        columns[name] = tuple(map(parsed, columns[name]))
                yield columns

    def write(self, job: ListJob, journal: Journal, options: WriteOptions, describe: Describe) -> Written:
        """Write the records in one transaction, together with what is to be remembered about them."""
        rows, calls = journal.rows_path, journal.calls_path
        before, check_cancelled = options.before if options.merge else None, options.check_cancelled
        spec = table_spec(job.resource.sql_name, job.account)
        found = find_duplicates([partial(keys_of_lines, rows, of_users=spec.table.of_users)])
        with self._transaction(more=True) as execute:
            if spec.name not in self._prepared:
                prepare_tables(self, execute, spec)
                self._prepared.add(spec.name)
            name, account = job.resource.name, job.account
            entry = self._written(execute, job, journal, options.run)
            if entry is None:
                history = History(Stamp(options.exported_at, options.run))
                inputs = Inputs(None, rows, found.superseded, history)
                self._merge(execute, spec, inputs, check_cancelled, keep=options.merge)
                if journal.calls is not None:
                    other = table_spec(spec.name + CALLS_TABLE, account)
                    if other.name not in self._prepared:
                        make_table(self, execute, other)
                        self._prepared.add(other.name)
                    inputs = Inputs(None, calls, frozenset(), History(history.stamp))
                    self._merge(execute, other, inputs, check_cancelled, keep=options.merge)
                ((records,),) = execute(f"SELECT count(*) FROM {quoted(spec.name)} WHERE {ACCOUNT} = ?", account)
                if before is not None:
                    found = with_dates_of(found, before)
                entry = describe(WriteResult(found, records, [], history.new, history.changed))
                execute(f"DELETE FROM {LISTS} WHERE resource = ? AND account_id = ?", name, account)
                text = msgspec.json.encode(entry).decode()
                execute(
                    f"INSERT INTO {LISTS} (resource, account_id, run, entry) VALUES (?, ?, ?, ?)",
                    name, account, options.run, text,
                )  # fmt: skip
        sync_folder(self._file.parent)
        return Written(entry)

    @staticmethod
    def _written(execute: Execute, job: ListJob, journal: Journal, run: str) -> ListEntry | None:
        """Return what was remembered if this very journal was written before a crash."""
        where = "resource = ? AND account_id = ? AND run = ? AND entry IS NOT NULL"
        found = execute(f"SELECT entry FROM {LISTS} WHERE {where}", job.resource.name, job.account, run)
        entry = _decode_entry(found[0][0]) if found else None
        return entry if entry is not None and entry.started == journal.header.started else None

    def _merge(
        self, execute: Execute, spec: TableSpec, inputs: Inputs, check_cancelled: CheckCancelled, *, keep: bool
    ) -> None:
        """Stage the rows of a list, then bring the table in line with them; `keep` rows that did not come."""
        target, history = quoted(spec.name), inputs.history
        with self._staged(execute, spec, rows_of(spec, inputs, check_cancelled)) as stage:
            before = self._count(execute, spec)
            if before and not keep:
                gone = f"NOT EXISTS (SELECT 1 FROM {stage} s WHERE {same_record(spec)})"
                execute(f"DELETE FROM {target} WHERE {ACCOUNT} = ? AND {gone}", spec.table.account)
                before = self._count(execute, spec)
            written = self._changes(execute, self._upsert(spec, stage, keep=keep, into_nothing=not before))
        history.new = self._count(execute, spec) - before
        history.changed = written - history.new

    @staticmethod
    def _count(execute: Execute, spec: TableSpec) -> int:
        """Return how many rows of the account a table has."""
        ((count,),) = execute(f"SELECT count(*) FROM {quoted(spec.name)} WHERE {ACCOUNT} = ?", spec.table.account)
        return int(count)
