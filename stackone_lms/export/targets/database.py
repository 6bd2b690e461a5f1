"""Databases as targets: a table a resource, updated by account and id, each list in one transaction."""

# ruff: noqa: S608 (the names in the statements are those of models; values are parameters)

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Final, NamedTuple

import msgspec

from ...errors import ExportError, printable
from ...models.base import Model, RawResponse
from ..formats.base import (
    NOT_CONTENT,
    CheckCancelled,
    Inputs,
    RowFilter,
    Table,
    column_batches,
    with_stamps,
    with_user,
)
from ..formats.parquet import write_batches
from ..lists import Resource, find, resources
from ..records.arrow import batch_of, import_pyarrow, schema_of
from ..records.columns import ACCOUNT, Column, Kind, as_json, columns_of
from ..records.history import History, Stamp
from ..records.keys import OF_USER, find_duplicates, keys_of_lines
from ..state.journal import Journal
from ..state.manifest import ListEntry, parsed
from ..state.storage import AtomicFile, make_private, sync_folder
from ..state.store import DRAFTS
from .base import Check, Describe, ListJob, Target, WriteOptions, WriteResult

_LISTS: Final = "stackone_exports"
"""The table of what is remembered about each list."""
_STAGE: Final = "stackone_incoming"
CALLS_TABLE: Final = "_calls"
"""Added to the name of a table: the provider calls behind it."""
_VIEWS: Final = {"completions": "completion_details", "user_completions": "user_completion_details"}
"""By table: the view that joins it to users and courses."""
_TOGETHER: Final = 10_000
"""Rows that are read at a time."""
_LOCKED: Final = "Could not set lock"
"""What DuckDB says of a file that another process has open."""
_AGAIN: Final = 0.1
"""Seconds between two tries to open a database that is in use."""


_decode_entry = msgspec.json.Decoder(ListEntry).decode


class _Spec(NamedTuple):
    """A table of the database."""

    name: str
    table: Table
    keys: tuple[str, ...]
    """What tells its rows apart; none for provider calls."""

    @property
    def columns(self) -> tuple[Column, ...]:
        return self.table.columns

    @property
    def names(self) -> str:
        return ", ".join(map(_quoted, (column.name for column in self.columns)))


def _quoted(name: str) -> str:
    return f'"{name}"'


def _spec(name: str, model: type[Model], account: str) -> _Spec:
    of_user = (OF_USER,) if OF_USER in model.__struct_fields__ else ()
    return _Spec(name, Table(model, account), (ACCOUNT, *of_user, "id"))


