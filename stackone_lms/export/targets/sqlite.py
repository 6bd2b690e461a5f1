"""SQLite files as targets."""

# ruff: noqa: S608 (the names in the statements are those of models; values are parameters)

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Generator, Iterable, Mapping
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from typing import Any, ClassVar, Final

from ...errors import ExportError
from ..records.columns import Kind, as_json, columns_of
from .database import Database
from .database_file import Execute, erasing_failed, reason, write_failed
from .tables import TableSpec, assignments, create_view, has_changed, models_by_table, quoted

STAGE: Final = "stackone_incoming"


class SQLite(Database):
    """An SQLite file. Moments are text in UTC with six digits, JSON is text, booleans are 0 and 1."""

    format = "sqlite"
    has_primary_keys = True
    types: ClassVar[Mapping[Kind, str]] = {
        "string": "TEXT", "text": "TEXT", "json": "TEXT", "strings": "TEXT", "timestamp": "TEXT",
        "bool": "INTEGER", "float": "REAL",
    }  # fmt: skip

    @contextmanager
    def _transaction(
        self, failed: Callable[[Exception], ExportError] = write_failed, *, more: bool = False
    ) -> Generator[Execute]:
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
            raise failed(error) from None

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
            raise ExportError(f"reading the database failed: {reason(error)}") from None

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
            raise erasing_failed(reason(error)) from None
        if busy:
            raise erasing_failed("another program is reading from it")

    @contextmanager
    def _staged(self, execute: Execute, spec: TableSpec, batches: Iterable[dict[str, Any]]) -> Generator[str]:
        """Put rows into a temporary table, where they are quick to find by their keys."""
        stage, places = quoted(STAGE), ", ".join("?" * len(spec.columns))
        execute(f"CREATE TEMP TABLE {stage} AS SELECT {spec.names} FROM {quoted(spec.name)} LIMIT 0")
        for values in batches:
            cells = [_SQLITE[kind](values[name]) if kind in _SQLITE else values[name] for name, kind in spec.columns]
            self._connection.executemany(f"INSERT INTO {stage} VALUES ({places})", zip(*cells, strict=True))
        if spec.keys:
            execute(f"CREATE INDEX stackone_keys ON {stage} ({', '.join(map(quoted, spec.keys))})")
        yield stage
        execute(f"DROP TABLE {stage}")

    def _upsert(self, spec: TableSpec, stage: str, *, keep: bool, into_nothing: bool) -> str:
        """Return the statement that inserts what is new, and updates what differs."""
        insert = f"INSERT INTO {quoted(spec.name)} ({spec.names}) SELECT {spec.names} FROM {stage} WHERE true"
        if not spec.keys:
            return insert
        differs, keys = has_changed(spec, "excluded", "IS NOT", keep=keep), ", ".join(map(quoted, spec.keys))
        return f"{insert} ON CONFLICT ({keys}) DO UPDATE SET {assignments(spec, 'excluded')} WHERE {differs}"

    def _changes(self, execute: Execute, sql: str) -> int:
        """Run a statement; return how many rows it inserted or changed."""
        execute(sql)
        ((count,),) = execute("SELECT changes()")
        return int(count)

    def upgrade(self, execute: Execute) -> None:
        """Give moments written before six digits: texts of different widths are not in the order of the moments."""
        for name, model in models_by_table().items():
            present = self.column_names(execute, name)
            for column in columns_of(model):
                if column.kind == "timestamp" and column.name in present:
                    text = quoted(column.name)
                    execute(
                        f"UPDATE {quoted(name)} SET {text} = CASE WHEN {text} LIKE '%Z' THEN substr({text}, 1, 23)"
                        f" || '000Z' WHEN {text} LIKE '0001%' THEN '{_utc_text(_FIRST)}'"
                        f" ELSE '{_utc_text(_LAST)}' END"
                        f" WHERE length({text}) = 24 OR {text} GLOB '????-*[+-]??:??'"
                    )

    def tables(self, execute: Execute) -> set[str]:
        """Return the names of the tables that there are."""
        return {name for (name,) in execute("SELECT name FROM sqlite_master WHERE type = 'table'")}

    def views(self, execute: Execute) -> set[str]:
        """Return the names of the views that there are."""
        return {name for (name,) in execute("SELECT name FROM sqlite_master WHERE type = 'view'")}

    def is_view(self, execute: Execute, name: str, select: str) -> bool:
        """Tell whether a view was made of just this SELECT."""
        ((text,),) = execute("SELECT sql FROM sqlite_master WHERE type = 'view' AND name = ?", name)
        return bool(text == create_view(name, select))


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
