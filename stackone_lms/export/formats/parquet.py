"""Parquet through pyarrow: typed columns, zstd, row groups of a size that readers work with in parallel."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ..records.arrow import (
    EPOCH,
    batch_of,
    import_pyarrow,
    schema_of,
)
from ..records.columns import ACCOUNT
from ..records.history import History, Stamp
from ..records.keys import (
    OF_USER,
    Keys,
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

if TYPE_CHECKING:
    import pyarrow as pa

ROW_GROUP: Final = 49_152
GROUP_BYTES: Final = 24 * 1024 * 1024
_BATCH: Final = 1024
_BATCH_BYTES: Final = 4 * 1024 * 1024
_READ_BUFFER: Final = 1024 * 1024
"""Without one, pyarrow reads a column of a row group at once."""


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
            columns["updated_at"] = _moments(batch.column("updated_at")) if "updated_at" in names else []
            yield keyed(columns, partial(_plain, batch))

    def write(self, draft: AtomicFile, table: Table, inputs: Inputs, check_cancelled: CheckCancelled) -> None:
        """Make a file."""
        pa = import_pyarrow()
        schema = schema_of(table.columns)
        row_filter, history = RowFilter(inputs.superseded), inputs.history
        with _writing(draft, schema) as groups:
            for batch in _batches(inputs.base, schema) if inputs.base is not None else ():
                check_cancelled()
                kept, dropped = row_filter.split(batch.num_rows)
                if kept is None:
                    groups.add(batch)
                    continue
                groups.add(batch.take(pa.array(kept, type="int64")))
                _hold(history, batch.take(pa.array(dropped, type="int64")))
            for columns in column_batches(table, inputs, row_filter, check_cancelled, unset=True):
                groups.add(_stamped(schema, columns, history))

    def hold(self, path: Path, table: Table, history: History, check_cancelled: CheckCancelled) -> None:
        """Note the records of a file, to compare others with them."""
        for batch in _batches(path, schema_of(table.columns)):
            check_cancelled()
            _hold(history, batch)

    def count(self, path: Path) -> int:
        """Return how many records a file holds."""
        count: int = _parquet().read_metadata(path).num_rows
        return count

    def columns(self, path: Path, table: Table, names: Sequence[str]) -> Iterator[Mapping[str, Sequence[Any]]]:
        """Yield the values of some columns of a file, some records at a time."""
        schema = schema_of([column for column in table.columns if column.name in names])
        for batch in _batches(path, schema):
            yield {name: _values(batch.column(name)) for name in names}


def _parquet() -> Any:
    import_pyarrow()
    import pyarrow.parquet  # noqa: PLC0415 (an extra)

    return pyarrow.parquet


_FIRST: Final = datetime.min.replace(tzinfo=UTC)
_LAST: Final = datetime.max.replace(tzinfo=UTC)


def _values(column: Any) -> list[Any]:
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


def _batches(path: Path, schema: Any) -> Iterator[Any]:
    """Yield the columns of a schema out of a file, some MB at a time; those that the file has not are null.

    Raises:
        DamagedError: A column of the file is of another type.
    """
    pa = import_pyarrow()
    with _reading(), _parquet().ParquetFile(path, buffer_size=_READ_BUFFER) as file:
        there = [name for name in schema.names if name in file.schema_arrow.names]
        if any(file.schema_arrow.field(name).type != schema.field(name).type for name in there):
            raise DamagedError("a file of the export was made by another version of this package")
        for group in range(file.metadata.num_row_groups):
            about = file.metadata.row_group(group)
            at_once = max(1, min(_BATCH, about.num_rows * _BATCH_BYTES // max(1, about.total_byte_size)))
            for batch in file.iter_batches(at_once, row_groups=[group], columns=there):
                columns = [
                    batch.column(name) if name in there else pa.nulls(batch.num_rows, kind)
                    for name, kind in zip(schema.names, schema.types, strict=True)
                ]
                yield pa.RecordBatch.from_arrays(columns, schema=schema)


@contextmanager
def _reading() -> Generator[None]:
    pa = import_pyarrow()
    with wrap_os_errors("reading what was exported"):
        try:
            yield
        except pa.ArrowInvalid:
            raise DamagedError("a file of the export is no Parquet file any more") from None


def _plain(batch: Any) -> Mapping[str, Sequence[Any]]:
    """Return the values of all columns, moments as whole numbers: some have no date in UTC."""
    is_moment = import_pyarrow().types.is_timestamp
    columns = [c.cast("int64") if is_moment(c.type) else c for c in batch.columns]
    return {name: column.to_pylist() for name, column in zip(batch.schema.names, columns, strict=True)}


def _contents(batch: Any) -> list[int]:
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


def _ids(batch: Any) -> list[Any]:
    names = batch.schema.names
    if "id" not in names:
        return [None] * batch.num_rows
    ids = batch.column("id").to_pylist()
    return (
        [pair(*both) for both in zip(ids, batch.column(OF_USER).to_pylist(), strict=True)] if OF_USER in names else ids
    )


def _hold(history: History, batch: Any) -> None:
    stamps = zip(_moments(batch.column(EXPORTED_AT)), batch.column(RUN).to_pylist(), strict=True)
    history.hold(_ids(batch), _contents(batch), [Stamp(*stamp) for stamp in stamps])


def _stamped(schema: pa.Schema, columns: dict[str, Any], history: History) -> pa.RecordBatch:
    """Return new rows with the run that changed each last."""
    count = len(columns[ACCOUNT])
    if history.empty:
        return batch_of(schema, with_stamps(columns, history.add(count)))
    batch: Any = batch_of(schema, with_stamps(columns, [history.stamp] * count))
    stamps = history.compare(_ids(batch), _contents(batch))
    return batch_of(schema, {**dict(zip(schema.names, batch.columns, strict=True)), **with_stamps({}, stamps)})


def write_batches(draft: AtomicFile, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:
    """Make a file of record batches."""
    with _writing(draft, schema) as groups:
        for batch in batches:
            groups.add(batch)


@contextmanager
def _writing(draft: AtomicFile, schema: pa.Schema) -> Generator[_Groups]:
    sink = import_pyarrow().PythonFile(draft, mode="w")
    with _parquet().ParquetWriter(sink, schema, compression="zstd") as writer:
        groups = _Groups(writer)
        yield groups
        groups.flush()


class _Groups:
    """Gathers record batches into row groups, of so many rows or so many bytes at most."""

    def __init__(self, writer: Any) -> None:
        self._writer = writer
        self._batches: list[pa.RecordBatch] = []
        self._rows = self._bytes = 0

    def add(self, batch: pa.RecordBatch) -> None:
        self._batches.append(batch)
        self._rows += batch.num_rows
        self._bytes += batch.nbytes
        if self._rows >= ROW_GROUP or self._bytes >= GROUP_BYTES:
            self.flush()

    def flush(self) -> None:
        if self._rows:
            whole = import_pyarrow().Table.from_batches(self._batches)
            self._writer.write_table(whole, row_group_size=2 * ROW_GROUP)
            del whole
            if self._bytes >= GROUP_BYTES:
                self._batches = []
                import_pyarrow().default_memory_pool().release_unused()  # it keeps as much again for later
        self._batches, self._rows, self._bytes = [], 0, 0
