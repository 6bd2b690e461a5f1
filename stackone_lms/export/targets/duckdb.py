"""DuckDB files as targets; extra `duckdb`."""

# ruff: noqa: S608 (the names in the statements are those of models; values are parameters)

from __future__ import annotations

import re
import shutil
import sys
import time
from collections.abc import Callable, Collection, Generator, Iterable, Mapping
from contextlib import closing, contextmanager, suppress
from typing import Any, ClassVar, Final

from ...checks import import_extra
from ...errors import ExportError
from ..formats.parquet_writer import write_batches
from ..records.arrow import batch_of, import_pyarrow, schema_of
from ..records.columns import Kind
from ..state.storage import AtomicFile, sync_folder
from ..state.store import DRAFTS
from .database import Database
from .database_file import Execute, erasing_failed, keep_owner, reason, write_failed
from .tables import TableSpec, assignments, create_view, has_changed, models_by_table, quoted, same_record, table_spec

_LOCKED: Final = "Could not set lock"
"""What DuckDB says of a file that another process has open."""
_AGAIN: Final = 0.1
"""Seconds between two tries to open a database that is in use."""
_FRUGAL: Final[Mapping[str, str]] = {"memory_limit": "400MB", "threads": "2"}
"""Settings with which lists of any size are written: what needs more goes to a temporary folder beside the file."""


class DuckDB(Database):
    """A DuckDB file, with timestamps, JSON and lists as such."""

    format = "duckdb"
    has_primary_keys = False  # it would keep the index of a whole table in memory
    types: ClassVar[Mapping[Kind, str]] = {
        "string": "VARCHAR", "text": "VARCHAR", "json": "JSON", "strings": "VARCHAR[]", "timestamp": "TIMESTAMPTZ",
        "bool": "BOOLEAN", "float": "DOUBLE",
    }  # fmt: skip

    _is_open = False

    def prepare(self) -> None:
        """Raise ExportError if duckdb or pyarrow is missing."""
        _import_duckdb()
        import_pyarrow()

    @contextmanager
    def _transaction(
        self, failed: Callable[[Exception], ExportError] = write_failed, *, more: bool = False
    ) -> Generator[Execute]:
        """Open the database and yield what runs SQL in a transaction; it ends in a commit or in nothing."""
        duckdb = _import_duckdb()
        try:
            if not self._is_open:
                self._connection = self._open(self._connect)
                self._is_open = True
                self._execute("SET enable_progress_bar = false")  # it would go to stdout
            try:
                self._execute("BEGIN")
                yield self._execute
                self._execute("COMMIT")
            except BaseException:
                more = False
                raise
            finally:
                if not more:
                    self.rest()
        except (duckdb.Error, OSError) as error:
            raise failed(error) from None

    def rest(self) -> None:
        """Close the database, which nobody else can open until then: opening and closing take longer than a list."""
        if self._is_open:
            self._is_open = False
            self._connection.close()

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
            raise ExportError(f"reading the database failed: {reason(error)}") from None

    def _damage(self, execute: Execute, tables: Collection[str]) -> list[str]:
        """Say what is wrong with the file: every block has a checksum, which reading compares."""
        duckdb = _import_duckdb()
        problems: list[str] = []
        for name in sorted(tables):
            try:
                execute(f"SELECT bit_xor(hash(t)) FROM {quoted(name)} t")
            except duckdb.Error as error:
                problems.append(f"table {name}: {reason(error)}")
        return problems

    def _readable(self, name: str, kind: Kind) -> str:
        """Return what selects a column, moments as texts in UTC."""
        if kind != "timestamp":
            return quoted(name)
        return f"strftime({quoted(name)} AT TIME ZONE 'UTC', '%Y-%m-%dT%H:%M:%S.%fZ')"

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
                self._execute(f"COPY FROM DATABASE {quoted(name)} TO stackone_copy")
                self._execute("DETACH stackone_copy")
                keep_owner(file, copy)
                if sys.platform != "win32":  # there a file that is open keeps its place
                    copy.replace(file)
            if copy.exists():
                copy.replace(file)
            sync_folder(file.parent)
        except (duckdb.Error, OSError) as error:
            with suppress(OSError):
                copy.unlink(missing_ok=True)
            raise erasing_failed(reason(error)) from None

    @contextmanager
    def _staged(self, execute: Execute, spec: TableSpec, batches: Iterable[dict[str, Any]]) -> Generator[str]:
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

    def _upsert(self, spec: TableSpec, stage: str, *, keep: bool, into_nothing: bool) -> str:
        """Return the statement that inserts what is new, and updates what differs."""
        target = quoted(spec.name)
        if not spec.keys or into_nothing:
            return f"INSERT INTO {target} ({spec.names}) SELECT {spec.names} FROM {stage}"
        changed = has_changed(spec, "s", "IS DISTINCT FROM", keep=keep)
        values = ", ".join(f"s.{quoted(name)}" for name, _ in spec.columns)
        return (
            f"MERGE INTO {target} USING {stage} s ON {same_record(spec)}"
            f" WHEN MATCHED AND {changed} THEN UPDATE SET {assignments(spec, 's')}"
            f" WHEN NOT MATCHED THEN INSERT ({spec.names}) VALUES ({values})"
        )

    def _changes(self, execute: Execute, sql: str) -> int:
        """Run a statement; return how many rows it inserted or changed."""
        ((count,),) = execute(sql)
        return int(count)

    def tables(self, execute: Execute) -> set[str]:
        """Return the names of the tables that there are."""
        return {name for (name,) in execute("SELECT table_name FROM duckdb_tables()")}

    def views(self, execute: Execute) -> set[str]:
        """Return the names of the views that there are."""
        return {name for (name,) in execute("SELECT view_name FROM duckdb_views() WHERE NOT internal")}

    def is_view(self, execute: Execute, name: str, select: str) -> bool:
        """Tell whether a view was made of just this SELECT, by what DuckDB makes of the same elsewhere."""
        sql = "SELECT sql FROM duckdb_views() WHERE NOT internal AND view_name = ?"
        with closing(_import_duckdb().connect(":memory:")) as other:
            for table in models_by_table():
                columns = (f"{quoted(name)} {self.types[kind]}" for name, kind in table_spec(table).columns)
                other.execute(f"CREATE TABLE {quoted(table)} ({', '.join(columns)})")
            other.execute(create_view(name, select))
            return [_bare(text) for (text,) in other.execute(sql, [name]).fetchall()] == [
                _bare(text) for (text,) in execute(sql, name)
            ]


def _bare(sql: str) -> str:
    """Return SQL without what DuckDB adds or leaves out with its version and that of the file."""
    return re.sub(r'[\s()";]', "", sql).lower()


def _import_duckdb() -> Any:
    return import_extra("duckdb", extra="duckdb")
