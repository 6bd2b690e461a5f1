"""The data files of a Delta table: which of their rows differ from a list, and new files without those."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, Final, NamedTuple

from ..formats.base import CheckCancelled, DamagedError, Inputs
from ..formats.parquet import contents_of, ids_of
from ..formats.parquet_writer import import_parquet, parquet_of_nothing, writing
from ..formats.row_groups import SplicedFile
from ..records.arrow import batch_of, import_pyarrow, schema_of
from ..records.columns import ACCOUNT
from ..records.keys import OF_USER, keys_of_lines
from ..state.storage import AtomicFile, wrap_os_errors
from .rows import rows_of
from .tables import TableSpec

ROW_GROUP: Final = 8_192
"""Rows of a row group: few, since one is made anew for each changed row."""
TARGET_BYTES: Final = 128 * 1024 * 1024
"""Size of a file that takes no more rows."""
SMALL_BYTES: Final = 8 * 1024 * 1024
"""Files below are written together with what comes, so that they do not become many."""
_BATCH: Final = 4_096
_BUFFER: Final = 256 * 1024
_FEW: Final = 200_000
"""Ids that are looked for in a file; where there are more, all its rows of the accounts are compared."""
_NEVER: Final = -(2**63)


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


class Change(NamedTuple):
    """What a list becomes."""

    spec: TableSpec
    inputs: Inputs | None
    """Its records; None: there are none any more."""
    keep: bool
    """Whether rows stay that did not come."""

    @property
    def account(self) -> str:
        """Of which linked account."""
        return self.spec.table.account


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
    """

    def __init__(self, open: Callable[[Any], Any], schema: Any, local: Callable[[], Path]) -> None:
        self._open, self.schema, self.local = open, schema, local
        with open(None) as file:
            self._about = file.metadata
            self._there: list[str] = [name for name in schema.names if name in file.schema_arrow.names]
            self._as_ours: bool = file.schema_arrow.equals(schema)
        self.groups: int = self._about.num_row_groups
        self.starts = [0]
        for number in range(self.groups):
            self.starts.append(self.starts[-1] + self._about.row_group(number).num_rows)

    def groups_of(self, accounts: Sequence[str]) -> Iterator[int]:
        """Yield the row groups that may have rows of some accounts, which are sorted."""
        names = [self._about.schema.column(place).path for place in range(len(self._about.schema))]
        place = names.index(ACCOUNT) if ACCOUNT in names else None
        for number in range(self.groups):
            found = None if place is None else self._about.row_group(number).column(place).statistics
            known = found is not None and found.has_min_max
            if _overlap(found.min if known else None, found.max if known else None, accounts):
                yield number

    def batches(self, groups: Sequence[int], names: Sequence[str] | None = None) -> Iterator[Any]:
        """Yield rows of row groups, some at a time."""
        if not groups:
            return
        pa = import_pyarrow()
        schema = self.schema if names is None else pa.schema([self.schema.field(name) for name in names])
        there = [name for name in schema.names if name in self._there]
        with self._open(self._about) as file:
            for batch in file.iter_batches(_BATCH, row_groups=list(groups), columns=there):
                columns = [
                    _as(batch.column(name), kind) if name in there else pa.nulls(batch.num_rows, kind)
                    for name, kind in zip(schema.names, schema.types, strict=True)
                ]
                yield pa.RecordBatch.from_arrays(columns, schema=schema)

    def untouched(self, dropped: Sequence[int]) -> list[int]:
        """Return the row groups that can go over into a new file as they are: none of their rows is dropped."""
        new = parquet_of_nothing(self.schema).metadata
        if not self._as_ours or not new.schema.equals(self._about.schema) or new.created_by != self._about.created_by:
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


class Held:
    """Rows that a table has of the lists that are written: 33 bytes a row."""

    def __init__(self) -> None:
        self._keys, self._contents, self._moments = array("q"), array("q"), array("q")
        self._files, self._rows = array("L"), array("Q")
        self._whole, self._status = bytearray(), bytearray()
        self.new: Counter[str] = Counter()
        self.changed: Counter[str] = Counter()

    def note(self, file: int, rows: Sequence[int], batch: Any, whole: Sequence[bool]) -> None:
        """Note rows of a file.

        Args:
            file: Its number.
            rows: Their places in it.
            batch: Their values.
            whole: Of each whether it goes if it does not come.
        """
        self._keys.extend(_keys(batch))
        self._contents.extend(contents_of(batch))
        self._moments.extend(_moments(batch))
        self._files.extend([file] * len(rows))
        self._rows.extend(rows)
        self._whole.extend(whole)

    def sort(self) -> None:
        """Make the rows noted ready to be found."""
        order = sorted(range(len(self._keys)), key=self._keys.__getitem__)
        for name in ("_keys", "_contents", "_moments", "_files", "_rows"):
            values: array[int] = getattr(self, name)
            setattr(self, name, array(values.typecode, map(values.__getitem__, order)))
        self._whole = bytearray(map(self._whole.__getitem__, order))
        self._status = bytearray(len(order))

    def take(self, account: str, batch: Any, *, keep: bool) -> list[int] | None:
        """Return which of some rows that came are new, or replace what is held; None: all."""
        count: int = batch.num_rows
        held, total = self._keys, len(self._keys)
        if not total or "id" not in batch.schema.names:
            self.new[account] += count
            return None
        taken: list[int] = []
        new = 0
        for row, (key, content, moment) in enumerate(
            zip(_keys(batch), contents_of(batch), _moments(batch), strict=True)
        ):
            place = bisect_left(held, key)
            if place == total or held[place] != key:
                new += 1
                taken.append(row)
            elif self._contents[place] == content or (
                # Changes come in any order; a whole list is what there is now.
                keep and moment != _NEVER and self._moments[place] > moment
            ):
                self._status[place] = _KEPT
            else:
                self._status[place] = _REPLACED
                taken.append(row)
        self.new[account] += new
        self.changed[account] += len(taken) - new
        return None if len(taken) == count else taken

    def dropped(self) -> dict[int, list[int]]:
        """Return by file the rows, in their order, that are replaced or did not come any more."""
        found: dict[int, list[int]] = {}
        for place, status in enumerate(self._status):
            if status == _REPLACED or (status == _UNSEEN and self._whole[place]):
                found.setdefault(self._files[place], []).append(self._rows[place])
        return {file: sorted(rows) for file, rows in found.items()}