class Database(Target):
    """A database in a file.

    Args:
        file: The file; made if it is not there. The journals and the manifest stand beside it.
    """

    types: ClassVar[Mapping[Kind, str]]
    has_primary_keys: ClassVar[bool]
    """Whether the database itself sees to it that no row comes twice; else only the statements do."""
    _connection: Any

    def __init__(self, file: Path) -> None:
        self._file = file
        self.root = self.work = file.with_name(f"{file.name}.export")

    def open(self, resources: Sequence[Resource]) -> None:
        """Write once as every list does, so that what is in the way is told before the first request."""
        with self._transaction() as execute:
            self._refuse_foreign(execute, resources)
            self._prepare_lists(execute)

    def _refuse_foreign(self, execute: Execute, resources: Sequence[Resource]) -> None:
        """Raise ExportError if a table or view of somebody else has a name that is needed."""
        wanted = {resource.sql_name for resource in resources}
        if wanted & {*_VIEWS, "users", "courses"}:
            wanted |= {"users", "courses", "completions"}
        tables, views = self._tables(execute), self._views(execute)
        for name in sorted(wanted | {name + CALLS_TABLE for name in wanted}):
            columns = {row[1]: row for row in execute(f"PRAGMA table_info('{name}')")} if name in tables else {}
            # What tells rows apart is a primary key, or at least never null: `notnull` is the third, `pk` the fifth.
            keys = {key for key, row in columns.items() if row[5 if self.has_primary_keys else 3]}
            ours = ACCOUNT in columns if name.endswith(CALLS_TABLE) else {ACCOUNT, "id"} <= keys
            if name in views or (columns and not ours):
                raise ExportError(f"the database has a table {name!r} that is not of an export: take another file")
        for name in sorted({*_VIEWS.values()} & tables):
            raise ExportError(f"the database has a table {name!r}, and exports a view of that name: take another file")

    def entries(self) -> Sequence[ListEntry]:
        """Return what the database says that it holds: nothing of a table that is not there any more."""
        if not self._file.exists():
            return []
        with self._reading() as execute:
            tables = self._tables(execute)
            if _LISTS not in tables or "entry" not in self._columns(execute, _LISTS):
                return []
            rows = execute(f"SELECT resource, entry FROM {_LISTS} WHERE entry IS NOT NULL")
        known = {name for name, resource in resources().items() if resource.sql_name in tables}
        return [_decode_entry(entry) for resource, entry in rows if resource in known]

    def exists(self) -> bool:
        """Tell whether an export was written there, or begun."""
        if super().exists():
            return True
        if not self._file.exists():
            return False
        with self._reading() as execute:
            return _LISTS in self._tables(execute)

    def remove(self, accounts: Sequence[str], *, erase: bool) -> None:
        """Delete all rows of some accounts; to erase them the file is rewritten, since it keeps what it has freed."""
        if not self._file.exists():
            return
        with self._transaction() as execute:
            if erase:
                self._overwrite_deleted(execute)
            for name in sorted(self._own_tables(execute)):
                for account in accounts:
                    execute(f"DELETE FROM {_quoted(name)} WHERE {ACCOUNT} = ?", account)
        if erase:
            self._rewrite()
        sync_folder(self._file.parent)

    def _own_tables(self, execute: Execute) -> set[str]:
        """Return the tables with rows of accounts."""
        names = {_LISTS, *(name + calls for name in _models() for calls in ("", CALLS_TABLE))}
        return {name for name in names & self._tables(execute) if ACCOUNT in self._columns(execute, name)}

    def _overwrite_deleted(self, execute: Execute) -> None:
        """Have what is deleted overwritten, where that has to be asked for."""

    def _rewrite(self) -> None:
        """Write the file anew, without what was deleted."""
        raise NotImplementedError

    def check(self, entries: Sequence[ListEntry], accounts: Collection[str] | None) -> Check:
        """Read all rows, and compare their numbers with what is known; and look for rows of others."""
        if not self._file.exists():
            return Check(0, 0, [f"{self._file.name}: missing"])
        held = {(e.resource, e.account_id): e for e in self.entries() if accounts is None or e.account_id in accounts}
        listed = [entry for entry in entries if entry.finished]
        problems = [
            text for one in listed if (text := _lost(one, held.get((one.resource, one.account_id)))) is not None
        ]
        known = {(find(entry.resource).sql_name, entry.account_id): entry for entry in held.values()}
        with self._reading() as execute:
            tables = self._own_tables(execute) - {_LISTS}
            problems += self._damage(execute, tables)
            counts = {
                (name, account): count
                for name in sorted(tables)
                for account, count in execute(f"SELECT {ACCOUNT}, count(*) FROM {_quoted(name)} GROUP BY {ACCOUNT}")
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
        return Check(1, sum(entry.records for entry in known.values()), problems)

    def _damage(self, execute: Execute, tables: Collection[str]) -> list[str]:
        """Say what is wrong with the file, and with what is in the tables."""
        raise NotImplementedError

    def columns(self, entry: ListEntry, names: Sequence[str]) -> Iterator[Mapping[str, Sequence[Any]]]:
        """Yield the values of some columns of a list, some records at a time."""
        resource = find(entry.resource)
        kinds = dict(_spec(resource.sql_name, resource.model, "").columns)
        with self._reading() as execute:
            present = self._columns(execute, resource.sql_name)
            chosen = [self._readable(name, kinds[name]) if name in present else "NULL" for name in names]
            sql = f"SELECT {', '.join(chosen)} FROM {_quoted(resource.sql_name)} WHERE {ACCOUNT} = ?"
            cursor = self._connection.execute(sql, (entry.account_id,))
            while rows := cursor.fetchmany(_TOGETHER):
                columns = dict(zip(names, zip(*rows, strict=True), strict=True))
                for name in names:
                    if kinds[name] == "timestamp":
                        columns[name] = tuple(map(parsed, columns[name]))
                yield columns

    def _readable(self, name: str, kind: Kind) -> str:
        """Return what selects a column, moments as texts in UTC."""
        return _quoted(name)

    @contextmanager
    def _reading(self) -> Generator[Execute]:
        """Open the database, which is there, and yield what runs SQL that reads one state of it."""
        raise NotImplementedError

    def write(self, job: ListJob, journal: Journal, options: WriteOptions, describe: Describe) -> ListEntry:
        """Write the records in one transaction, together with what is to be remembered about them."""
        rows, calls = journal.rows_path, journal.calls_path
        before, check_cancelled = options.before if options.merge else None, options.check_cancelled
        spec = _spec(job.resource.sql_name, job.model, job.account)
        found = find_duplicates([partial(keys_of_lines, rows, of_users=spec.table.of_users)])
        with self._transaction() as execute:
            self._prepare_tables(execute, spec)
            name, account = job.resource.name, job.account
            entry = self._written(execute, job, journal, options.run)
            if entry is None:
                history = History(Stamp(options.exported_at, options.run))
                inputs = Inputs(None, rows, found.superseded, history)
                self._merge(execute, spec, inputs, check_cancelled, keep=options.merge)
                if journal.calls is not None:
                    other = _Spec(spec.name + CALLS_TABLE, Table(RawResponse, account), ())
                    inputs = Inputs(None, calls, frozenset(), History(history.stamp))
                    self._merge(execute, other, inputs, check_cancelled, keep=options.merge)
                ((records,),) = execute(f"SELECT count(*) FROM {_quoted(spec.name)} WHERE {ACCOUNT} = ?", account)
                if before is not None:
                    found = found._replace(
                        oldest=min(filter(None, (found.oldest, parsed(before.oldest_update))), default=None),
                        newest=max(filter(None, (found.newest, parsed(before.newest_update))), default=None),
                        undated=max(found.undated, before.undated),
                    )
                entry = describe(WriteResult(found, records, [], history.new, history.changed))
                execute(f"DELETE FROM {_LISTS} WHERE resource = ? AND account_id = ?", name, account)
                text = msgspec.json.encode(entry).decode()
                execute(
                    f"INSERT INTO {_LISTS} (resource, account_id, run, entry) VALUES (?, ?, ?, ?)",
                    name, account, options.run, text,
                )  # fmt: skip
        sync_folder(self._file.parent)
        return entry

    @staticmethod
    def _written(execute: Execute, job: ListJob, journal: Journal, run: str) -> ListEntry | None:
        """Return what was remembered if this very journal was written before a crash."""
        where = "resource = ? AND account_id = ? AND run = ? AND entry IS NOT NULL"
        found = execute(f"SELECT entry FROM {_LISTS} WHERE {where}", job.resource.name, job.account, run)
        entry = _decode_entry(found[0][0]) if found else None
        return entry if entry is not None and entry.started == journal.header.started else None

    def _merge(
        self, execute: Execute, spec: _Spec, inputs: Inputs, check_cancelled: CheckCancelled, *, keep: bool
    ) -> None:
        """Stage the rows of a list, then bring the table in line with them; `keep` rows that did not come."""
        self._make_table(execute, spec)
        target, history = _quoted(spec.name), inputs.history
        with self._staged(execute, spec, _batches(spec, inputs, check_cancelled)) as stage:
            if not keep:
                gone = f"NOT EXISTS (SELECT 1 FROM {stage} s WHERE {_same(spec)})"
                execute(f"DELETE FROM {target} WHERE {ACCOUNT} = ? AND {gone}", spec.table.account)
            before = self._count(execute, spec)
            written = self._changes(execute, self._upsert(spec, stage, keep=keep))
        history.new = self._count(execute, spec) - before
        history.changed = written - history.new

    def _staged(self, execute: Execute, spec: _Spec, batches: Iterable[dict[str, Any]]) -> AbstractContextManager[str]:
        """Put rows where statements can read them; gives what stands for them in a FROM clause."""
        raise NotImplementedError

    def _upsert(self, spec: _Spec, stage: str, *, keep: bool) -> str:
        """Return the statement that inserts what is new, and updates what differs."""
        raise NotImplementedError

    @staticmethod
    def _count(execute: Execute, spec: _Spec) -> int:
        """Return how many rows of the account a table has."""
        ((count,),) = execute(f"SELECT count(*) FROM {_quoted(spec.name)} WHERE {ACCOUNT} = ?", spec.table.account)
        return int(count)

    def _changes(self, execute: Execute, sql: str) -> int:
        """Run a statement; return how many rows it inserted or changed."""
        raise NotImplementedError

    def _upgrade(self, execute: Execute) -> None:
        """Bring the rows that an older version wrote into the form of this one."""

    def _prepare_lists(self, execute: Execute) -> None:
        execute(
            f"CREATE TABLE IF NOT EXISTS {_LISTS} (resource TEXT NOT NULL, account_id TEXT NOT NULL,"
            " run TEXT NOT NULL, entry TEXT, PRIMARY KEY (resource, account_id))"
        )
        if "entry" not in self._columns(execute, _LISTS):
            execute(f"ALTER TABLE {_LISTS} ADD COLUMN entry TEXT")
            self._upgrade(execute)

    def _prepare_tables(self, execute: Execute, spec: _Spec) -> None:
        self._prepare_lists(execute)
        for view in _VIEWS.values():
            execute(f"DROP VIEW IF EXISTS {view}")
        self._make_table(execute, spec)
        models = _models()
        present = {spec.name, *self._tables(execute)}
        if present & {*_VIEWS, "users", "courses"}:
            for name in ("users", "courses", "completions"):
                self._make_table(execute, _spec(name, models[name], ""))
            for name, view in _VIEWS.items():
                if name == "completions" or name in present:
                    execute(f"CREATE VIEW {view} AS {_details(name)}")

    def _make_table(self, execute: Execute, spec: _Spec) -> None:
        """Make a table, or add the columns that it lacks."""
        described = [
            f"{_quoted(name)} {self.types[kind]}{' NOT NULL' if name in spec.keys else ''}"
            for name, kind in spec.columns
        ]
        key = [f"PRIMARY KEY ({', '.join(map(_quoted, spec.keys))})"] if spec.keys and self.has_primary_keys else []
        if spec.name not in self._tables(execute):
            execute(f"CREATE TABLE {_quoted(spec.name)} ({', '.join([*described, *key])})")
            # What is remembered is of a table that was dropped.
            names = [name for name, one in resources().items() if one.sql_name == spec.name.removesuffix(CALLS_TABLE)]
            execute(f"DELETE FROM {_LISTS} WHERE resource = ?", *names)
        present = self._columns(execute, spec.name)
        for (name, _), text in zip(spec.columns, described, strict=True):
            if name not in present:
                execute(f"ALTER TABLE {_quoted(spec.name)} ADD COLUMN {text}")

    @staticmethod
    def _columns(execute: Execute, table: str) -> set[str]:
        """Return the names of the columns of a table."""
        return {row[1] for row in execute(f"PRAGMA table_info('{table}')")}

    @contextmanager
    def _transaction(self) -> Generator[Execute]:
        """Open the database and yield what runs SQL in a transaction; it ends in a commit or in nothing."""
        raise NotImplementedError

    def _open(self, connect: Callable[[], Any]) -> Any:
        """Connect; a file that this makes is its owner's only."""
        made = not self._file.exists()
        connection = connect()
        if made:
            make_private(self._file)
        return connection

    def _execute(self, sql: str, *values: Any) -> list[Any]:
        """Run one statement with its parameters; return its rows."""
        rows: list[Any] = self._connection.execute(sql, values).fetchall()
        return rows

    def _tables(self, execute: Execute) -> set[str]:
        """Return the names of the tables that there are."""
        raise NotImplementedError

    def _views(self, execute: Execute) -> set[str]:
        """Return the names of the views that there are."""
        raise NotImplementedError


Execute = Callable[..., list[Any]]
"""Runs one statement with its parameters, and returns its rows."""


def _reason(error: Exception) -> str:
    return printable((str(error).splitlines() or [""])[0] or type(error).__name__)


def _failure(error: Exception) -> ExportError:
    return ExportError(
        f"writing to the database failed: {_reason(error)}; nothing of this list was written, and the same command "
        "goes on from there"
    )


def _lost(listed: ListEntry, held: ListEntry | None) -> str | None:
    """Say what is wrong with what a database knows of a list, by the manifest, which is never ahead of it."""
    if held is None:
        return f"{listed.resource}, account {listed.account_id}: not there any more"
    if held.finished is not None and listed.finished is not None and held.finished < listed.finished:
        return f"{listed.resource}, account {listed.account_id}: as of {held.finished}, {listed.finished} was exported"
    return None


def _erasing_failed(reason: str) -> ExportError:
    return ExportError(
        f"the rows are deleted, but their bytes may stand in the file still: {reason}; the same command goes on"
    )


def _keep_owner(file: Path, copy: Path) -> None:
    """Give a copy the mode and the owner of a file, as far as this user may."""
    shutil.copymode(file, copy)
    if sys.platform != "win32":
        found = file.stat()
        with suppress(PermissionError):
            os.chown(copy, found.st_uid, found.st_gid)


def _batches(spec: _Spec, inputs: Inputs, check_cancelled: CheckCancelled) -> Iterator[dict[str, Any]]:
    """Yield the rows of a spool as columns, those that came without an id with one, some at a time."""
    missing, stamp = _Missing(), inputs.history.stamp
    for columns in column_batches(spec.table, inputs, RowFilter(inputs.superseded), check_cancelled):
        if spec.keys:
            missing.fill(columns, spec.keys)
        yield with_stamps(columns, [stamp] * len(columns[ACCOUNT]))


def _same(spec: _Spec) -> str:
    """Return what tells that a staged row, called s, is of the same record as a row of the table."""
    target = _quoted(spec.name)
    return " AND ".join(f"s.{_quoted(key)} = {target}.{_quoted(key)}" for key in spec.keys) or "false"


def _differs(spec: _Spec, new: str, is_not: str, *, keep: bool) -> str:
    """Return what tells that a row, called `new`, has to replace that of the table."""
    target = _quoted(spec.name)
    compared = [name for name, _ in spec.columns if name not in {*spec.keys, *NOT_CONTENT}]
    differs = " OR ".join(f"{target}.{_quoted(name)} {is_not} {new}.{_quoted(name)}" for name in compared)
    newer = ""
    if keep and "updated_at" in compared:
        # Changes come in any order; a whole list is what there is now.
        newer = (
            f" AND ({new}.updated_at IS NULL OR {target}.updated_at IS NULL OR {new}.updated_at >= {target}.updated_at)"
        )
    return f"({differs}){newer}"


def _set(spec: _Spec, new: str) -> str:
    """Return the assignments that take over all values of a row, called `new`."""
    return ", ".join(f"{_quoted(name)} = {new}.{_quoted(name)}" for name, _ in spec.columns if name not in spec.keys)


def _models() -> Mapping[str, type[Model]]:
    """Return what the records of each table are."""
    return {r.sql_name: with_user(r.model) if r.of_users else r.model for r in resources().values()}


def _details(completions: str) -> str:
    return (
        "SELECT c.*, u.name AS user_name, u.email AS user_email, u.external_reference AS user_external_reference,"
        " k.title AS course_title, k.external_reference AS course_external_reference, k.duration AS course_duration"
        f" FROM {completions} c"
        " LEFT JOIN users u ON u.account_id = c.account_id AND u.id = c.user_id"
        " LEFT JOIN courses k ON k.account_id = c.account_id AND k.id ="
        " coalesce(c.course_id, CASE WHEN c.learning_object_type_value = 'course' THEN c.learning_object_id END)"
    )


class _Missing:
    """Gives records that came without an id one that depends on nothing but the record."""

    def __init__(self) -> None:
        self._seen: Counter[str] = Counter()

    def fill(self, columns: Mapping[str, list[Any]], keys: Sequence[str]) -> None:
        ids = columns["id"]
        for key in keys:
            values = columns[key]
            if None not in values:
                continue
            for row, value in enumerate(values):
                if value is None:
                    values[row] = self._make(columns, row) if values is ids else ""

    def _make(self, columns: Mapping[str, list[Any]], row: int) -> str:
        # Columns without a value make no difference: a later version has more of them.
        text = repr([(name, values[row]) for name, values in columns.items() if values[row] is not None])
        digest = hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:32]
        self._seen[digest] += 1
        return f"missing-{digest}-{self._seen[digest]}"


