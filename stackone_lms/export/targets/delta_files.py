"""The data files of a Delta table: which of their rows differ from a list, and new files without those."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, Final, NamedTuple

from ...errors import ExportError, printable
from ..formats.base import CheckCancelled, DamagedError
from ..formats.parquet_writer import import_parquet, writing, written_alike
from ..formats.row_groups import SplicedFile
from ..records.arrow import completed, import_pyarrow
from ..records.columns import ACCOUNT
from ..state.storage import AtomicFile, wrap_os_errors

ROW_GROUP: Final = 8_192
"""Rows of a row group: few, since one is made anew for each changed row."""
TARGET_BYTES: Final = 128 * 1024 * 1024
"""Size of a file that takes no more rows."""
SMALL_BYTES: Final = 8 * 1024 * 1024
"""Files below are written together with what comes, so that they do not become many."""
_BATCH: Final = 2 * ROW_GROUP
_BUFFER: Final = 256 * 1024
_KEPT_BYTES: Final = 64 * 1024 * 1024
"""Rows of a file that are kept from one reading to the next."""


class DataFile(NamedTuple):
    """An active file of a table."""

    path: str
    """As the log has it, relative to the table."""
    bytes: int
    records: int | None
    first: str | None
    """The first account in it; None if that is not known."""
    last: str | None

    def may_hold(self, accounts: Sequence[str]) -> bool:
        """Tell whether it may have rows of some accounts, which are sorted."""
        return _overlap(self.first, self.last, accounts)


class MadeFile(NamedTuple):
    """A new file, not yet in its place."""

    draft: Path
    bytes: int
    records: int
    first: str
    last: str


def _overlap(first: str | None, last: str | None, accounts: Sequence[str]) -> bool:
    if first is None or last is None:
        return True
    place = bisect_left(accounts, first)
    return place < len(accounts) and accounts[place] <= last


class Source:
    """A file whose rows are read as those of a table.

    Args:
        open: Opens it anew, given what is known of it, if that was read before.
        schema: The columns of the table; those that the file lacks are null.
        local: Gives a local file with the same bytes.
        name: What messages call it.
    """

    def __init__(self, open: Callable[[Any], Any], schema: Any, local: Callable[[], Path], name: str) -> None:
        self._open, self.schema, self.local, self._name = open, schema, local, name
        with open(None) as file:
            self._about = file.metadata
            self._there: list[str] = [name for name in schema.names if name in file.schema_arrow.names]
            self._as_ours: bool = file.schema_arrow.equals(schema)
        self._kept: dict[int, list[Any]] = {}
        self._room = _KEPT_BYTES
        self.groups: int = self._about.num_row_groups
        self.starts = [0]
        for number in range(self.groups):
            self.starts.append(self.starts[-1] + self._about.row_group(number).num_rows)

    def groups_of(self, accounts: Sequence[str], ids: Sequence[str] | None = None) -> Iterator[int]:
        """Yield the row groups that may have rows of some accounts, and with some ids; both are sorted."""
        names = [self._about.schema.column(place).path for place in range(len(self._about.schema))]
        wanted = {ACCOUNT: accounts} if ids is None else {ACCOUNT: accounts, "id": ids}
        places = [(names.index(name), values) for name, values in wanted.items() if name in names]
        for number in range(self.groups):
            group = self._about.row_group(number)
            found = [(group.column(place).statistics, values) for place, values in places]
            if all(one is None or not one.has_min_max or _overlap(one.min, one.max, values) for one, values in found):
                yield number

    def batches(self, groups: Sequence[int], names: Sequence[str] | None = None) -> Iterator[Any]:
        """Yield rows of row groups, some at a time."""
        if names is None and len(groups) == 1 and groups[0] in self._kept:
            yield from self._kept.pop(groups[0])
            return
        if not groups:
            return
        pa = import_pyarrow()
        schema = self.schema if names is None else pa.schema([self.schema.field(name) for name in names])
        there = [name for name in schema.names if name in self._there]
        with self._readable(), self._open(self._about) as file:
            for batch in file.iter_batches(_BATCH, row_groups=list(groups), columns=there, use_threads=False):
                yield completed(schema, batch, _as)

    @contextmanager
    def _readable(self) -> Generator[None]:
        try:
            yield
        except (OSError, import_pyarrow().ArrowInvalid) as error:
            said = printable(" ".join(str(error).split()), 200)
            raise ExportError(
                f"the file {self._name} cannot be read: {said}; if it is damaged, delete it, and the next export "
                "fetches whole what was in it"
            ) from None

    def keep(self, group: int, batches: list[Any]) -> None:
        """Keep the rows of a row group, all of them as they were read, for the next reading, while there is room."""
        self._room -= sum(batch.nbytes for batch in batches)
        if self._room > 0:
            self._kept[group] = batches

    def untouched(self, dropped: Sequence[int]) -> list[int]:
        """Return the row groups that can go over into a new file as they are: none of their rows is dropped."""
        if not (self._as_ours and written_alike(self._about, self.schema)):
            return []
        return [
            number
            for number, (start, end) in enumerate(zip(self.starts, self.starts[1:], strict=False))
            if end - start >= ROW_GROUP // 2 and bisect_left(dropped, start) == bisect_left(dropped, end)
        ]


def _as(column: Any, kind: Any) -> Any:
    if column.type == kind:
        return column
    try:
        return column.cast(kind, safe=False)
    except import_pyarrow().ArrowInvalid:
        raise DamagedError("a file of the table has a column of another type") from None


class Maker:
    """Makes files of a table.

    Args:
        folder: Where they are made.
        schema: The columns of the table.
        check_cancelled: Called now and then.
    """

    def __init__(self, folder: Path, schema: Any, check_cancelled: CheckCancelled) -> None:
        self._folder, self._schema, self._check = folder, schema, check_cancelled
        self._made = 0

    def _draft(self) -> AtomicFile:
        self._made += 1
        return AtomicFile(self._folder / f"delta-{self._made}.partial")

    def new_rows(self, batches: Iterator[Any]) -> list[MadeFile]:
        """Make files of rows; columns that only the table has are null."""
        return self._files(completed(self._schema, batch) for batch in batches)

    def _files(self, batches: Iterator[Any]) -> list[MadeFile]:
        made: list[MadeFile] = []
        waiting = next(batches, None)
        while waiting is not None:
            draft = self._draft()
            try:
                with writing(draft, self._schema, ROW_GROUP, checksums=True) as groups:
                    while waiting is not None and draft.size < TARGET_BYTES:
                        groups.add(waiting)
                        waiting = next(batches, None)
                made.append(self._done(draft))
            except BaseException:
                draft.discard()
                raise
        return made

    def _done(self, draft: AtomicFile) -> MadeFile:
        draft.commit(named=False)
        with import_parquet().ParquetFile(draft.path) as file:
            about = file.metadata
            place = file.schema_arrow.names.index(ACCOUNT)  # the columns before it are no lists
            found = [about.row_group(number).column(place).statistics for number in range(about.num_row_groups)]
        known = all(one is not None and one.has_min_max for one in found)
        first, last = (min(one.min for one in found), max(one.max for one in found)) if known and found else ("", "")
        return MadeFile(draft.path, draft.size, about.num_rows, first, last)

    def rewritten(self, parts: Sequence[tuple[Source, Sequence[int]]]) -> MadeFile | None:
        """Make a file of several, without some of their rows; row groups of which all rows stay are copied."""
        untouched = [source.untouched(dropped) for source, dropped in parts]
        draft = self._draft()
        spliced = SplicedFile(draft) if any(untouched) else draft
        try:
            with writing(spliced, self._schema, ROW_GROUP, checksums=True) as groups:
                for (source, _), which in zip(parts, untouched, strict=True):
                    if isinstance(spliced, SplicedFile) and which:
                        spliced.take_over(source.local(), which, self._check)
                for (source, dropped), which in zip(parts, untouched, strict=True):
                    for batch in _rest(source, which, dropped, self._check):
                        groups.add(batch)
            made = self._done(draft)
        except BaseException:
            draft.discard()
            raise
        if not made.records:
            made.draft.unlink()
            return None
        return made

    def taken_out(self, parts: Sequence[tuple[Source, Sequence[int]]]) -> list[MadeFile]:
        """Make files of the rows that are dropped."""
        return self._files(
            batch for source, dropped in parts for batch in _some(source, dropped, self._check) if batch.num_rows
        )


def _rest(source: Source, left_out: Sequence[int], dropped: Sequence[int], check: CheckCancelled) -> Iterator[Any]:
    """Yield the rows of a file that stay, but those of some row groups."""
    pa = import_pyarrow()
    for number in range(source.groups):
        if number in left_out:
            continue
        start = source.starts[number]
        for batch in source.batches([number]):
            check()
            end = start + batch.num_rows
            gone = {row - start for row in dropped[bisect_left(dropped, start) : bisect_left(dropped, end)]}
            kept = [row for row in range(batch.num_rows) if row not in gone] if gone else None
            start = end
            if kept is None:
                yield batch
            elif kept:
                yield batch.take(pa.array(kept, "int64"))


def _some(source: Source, rows: Sequence[int], check: CheckCancelled) -> Iterator[Any]:
    """Yield some rows of a file."""
    pa = import_pyarrow()
    for number in range(source.groups):
        start = source.starts[number]
        if bisect_left(rows, start) == bisect_left(rows, source.starts[number + 1]):
            continue
        for batch in source.batches([number]):
            check()
            end = start + batch.num_rows
            some = [row - start for row in rows[bisect_left(rows, start) : bisect_left(rows, end)]]
            start = end
            yield batch.take(pa.array(some, "int64"))


def packed(
    parts: Iterable[tuple[Source, Sequence[int], int]],
) -> Iterator[list[tuple[Source, Sequence[int]]]]:
    """Put files together, each given with its size, so that they make few that are not too large."""
    some: list[tuple[Source, Sequence[int]]] = []
    size = 0
    for source, dropped, bytes in parts:
        if some and size + bytes > TARGET_BYTES:
            yield some
            some, size = [], 0
        some.append((source, dropped))
        size += bytes
    if some:
        yield some


def local_source(path: Path, schema: Any) -> Source:
    """Return a file on this machine as a source."""
    with wrap_os_errors("reading what was exported"):
        return Source(partial(open_parquet, lambda: path), schema, lambda: path, path.name)


def open_parquet(opener: Callable[[], Any], about: Any, *, verify: bool = False) -> Any:
    """Open a Parquet file, given its footer if that was read before; also to compare the checksums of its pages."""
    return import_parquet().ParquetFile(
        opener(), metadata=about, buffer_size=_BUFFER, page_checksum_verification=verify
    )


def count_by_account(sources: Iterable[Source], check_cancelled: CheckCancelled) -> Mapping[str, int]:
    """Count the rows of each account."""
    found: Counter[str] = Counter()
    pc: Any = import_module("pyarrow.compute")
    for source in sources:
        for batch in source.batches(range(source.groups), [ACCOUNT]):
            check_cancelled()
            for one in pc.value_counts(batch.column(ACCOUNT)).to_pylist():
                found[one["values"]] += one["counts"]
    return found
