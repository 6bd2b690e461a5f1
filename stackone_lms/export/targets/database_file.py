"""A database in a file: what each kind does in its own way, and what failed."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Collection, Generator, Iterable, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar, Final

from ...errors import ExportError, printable
from ..records.columns import Kind
from ..state.files import Files
from ..state.storage import make_private
from .base import Target
from .tables import TableSpec, quoted

Execute = Callable[..., list[Any]]
"""Runs one statement with its parameters, and returns its rows."""


_NO_DATABASE: Final = ("not a database", "not a valid DuckDB database", "is malformed")
"""What SQLite and DuckDB say of a file of another kind."""
_IN_USE: Final = ("locked", "Could not set lock")
"""What they say of one that another program writes to."""


def reason(error: Exception) -> str:
    """Return what an error of a database says, on one line."""
    return printable((str(error).splitlines() or [""])[0] or type(error).__name__)


def write_failed(error: Exception) -> ExportError:
    """Return the error for a list that could not be written."""
    return ExportError(
        f"writing to the database failed: {reason(error)}; nothing of this list was written: correct that, and "
        "the same command continues from there"
    )


def opening_failed(error: Exception) -> ExportError:
    """Return the error for a database that cannot be written to, which is found before the first request."""
    said = reason(error)
    if any(words in said for words in _NO_DATABASE):
        advice = "name another file, or move this one away"
    elif any(words in said for words in _IN_USE):
        advice = "try again when no other program writes to it, or wait longer for it by lock_timeout"
    else:
        advice = "see to it that this user can write to the file and its folder, or name another file"
    return ExportError(f"the database cannot be used: {said}; nothing was asked for: {advice}")


class DatabaseFile(Target):
    """A database in a file, and how to speak with it.

    Args:
        file: The file; made if it is not there. The journals and the manifest stand beside it.
    """

    types: ClassVar[Mapping[Kind, str]]
    has_primary_keys: ClassVar[bool]
    """Whether the database itself sees to it that no row comes twice; else only the statements do."""
    _connection: Any

    def __init__(self, file: Path) -> None:
        self._file = file
        self._prepared: set[str] = set()
        """Tables that were looked at since the file was opened for writing."""
        self.work = file.with_name(f"{file.name}.export")
        self.files = Files(self.work)

    @contextmanager
    def _reading(self) -> Generator[Execute]:
        """Open the database, which is there, and yield what runs SQL that reads one state of it."""
        raise NotImplementedError

    @contextmanager
    def _transaction(
        self, failed: Callable[[Exception], ExportError] = write_failed, *, more: bool = False
    ) -> Generator[Execute]:
        """Open the database and yield what runs SQL in a transaction; it ends in a commit or in nothing.

        `failed` makes the error for what the database says; by default `write_failed`. With `more` the database may
        stay open until `rest`, where opening it is dear.
        """
        raise NotImplementedError

    def _open(self, connect: Callable[[], Any]) -> Any:
        """Connect; a file that this makes is its owner's only."""
        made = not self._file.exists()
        self._prepared.clear()
        connection = connect()
        if made:
            make_private(self._file)
        return connection

    def _execute(self, sql: str, *values: Any) -> list[Any]:
        """Run one statement with its parameters; return its rows."""
        rows: list[Any] = self._connection.execute(sql, values).fetchall()
        return rows

    def tables(self, execute: Execute) -> set[str]:
        """Return the names of the tables that there are."""
        raise NotImplementedError

    def views(self, execute: Execute) -> set[str]:
        """Return the names of the views that there are."""
        raise NotImplementedError

    def is_view(self, execute: Execute, name: str, select: str) -> bool:
        """Tell whether a view was made of just this SELECT."""
        raise NotImplementedError

    @staticmethod
    def column_names(execute: Execute, table: str) -> set[str]:
        """Return the names of the columns of a table."""
        return {row[1] for row in execute(f"PRAGMA table_info('{table}')")}

    def upgrade(self, execute: Execute) -> None:
        """Bring the rows that an older version wrote into the form of this one."""

    def _staged(
        self, execute: Execute, spec: TableSpec, batches: Iterable[dict[str, Any]]
    ) -> AbstractContextManager[str]:
        """Put rows where statements can read them; gives what stands for them in a FROM clause."""
        raise NotImplementedError

    def _upsert(self, spec: TableSpec, stage: str, *, keep: bool, into_nothing: bool) -> str:
        """Return the statement that inserts what is new, and updates what differs; `into_nothing`: all is new."""
        raise NotImplementedError

    def _changes(self, execute: Execute, sql: str) -> int:
        """Run a statement; return how many rows it inserted or changed."""
        raise NotImplementedError

    def _damage(self, execute: Execute, tables: Collection[str]) -> list[str]:
        """Say what is wrong with the file, and with what is in the tables."""
        raise NotImplementedError

    def _readable(self, name: str, kind: Kind) -> str:
        """Return what selects a column, moments as texts in UTC."""
        return quoted(name)

    def _overwrite_deleted(self, execute: Execute) -> None:
        """Have what is deleted overwritten, where that has to be asked for."""

    def _rewrite(self) -> None:
        """Write the file anew, without what was deleted."""
        raise NotImplementedError


def erasing_failed(reason: str) -> ExportError:
    """Return the error for rows of which the bytes may be there still."""
    return ExportError(
        f"the rows are deleted, but their bytes may stand in the file still: {reason}; the same command goes on"
    )


def keep_owner(file: Path, copy: Path) -> None:
    """Give a copy the mode and the owner of a file, as far as this user may."""
    shutil.copymode(file, copy)
    if sys.platform != "win32":
        found = file.stat()
        with suppress(PermissionError):
            os.chown(copy, found.st_uid, found.st_gid)