class SQLite(Database):
    """An SQLite file. Moments are text in UTC with six digits, JSON is text, booleans are 0 and 1."""

    format = "sqlite"
    has_primary_keys = True
    types: ClassVar[Mapping[Kind, str]] = {
        "string": "TEXT", "text": "TEXT", "json": "TEXT", "strings": "TEXT", "timestamp": "TEXT",
        "bool": "INTEGER", "float": "REAL",
    }  # fmt: skip

    @contextmanager
    def _transaction(self) -> Generator[Execute]:
        """Open the database and yield what runs SQL in a transaction; it ends in a commit or in nothing."""
        try:
            self._connection = self._open(self._connect)
            try:
                self._execute("PRAGMA synchronous = EXTRA")  # FULL: a power loss may bring a commit's journal back
                self._execute("BEGIN IMMEDIATE")
                yield self._execute
                self._execute("COMMIT")
            finally:
                self._connection.close()
        except (sqlite3.Error, OSError) as error:
            raise _failure(error) from None

    def _connect(self, mode: str = "rwc") -> sqlite3.Connection:
        uri = f"{self._file.absolute().as_uri()}?mode={mode}"
        return sqlite3.connect(uri, self.lock_timeout, isolation_level=None, uri=True)

    @contextmanager
    def _reading(self) -> Generator[Execute]:
        """Open the database, which is there, and yield what runs SQL that reads one state of it."""
        try:
            # Not read-only: what a crash left is rolled back, where the file can be written.
            self._connection = self._connect("rw")
            try:
                self._execute("BEGIN")
                yield self._execute
            finally:
                self._connection.close()
        except sqlite3.Error as error:
            raise ExportError(f"reading the database failed: {_reason(error)}") from None

    def _damage(self, execute: Execute, tables: Collection[str]) -> list[str]:
        """Say what is wrong with the file, and with what is in the tables."""
        return [f"{self._file.name}: {text}" for (text,) in execute("PRAGMA integrity_check(20)") if text != "ok"]

    def _overwrite_deleted(self, execute: Execute) -> None:
        """Have what is deleted overwritten."""
        execute("PRAGMA secure_delete = ON")

    def _rewrite(self) -> None:
        """Write the file anew: what was freed before, by updates, was not overwritten."""
        try:
            with closing(self._connect("rw")) as self._connection:
                self._execute("PRAGMA synchronous = EXTRA")
                self._execute("PRAGMA secure_delete = ON")
                self._execute("VACUUM")
                ((busy, _, _),) = self._execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error as error:
            raise _erasing_failed(_reason(error)) from None
        if busy:
            raise _erasing_failed("another program is reading from it")

    @contextmanager
    def _staged(self, execute: Execute, spec: _Spec, batches: Iterable[dict[str, Any]]) -> Generator[str]:
        """Put rows into a temporary table, where they are quick to find by their keys."""
        stage, places = _quoted(_STAGE), ", ".join("?" * len(spec.columns))
        execute(f"CREATE TEMP TABLE {stage} AS SELECT {spec.names} FROM {_quoted(spec.name)} LIMIT 0")
        for values in batches:
            cells = [_SQLITE[kind](values[name]) if kind in _SQLITE else values[name] for name, kind in spec.columns]
            self._connection.executemany(f"INSERT INTO {stage} VALUES ({places})", zip(*cells, strict=True))
        if spec.keys:
            execute(f"CREATE INDEX stackone_keys ON {stage} ({', '.join(map(_quoted, spec.keys))})")
        yield stage
        execute(f"DROP TABLE {stage}")

    def _upsert(self, spec: _Spec, stage: str, *, keep: bool) -> str:
        """Return the statement that inserts what is new, and updates what differs."""
        insert = f"INSERT INTO {_quoted(spec.name)} ({spec.names}) SELECT {spec.names} FROM {stage} WHERE true"
        if not spec.keys:
            return insert
        differs, keys = _differs(spec, "excluded", "IS NOT", keep=keep), ", ".join(map(_quoted, spec.keys))
        return f"{insert} ON CONFLICT ({keys}) DO UPDATE SET {_set(spec, 'excluded')} WHERE {differs}"

    def _changes(self, execute: Execute, sql: str) -> int:
        """Run a statement; return how many rows it inserted or changed."""
        execute(sql)
        ((count,),) = execute("SELECT changes()")
        return int(count)

    def _upgrade(self, execute: Execute) -> None:
        """Give moments written before six digits: texts of different widths are not in the order of the moments."""
        for name, model in _models().items():
            present = self._columns(execute, name)
            for column in columns_of(model):
                if column.kind == "timestamp" and column.name in present:
                    text = _quoted(column.name)
                    execute(
                        f"UPDATE {_quoted(name)} SET {text} = CASE WHEN {text} LIKE '%Z' THEN substr({text}, 1, 23)"
                        f" || '000Z' WHEN {text} LIKE '0001%' THEN '{_utc_text(_FIRST)}'"
                        f" ELSE '{_utc_text(_LAST)}' END"
                        f" WHERE length({text}) = 24 OR {text} GLOB '????-*[+-]??:??'"
                    )

    def _tables(self, execute: Execute) -> set[str]:
        """Return the names of the tables that there are."""
        return {name for (name,) in execute("SELECT name FROM sqlite_master WHERE type = 'table'")}

    def _views(self, execute: Execute) -> set[str]:
        """Return the names of the views that there are."""
        return {name for (name,) in execute("SELECT name FROM sqlite_master WHERE type = 'view'")}


