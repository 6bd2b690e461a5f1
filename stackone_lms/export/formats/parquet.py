"""Parquet through pyarrow: typed columns, zstd, row groups of a size that readers work with in parallel."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ..records.arrow import (
    EPOCH,
    batch_of,
    completed,
    import_pyarrow,
    schema_of,
)
from ..records.columns import ACCOUNT
from ..records.history import History, Stamp
from ..records.keys import (
    OF_USER,
    DuplicateScan,
    Keys,
    Span,
    find_duplicates,
    keys_of_lines,
    pair,
    unknown_keys,
)
from ..state.storage import AtomicFile, wrap_os_errors
from .base import (
    EXPORTED_AT,
    NOT_CONTENT,
    RUN,
    CheckCancelled,
    DamagedError,
    Format,
    Inputs,
    RowFilter,
    Table,
    column_batches,
    keyed,
    with_stamps,
)
from .parquet_writer import ROW_GROUP, RowGroups, import_parquet, writing, written_alike
from .row_groups import SplicedFile

if TYPE_CHECKING:
    import pyarrow as pa

_BATCH: Final = 1024
_BATCH_BYTES: Final = 4 * 1024 * 1024
_READ_BUFFER: Final = 1024 * 1024
"""Without one, pyarrow reads a column of a row group at once."""
_FEW: Final = 100_000
"""Records of which the ids are kept in memory, to be looked for in a file."""


class Parquet(Format):
    """Parquet files, one a list."""

    name, suffix = "parquet", ".parquet"
    indexes_keys = True

    def prepare(self) -> None:
        """Raise ExportError if pyarrow is missing."""
        import_pyarrow()

    def keys(self, path: Path, table: Table) -> Iterator[Keys]:
        """Yield the keys of the records of a file."""
        names = {column.name for column in table.columns}
        schema: Any = schema_of(table.columns)
        if not table.has_ids:
            yield unknown_keys(self.count(path))
            return
        fields = [schema.field(name) for name in ("id", "updated_at", OF_USER) if name in names]
        only = import_pyarrow().schema(fields)
        if any(batch.column(0).null_count for batch in _batches(path, import_pyarrow().schema(fields[:1]))):
            only = schema  # a record without an id is told from others by all that it holds
        for batch in _batches(path, only):
            columns: dict[str, Any] = {n: batch.column(n).to_pylist() for n in ("id", OF_USER) if n in names}
            columns["updated_at"] = _updated(batch)
            yield keyed(columns, partial(plain_columns, batch))

    def find_duplicates(self, table: Table, base: Path, spool: Path) -> DuplicateScan:
        """Find the records that come more than once; few new ones are looked for instead of comparing all."""
        few = _few_keys(table, spool)
        return super().find_duplicates(table, base, spool) if few is None else _look_for(base, table, few)

    def write(self, draft: AtomicFile, table: Table, inputs: Inputs, check_cancelled: CheckCancelled) -> None:
        """Make a file. Row groups of the file that it replaces of which every row is kept are not decoded."""
        schema = schema_of(table.columns)
        row_filter, history = RowFilter(inputs.superseded), inputs.history
        if inputs.base is None:
            with writing(draft, schema, ROW_GROUP) as groups:
                for columns in column_batches(table, inputs, row_filter, check_cancelled, unset=True):
                    groups.add(_stamped(schema, columns, history))
            return
        with _opened(inputs.base, schema) as base:
            untouched = base.untouched(inputs.superseded)
            spliced = SplicedFile(draft) if untouched else draft
            with writing(spliced, schema, ROW_GROUP) as groups:
                if isinstance(spliced, SplicedFile):
                    spliced.take_over(inputs.base, sorted(untouched), check_cancelled)
                for number in range(base.row_groups):
                    if number in untouched:
                        row_filter.pick(base.rows(number))
                        continue
                    for batch in base.batches(number):
                        check_cancelled()
                        _write_kept(groups, batch, row_filter, history)
                for columns in column_batches(table, inputs, row_filter, check_cancelled, unset=True):
                    groups.add(_stamped(schema, columns, history))

    def hold(self, path: Path, table: Table, history: History, check_cancelled: CheckCancelled) -> None:
        """Note the records of a file, to compare others with them."""
        for batch in _batches(path, schema_of(table.columns)):
            check_cancelled()
            _hold(history, batch)

    def count(self, path: Path) -> int:
        """Return how many records a file holds."""
        count: int = import_parquet().read_metadata(path).num_rows
        return count

    def columns(self, path: Path, table: Table, names: Sequence[str]) -> Iterator[Mapping[str, Sequence[Any]]]:
        """Yield the values of some columns of a file, some records at a time."""
        schema = schema_of([column for column in table.columns if column.name in names])
        for batch in _batches(path, schema):
            yield {name: values_of(batch.column(name)) for name in names}


_FIRST: Final = datetime.min.replace(tzinfo=UTC)
_LAST: Final = datetime.max.replace(tzinfo=UTC)


def values_of(column: Any) -> list[Any]:
    """Return the values of a column, moments as such."""
    return _moments(column) if import_pyarrow().types.is_timestamp(column.type) else column.to_pylist()


def _moments(column: Any) -> list[datetime | None]:
    try:
        moments: list[datetime | None] = column.to_pylist()
    except OverflowError:  # the last day of the year 9999, west of Greenwich
        known = column.cast("int64").to_pylist()
        moments = [None if moment is None else _moment(moment) for moment in known]
    return moments


def _moment(microseconds: int) -> datetime:
    try:
        return EPOCH + timedelta(microseconds=microseconds)
    except OverflowError:
        return _LAST if microseconds > 0 else _FIRST


class ColumnsOfFile:
    """A Parquet file with some of its columns, those of a schema; those that it has not are null."""

    def __init__(self, file: Any, schema: Any) -> None:
        self._file, self._schema = file, schema
        there: Any = file.schema_arrow
        self._there = [name for name in schema.names if name in there.names]
        if any(there.field(name).type != schema.field(name).type for name in self._there):
            raise DamagedError("a file of the export was made by another version of this package")
        self.row_groups: int = file.metadata.num_row_groups

    def rows(self, number: int) -> int:
        """Return how many rows a row group has."""
        rows: int = self._file.metadata.row_group(number).num_rows
        return rows

    def batches(self, number: int) -> Iterator[Any]:
        """Yield a row group some MB at a time."""
        about = self._file.metadata.row_group(number)
        at_once = max(1, min(_BATCH, about.num_rows * _BATCH_BYTES // max(1, about.total_byte_size)))
        return self._read(number, at_once)

    def whole(self, number: int) -> Iterator[Any]:
        """Yield a row group at once, or nearly so."""
        return self._read(number, 2 * ROW_GROUP)

    def _read(self, number: int, at_once: int) -> Iterator[Any]:
        for batch in self._file.iter_batches(at_once, row_groups=[number], columns=self._there):
            yield completed(self._schema, batch)

    def untouched(self, superseded: frozenset[int]) -> set[int]:
        """Return the row groups that can go over into a new file as they are.

        They are full, and all of their rows are kept. A file with other columns, or of another version of pyarrow,
        has none.
        """
        if self.row_groups < 2:
            return set()
        if not (self._file.schema_arrow.equals(self._schema) and written_alike(self._file.metadata, self._schema)):
            return set()
        gone, start, found = sorted(superseded), 0, set[int]()
        for number in range(self.row_groups):
            end = start + self.rows(number)
            none_is_gone = bisect_left(gone, start) == bisect_left(gone, end)
            # The last one may have room for new rows.
            if none_is_gone and (number < self.row_groups - 1 or end - start >= ROW_GROUP):
                found.add(number)
            start = end
        return found


@contextmanager
def _opened(path: Path, schema: Any) -> Generator[ColumnsOfFile]:
    """Open a file for some columns.

    Raises:
        DamagedError: A column of the file is of another type, or it is no Parquet file.
    """
    with _reading(), import_parquet().ParquetFile(path, buffer_size=_READ_BUFFER) as file:
        yield ColumnsOfFile(file, schema)


def _batches(path: Path, schema: Any) -> Iterator[Any]:
    """Yield the columns of a schema out of a file, some MB at a time; those that the file has not are null."""
    with _opened(path, schema) as file:
        for number in range(file.row_groups):
            yield from file.batches(number)


@contextmanager
def _reading() -> Generator[None]:
    pa = import_pyarrow()
    with wrap_os_errors("reading what was exported"):
        try:
            yield
        except pa.ArrowInvalid:
            raise DamagedError("a file of the export is no Parquet file any more") from None


def plain_columns(batch: Any) -> Mapping[str, Sequence[Any]]:
    """Return the values of all columns, moments as whole numbers: some have no date in UTC."""
    is_moment = import_pyarrow().types.is_timestamp
    columns = [c.cast("int64") if is_moment(c.type) else c for c in batch.columns]
    return {name: column.to_pylist() for name, column in zip(batch.schema.names, columns, strict=True)}


def contents_of(batch: Any) -> list[int]:
    """Return a hash of each row, the account and the run left out."""
    pc: Any = import_module("pyarrow.compute")
    arrow = import_pyarrow().types
    texts: list[Any] = []
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if name in NOT_CONTENT:
            continue
        if arrow.is_list(column.type):
            texts.append(pc.binary_join(column, "\x1f"))
        elif arrow.is_timestamp(column.type):
            texts.append(column.cast("int64").cast("string"))
        else:
            texts.append(column if arrow.is_string(column.type) else column.cast("string"))
    rows = pc.binary_join_element_wise(*texts, "\x1e", null_handling="replace", null_replacement="\x00")
    return list(map(hash, rows.to_pylist()))


def ids_of(batch: Any) -> list[Any]:
    """Return what tells each row from all others of its account; None: nothing does."""
    names = batch.schema.names
    if "id" not in names:
        return [None] * batch.num_rows
    ids = batch.column("id").to_pylist()
    return (
        [pair(*both) for both in zip(ids, batch.column(OF_USER).to_pylist(), strict=True)] if OF_USER in names else ids
    )


def _hold(history: History, batch: Any) -> None:
    stamps = zip(_moments(batch.column(EXPORTED_AT)), batch.column(RUN).to_pylist(), strict=True)
    history.hold(ids_of(batch), contents_of(batch), [Stamp(*stamp) for stamp in stamps])


def _stamped(schema: pa.Schema, columns: dict[str, Any], history: History) -> pa.RecordBatch:
    """Return new rows with the run that changed each last."""
    count = len(columns[ACCOUNT])
    if history.empty:
        history.add(count)
        stamp = with_stamps({}, [history.stamp])
        return batch_of(schema, {**columns, **{name: _repeated(schema, name, stamp[name][0], count) for name in stamp}})
    batch: Any = batch_of(schema, with_stamps(columns, [history.stamp] * count))
    stamps = history.compare(ids_of(batch), contents_of(batch))
    return batch_of(schema, {**dict(zip(schema.names, batch.columns, strict=True)), **with_stamps({}, stamps)})


def _few_keys(table: Table, spool: Path) -> Keys | None:
    """Return the keys of the records of a spool; None if they are many, or some are told apart by their content."""
    if not table.has_ids:
        return None
    ids, updated = list[Any](), list[datetime | None]()
    for keys in keys_of_lines(spool, of_users=table.of_users):
        ids += keys.ids
        updated += keys.updated
        if len(ids) > _FEW or None in keys.ids:
            return None
    return Keys(ids, updated)


def _look_for(base: Path, table: Table, few: Keys) -> DuplicateScan:
    """Find which of a few new records a file holds, and which of the two counts; it reads three columns."""
    whole: Any = schema_of(table.columns)
    schema = import_pyarrow().schema([whole.field(n) for n in ("id", "updated_at", OF_USER) if n in whole.names])
    wanted, others, held, places, start = set(few.ids), Span(), list[Keys](), list[int](), 0
    ids = import_pyarrow().array([id[1] if isinstance(id, tuple) else id for id in wanted], type="string")
    with _opened(base, schema) as file:
        for number in range(file.row_groups):
            for batch in file.whole(number):
                rows = _rows_among(batch, ids, wanted)
                held.append(_keys_at(batch, rows))
                places += [start + row for row in rows]
                _add_others(others, batch, rows)
                start += batch.num_rows
    found = find_duplicates([lambda: held, lambda: [few]])
    # Of the file only those rows were compared.
    superseded = [places[n] if n < len(places) else start + n - len(places) for n in found.superseded]
    return DuplicateScan(
        start + len(few.ids),
        frozenset(superseded),
        min(filter(None, (found.oldest, others.oldest)), default=None),
        max(filter(None, (found.newest, others.newest)), default=None),
        found.undated + others.undated,
    )


def _rows_among(batch: Any, ids: Any, wanted: set[Any]) -> list[int]:
    """Return the rows with some keys; `ids` are what is unique in them but for the users."""
    pc: Any = import_module("pyarrow.compute")
    rows: list[int] = pc.indices_nonzero(pc.is_in(batch.column("id"), value_set=ids)).to_pylist()
    keys = ids_of(_take(batch, rows))
    return [row for row, key in zip(rows, keys, strict=True) if key in wanted]


def _keys_at(batch: Any, rows: Sequence[int]) -> Keys:
    some = _take(batch, rows)
    return Keys(ids_of(some), _updated(some))


def _updated(batch: Any) -> list[datetime | None]:
    there = "updated_at" in batch.schema.names
    return _moments(batch.column("updated_at")) if there else [None] * batch.num_rows


def _add_others(span: Span, batch: Any, rows: Sequence[int]) -> None:
    """Add when those rows were changed that are not among some."""
    if "updated_at" not in batch.schema.names:
        span.undated += batch.num_rows - len(rows)
        return
    pc: Any = import_module("pyarrow.compute")
    moments = batch.column("updated_at").cast("int64")
    if rows:
        left_out = set(rows)
        moments = moments.take(import_pyarrow().array([n for n in range(len(moments)) if n not in left_out], "int64"))
    span.undated += moments.null_count
    first_and_last = pc.min_max(moments).as_py().values()
    span.add([_moment(moment) for moment in first_and_last if moment is not None])


def _take(batch: Any, rows: Sequence[int]) -> Any:
    return batch.take(import_pyarrow().array(rows, "int64"))


def _write_kept(groups: RowGroups, batch: Any, row_filter: RowFilter, history: History) -> None:
    """Write the next rows of the file that is replaced, but those that are superseded."""
    kept, dropped = row_filter.split(batch.num_rows)
    if kept is None:
        groups.add(batch)
        return
    groups.add(_take(batch, kept))
    _hold(history, _take(batch, dropped))


def _repeated(schema: Any, name: str, value: Any, count: int) -> Any:
    """Return a column with the same value in every row."""
    pa = import_pyarrow()
    return pa.repeat(pa.scalar(value, schema.field(name).type), count)
