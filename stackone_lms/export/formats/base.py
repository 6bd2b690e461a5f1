"""The forms in which a list can be written: how each makes a file of the spool, and reads it again to merge."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import UNSET

from ...errors import ExportError
from ...models.base import Model
from ..records.columns import ACCOUNT, Column, Rows, cleared, row_columns, spread
from ..records.history import History, Stamp
from ..records.keys import (
    OF_USER,
    Contents,
    DuplicateScan,
    KeyIndex,
    Keys,
    digest,
    find_duplicates,
    keys_of_lines,
    pair,
)
from ..records.lines import Reader, chunks
from ..state.storage import AtomicFile

EXPORTED_AT: Final = "_exported_at"
RUN: Final = "_run"
STAMPS: Final = (Column(EXPORTED_AT, "timestamp"), Column(RUN, "string"))
"""The columns of the run that changed a record last, and of when that began."""


class Table(NamedTuple):
    """What a file holds."""

    model: type[Model]
    """What its records are, with `of_user_id` if they come from lists of users."""
    account: str
    """The linked account that they come from."""

    @property
    def of_users(self) -> bool:
        """Whether its records come from lists of users."""
        return OF_USER in self.model.__struct_fields__

    @property
    def columns(self) -> tuple[Column, ...]:
        """Its columns, the account's, `extra`, and those of the run included."""
        return *row_columns(self.model), *STAMPS

    @property
    def has_ids(self) -> bool:
        """Whether its records can have an id, by which one is known again; provider calls cannot."""
        return "id" in self.model.__struct_fields__


class Inputs(NamedTuple):
    """What a file is made of."""

    base: Path | None
    """The file that it replaces, whose records come first; None to make it anew."""
    spool: Path
    """Lines, each a record as it was sent."""
    superseded: frozenset[int]
    """Which records, counted from 0 over both, are left out."""
    history: History
    """Tells which run changed each record last; what it holds is compared with."""
    key_index: KeyIndex | None = None
    """Notes the keys of the records of the spool, for a format that has them at hand."""


CheckCancelled = Callable[[], None]
"""Called now and then while a file is made; raises to end that."""


class DamagedError(ExportError):
    """A file is not what was written, or of a newer version, so that nothing can be merged with it."""


class Format:
    """A form of files."""

    name: str
    suffix: str
    indexes_keys = False
    """Whether `write` notes the keys that it meets."""

    def prepare(self) -> None:
        """Raise ExportError if a package is missing that it needs."""

    def keys(self, path: Path, table: Table) -> Iterator[Keys]:
        """Yield the keys of the records of a file."""
        raise NotImplementedError

    def write(self, draft: AtomicFile, table: Table, inputs: Inputs, check_cancelled: CheckCancelled) -> None:
        """Make a file."""
        raise NotImplementedError

    def count(self, path: Path) -> int:
        """Return how many records a file holds."""
        raise NotImplementedError

    def columns(self, path: Path, table: Table, names: Sequence[str]) -> Iterator[Mapping[str, Sequence[Any]]]:
        """Yield the values of some columns of a file, some records at a time."""
        raise NotImplementedError

    def contents(self, table: Table) -> Contents | None:
        """Return what gives records without an id their keys, the same in a file and in a spool."""
        if not table.has_ids:
            return None
        reader = Reader(table.model)

        def contents(lines: Sequence[bytes]) -> Sequence[bytes]:
            return content_keys(spread(table.model, reader.read(lines)), range(len(lines)))

        return contents

    def find_duplicates(self, table: Table, base: Path, spool: Path) -> DuplicateScan:
        """Find the records of a file and of a spool with changes to it that come more than once."""
        lines = partial(keys_of_lines, spool, of_users=table.of_users, contents=self.contents(table))
        return find_duplicates([partial(self.keys, base, table), lines])

    def hold(self, path: Path, table: Table, history: History, check_cancelled: CheckCancelled) -> None:
        """Note the records of a file, to compare others with them."""
        raise NotImplementedError