_SQLITE: Mapping[Kind, Callable[[list[Any]], list[Any]]] = {
    "strings": lambda values: [None if value is None else as_json(value) for value in values],
    "timestamp": lambda values: [None if value is None else _utc_text(value) for value in values],
}


_FIRST: Final = datetime.min.replace(tzinfo=UTC)
_LAST: Final = datetime.max.replace(tzinfo=UTC)


def _utc_text(moment: datetime) -> str:
    """Write a moment so that texts are in the order of the moments: in UTC, with six digits.

    One that has no date in UTC, at the ends of the years 1 and 9999, is the first or last that has.
    """
    try:
        moment = moment.astimezone(UTC)
    except OverflowError:
        moment = _FIRST if moment.year == _FIRST.year else _LAST
    return moment.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


class DuckDB(Database):
    """A DuckDB file, with timestamps, JSON and lists as such."""

    format = "duckdb"
    has_primary_keys = False  # it would keep the index of a whole table in memory
    types: ClassVar[Mapping[Kind, str]] = {
        "string": "VARCHAR", "text": "VARCHAR", "json": "JSON", "strings": "VARCHAR[]", "timestamp": "TIMESTAMPTZ",
        "bool": "BOOLEAN", "float": "DOUBLE",
    }  # fmt: skip

    def prepare(self) -> None:
        """Raise ExportError if duckdb or pyarrow is missing."""
        _import_duckdb()
        import_pyarrow()

    @contextmanager
    def _transaction(self) -> Generator[Execute]:
        """Open the database and yield what runs SQL in a transaction; it ends in a commit or in nothing."""
        duckdb = _import_duckdb()
        try:
            self._connection = self._open(self._connect)
            try:
                self._execute("SET enable_progress_bar = false")  # it would go to stdout
                self._execute("BEGIN")
                yield self._execute
                self._execute("COMMIT")
            finally:
                self._connection.close()
        except (duckdb.Error, OSError) as error:
            raise _failure(error) from None

    def _connect(self, *, read_only: bool = False) -> Any:
        """Open the file; where another process has it open, wait for that."""
        duckdb = _import_duckdb()
        deadline, settings = time.monotonic() + self.lock_timeout, _FRUGAL
        while True:
            try:
                return duckdb.connect(str(self._file), read_only=read_only, config={**settings})
            except duckdb.ConnectionException:
                if not settings:
                    raise
                settings, read_only = {}, False  # this process has it open already, with settings of its own
            except duckdb.IOException as error:
                if _LOCKED not in str(error) or time.monotonic() >= deadline:
                    raise
                time.sleep(_AGAIN)

    @contextmanager
    def _reading(self) -> Generator[Execute]:
        """Open the database, which is there, and yield what runs SQL that reads one state of it."""
        duckdb = _import_duckdb()
        try:
            with closing(self._connect(read_only=True)) as self._connection:
                self._execute("BEGIN")
                yield self._execute
        except (duckdb.Error, OSError) as error:
            raise ExportError(f"reading the database failed: {_reason(error)}") from None

    def _damage(self, execute: Execute, tables: Collection[str]) -> list[str]:
        """Say what is wrong with the file: every block has a checksum, which reading compares."""
        duckdb = _import_duckdb()
        problems: list[str] = []
        for name in sorted(tables):
            try:
                execute(f"SELECT bit_xor(hash(t)) FROM {_quoted(name)} t")
            except duckdb.Error as error:
                problems.append(f"table {name}: {_reason(error)}")
        return problems

    def _readable(self, name: str, kind: Kind) -> str:
        """Return what selects a column, moments as texts in UTC."""
        if kind != "timestamp":
            return _quoted(name)
        return f"strftime({_quoted(name)} AT TIME ZONE 'UTC', '%Y-%m-%dT%H:%M:%S.%fZ')"

    def _rewrite(self) -> None:
        """Copy what is there into a new file, which takes the place of this one: DuckDB keeps what it has freed."""
        duckdb = _import_duckdb()
        file = self._file.resolve()  # where a link leads to
        copy, spilled = (file.with_name(file.name + ending) for ending in (".partial", ".tmp"))
        try:
            copy.unlink(missing_ok=True)
            with closing(self._connect()) as self._connection:
                self._execute("CHECKPOINT")
                if spilled.exists():  # by a process that was killed; nobody else has the file open now
                    shutil.rmtree(spilled)
                ((name, version),) = self._execute(
                    "SELECT database_name, tags['storage_version'] FROM duckdb_databases()"
                    " WHERE database_name = current_database()"
                )
                # Older versions of DuckDB read it as before.
                form = f" (STORAGE_VERSION '{version.rstrip('+')}')" if version else ""
                path = str(copy).replace("'", "''")
                self._execute(f"ATTACH '{path}' AS stackone_copy{form}")
                self._execute(f"COPY FROM DATABASE {_quoted(name)} TO stackone_copy")
                self._execute("DETACH stackone_copy")
                _keep_owner(file, copy)
                if sys.platform != "win32":  # there a file that is open keeps its place
                    copy.replace(file)
            if copy.exists():
                copy.replace(file)
            sync_folder(file.parent)
        except (duckdb.Error, OSError) as error:
            with suppress(OSError):
                copy.unlink(missing_ok=True)
            raise _erasing_failed(_reason(error)) from None

    @contextmanager
    def _staged(self, execute: Execute, spec: _Spec, batches: Iterable[dict[str, Any]]) -> Generator[str]:
        """Put rows into a Parquet file, which DuckDB reads piece by piece: a temporary table would fill the memory."""
        path, schema = self.work / DRAFTS / "incoming", schema_of(spec.columns)
        draft = AtomicFile(path)
        try:
            write_batches(draft, schema, (batch_of(schema, columns) for columns in batches))
            draft.flush()
            quoted = str(path).replace("'", "''")
            yield f"read_parquet('{quoted}')"
        finally:
            draft.discard()

    def _upsert(self, spec: _Spec, stage: str, *, keep: bool) -> str:
        """Return the statement that inserts what is new, and updates what differs."""
        target = _quoted(spec.name)
        if not spec.keys:
            return f"INSERT INTO {target} ({spec.names}) SELECT {spec.names} FROM {stage}"
        values = ", ".join(f"s.{_quoted(name)}" for name, _ in spec.columns)
        return (
            f"MERGE INTO {target} USING {stage} s ON {_same(spec)}"
            f" WHEN MATCHED AND {_differs(spec, 's', 'IS DISTINCT FROM', keep=keep)} THEN UPDATE SET {_set(spec, 's')}"
            f" WHEN NOT MATCHED THEN INSERT ({spec.names}) VALUES ({values})"
        )

    def _changes(self, execute: Execute, sql: str) -> int:
        """Run a statement; return how many rows it inserted or changed."""
        ((count,),) = execute(sql)
        return int(count)

    def _tables(self, execute: Execute) -> set[str]:
        """Return the names of the tables that there are."""
        return {name for (name,) in execute("SELECT table_name FROM duckdb_tables()")}

    def _views(self, execute: Execute) -> set[str]:
        """Return the names of the views that there are."""
        return {name for (name,) in execute("SELECT view_name FROM duckdb_views() WHERE NOT internal")}


_FRUGAL: Final[Mapping[str, str]] = {"memory_limit": "400MB", "threads": "2"}
"""Settings with which lists of any size are written: what needs more goes to a temporary folder beside the file."""


def _import_duckdb() -> Any:
    try:
        import duckdb  # noqa: PLC0415 (an extra)
    except ImportError:
        raise ExportError("this needs duckdb: pip install 'stackone-lms[duckdb]'") from None
    return duckdb


def database(kind: str, file: Path) -> Database:
    """Return the target for `duckdb:FILE` or `sqlite:FILE`."""
    return DuckDB(file) if kind == "duckdb" else SQLite(file)