_UNSEEN, _KEPT, _REPLACED = 0, 1, 2


def _keys(batch: Any) -> Iterable[int]:
    accounts = batch.column(ACCOUNT).to_pylist()
    return map(hash, zip(accounts, ids_of(batch), strict=True))


def _moments(batch: Any) -> Iterable[int]:
    if "updated_at" not in batch.schema.names:
        return [_NEVER] * batch.num_rows
    found = batch.column("updated_at").cast("int64").to_pylist()
    return [_NEVER if moment is None else moment for moment in found]


def hold(sources: Sequence[Source], changes: Sequence[Change], check_cancelled: CheckCancelled) -> Held:
    """Note the rows of a table that the lists that are written may replace."""
    held = Held()
    pc: Any = import_module("pyarrow.compute")
    pa = import_pyarrow()
    accounts = sorted(change.account for change in changes if change.spec.keys or not change.keep)
    whole = {change.account for change in changes if not change.keep}
    merged = [change for change in changes if change.keep and change.spec.keys]
    few = _ids_of_few(merged)
    ours = [name for name, _ in changes[0].spec.columns]
    keys = [name for name in (ACCOUNT, OF_USER, "id") if name in ours]
    some_whole, some = pa.array(sorted(whole), "string"), pa.array(accounts, "string")
    for number, source in enumerate(sources):
        for group in source.groups_of(accounts):
            check_cancelled()
            start, places, last = source.starts[group], list[list[int]](), False
            for batch in source.batches([group], keys):
                is_one = pc.is_in(batch.column(ACCOUNT), value_set=some if few is None else some_whole)
                if few is not None and merged:
                    named = pc.is_in(batch.column(ACCOUNT), value_set=some)
                    is_one = pc.or_(is_one, pc.and_(named, pc.is_in(batch.column("id"), value_set=few)))
                places.append(pc.indices_nonzero(is_one).to_pylist())
                last = last or bool(places[-1])
            if not last:
                continue
            for batch, rows in zip(source.batches([group], ours), places, strict=True):
                taken = batch.take(pa.array(rows, "int64")) if len(rows) < batch.num_rows else batch
                of_whole = [account in whole for account in taken.column(ACCOUNT).to_pylist()]
                held.note(number, [start + row for row in rows], taken, of_whole)
                start += batch.num_rows
    held.sort()
    return held


def _ids_of_few(changes: Sequence[Change]) -> Any:
    """Return the ids of changed records; None if they are many, or some have none."""
    found: set[str] = set()
    for change in changes:
        if change.inputs is None:
            continue
        for keys in keys_of_lines(change.inputs.spool, of_users=change.spec.table.of_users):
            ids = [id[1] if isinstance(id, tuple) else id for id in keys.ids]
            found.update(ids)
            if None in ids or len(found) > _FEW:
                return None
    return import_pyarrow().array(sorted(found), "string")


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

    def new_rows(self, changes: Sequence[Change], held: Held) -> list[MadeFile]:
        """Make files of the rows that came and are not held as they came."""
        return self._files(self._new_rows(changes, held))

    def _new_rows(self, changes: Sequence[Change], held: Held) -> Iterator[Any]:
        pa = import_pyarrow()
        for change in changes:
            if change.inputs is None:
                continue
            ours = schema_of(change.spec.columns)
            for columns in rows_of(change.spec, change.inputs, self._check):
                batch: Any = batch_of(ours, columns)
                taken = held.take(change.account, batch, keep=change.keep)
                if taken is not None:
                    batch = batch.take(pa.array(taken, "int64"))
                if batch.num_rows:
                    yield self._completed(batch)

    def _completed(self, batch: Any) -> Any:
        """Return rows with the columns that only the table has, as null."""
        if batch.schema.names == self._schema.names:
            return batch
        pa = import_pyarrow()
        columns = [
            batch.column(name) if name in batch.schema.names else pa.nulls(batch.num_rows, kind)
            for name, kind in zip(self._schema.names, self._schema.types, strict=True)
        ]
        return pa.RecordBatch.from_arrays(columns, schema=self._schema)

    def _files(self, batches: Iterator[Any]) -> list[MadeFile]:
        made: list[MadeFile] = []
        waiting = next(batches, None)
        while waiting is not None:
            draft = self._draft()
            try:
                with writing(draft, self._schema, ROW_GROUP) as groups:
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
            with writing(spliced, self._schema, ROW_GROUP) as groups:
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
        return Source(partial(open_parquet, lambda: path), schema, lambda: path)


def open_parquet(opener: Callable[[], Any], about: Any) -> Any:
    """Open a Parquet file, given its footer if that was read before."""
    return import_parquet().ParquetFile(opener(), metadata=about, buffer_size=_BUFFER)


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


def accounts_of(changes: Collection[Change]) -> list[str]:
    """Return the accounts of lists that may replace rows, sorted."""
    return sorted({change.account for change in changes if change.spec.keys or not change.keep})