def content_keys(columns: Mapping[str, Sequence[Any]], rows: Iterable[int]) -> list[bytes]:
    """Return what depends on nothing but the values of some rows; columns without a value make no difference."""
    names = sorted(columns.keys() - NOT_CONTENT)
    values = [[(name, columns[name][row]) for name in names] for row in rows]
    return [
        digest(_encode([(name, _plain(v)) for name, v in row if v is not None and v is not UNSET])) for row in values
    ]


NOT_CONTENT: Final = {ACCOUNT, EXPORTED_AT, RUN}
_encode = msgspec.json.Encoder().encode
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def _plain(value: Any) -> Any:
    return (value - _EPOCH) // timedelta(microseconds=1) if isinstance(value, datetime) else value


def keyed(columns: Mapping[str, Sequence[Any]], whole: Callable[[], Mapping[str, Sequence[Any]]]) -> Keys:
    """Return the keys of rows of a file; `whole` gives all their columns, for those that have no id."""
    keys = keys_of(columns, len(columns["id"]))
    rows = [row for row, id in enumerate(keys.ids) if id is None]
    if not rows:
        return keys
    ids = list(keys.ids)
    for row, content in zip(rows, content_keys(whole(), rows), strict=True):
        ids[row] = content
    return Keys(ids, keys.updated)


def with_stamps(columns: Mapping[str, Any], stamps: Sequence[Stamp]) -> dict[str, Any]:
    """Return rows with the columns of the runs that changed them last."""
    exported_at, runs = [stamp.exported_at for stamp in stamps], [stamp.run for stamp in stamps]
    return {**columns, EXPORTED_AT: exported_at, RUN: runs}


class RowFilter:
    """Picks, batch by batch, the records that are not superseded."""

    def __init__(self, superseded: frozenset[int]) -> None:
        self._superseded, self._position = superseded, 0

    def split(self, count: int) -> tuple[list[int] | None, list[int]]:
        """Return which of the next `count` records are kept, None for all, and which are not."""
        kept = self.pick(count)
        return kept, [] if kept is None else sorted({*range(count)}.difference(kept))

    def pick(self, count: int) -> list[int] | None:
        """Return which of the next `count` records are kept, None for all."""
        start = self._position
        self._position += count
        gone = self._superseded
        if not gone:
            return None
        kept = [n for n in range(count) if start + n not in gone]
        return None if len(kept) == count else kept


def filtered_lines(path: Path, row_filter: RowFilter, check_cancelled: CheckCancelled) -> Iterator[list[bytes]]:
    """Yield the lines of a file that are kept, without their ends, some at a time."""
    for chunk in chunks(path):
        check_cancelled()
        lines = chunk.split(b"\n")[:-1]
        which = row_filter.pick(len(lines))
        yield lines if which is None else [lines[n] for n in which]


def column_batches(
    table: Table, inputs: Inputs, row_filter: RowFilter, check_cancelled: CheckCancelled, *, unset: bool = False
) -> Iterator[dict[str, Any]]:
    """Yield the records of a spool that are kept as columns, the account's included, some at a time.

    With `unset`, fields that were not sent may be UNSET instead of None.
    """
    for rows in _rows(Reader(table.model), inputs, row_filter, check_cancelled):
        columns, count = spread(table.model, rows, unset=unset), len(rows.values)
        if inputs.key_index is not None:
            inputs.key_index.note(keys_of(columns, count))
        yield {ACCOUNT: [table.account] * count, **columns}


def _rows(
    reader: Reader[Any], inputs: Inputs, row_filter: RowFilter, check_cancelled: CheckCancelled
) -> Iterator[Rows]:
    if inputs.superseded:
        yield from (reader.read(lines) for lines in filtered_lines(inputs.spool, row_filter, check_cancelled) if lines)
        return
    for text in chunks(inputs.spool):
        check_cancelled()
        yield reader.read_text(text)


def keys_of(columns: Mapping[str, Sequence[Any]], count: int) -> Keys:
    """Return the keys of rows."""
    nothing: list[Any] = [None] * count
    ids, users, updated = (cleared(columns.get(name, nothing)) for name in ("id", OF_USER, "updated_at"))
    paired = [pair(*both) for both in zip(ids, users, strict=True)] if OF_USER in columns else ids
    return Keys(paired, updated)
