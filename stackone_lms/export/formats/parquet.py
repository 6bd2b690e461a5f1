"""Parquet through pyarrow: typed columns, zstd, row groups of a size that readers work with in parallel."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ...errors import ExportError
from ..records.arrow import (
    EPOCH,
    batch_of,
    import_pyarrow,
    schema_of,
)
from ..records.keys import (
    OF_USER,
    Keys,
    pair,
    unknown_keys,
)
from ..state.storage import AtomicFile, wrap_os_errors
from .base import (
    CheckCancelled,
    Format,
    Inputs,
    RowFilter,
    Table,
    column_batches,
)

if TYPE_CHECKING:
    import pyarrow as pa

ROW_GROUP: Final = 49_152
_BATCH: Final = 1024


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
        wanted = [name for name in ("id", "updated_at", OF_USER) if name in names]
        with wrap_os_errors("reading what was exported"), _parquet().ParquetFile(path) as file:
            _check(file, schema_of(table.columns))
            if "id" not in names:
                yield unknown_keys(file.metadata.num_rows)
                return
            for batch in file.iter_batches(_BATCH, columns=wanted):
                ids = batch.column("id").to_pylist()
                if OF_USER in names:
                    ids = [pair(*both) for both in zip(ids, batch.column(OF_USER).to_pylist(), strict=True)]
                updated = _moments(batch.column("updated_at")) if "updated_at" in names else [None] * len(ids)
                yield Keys(ids, updated)

    def write(self, draft: AtomicFile, table: Table, inputs: Inputs, check_cancelled: CheckCancelled) -> None:
        """Make a file."""
        pa = import_pyarrow()
        schema = schema_of(table.columns)
        row_filter = RowFilter(inputs.superseded)
        sink = pa.PythonFile(draft, mode="w")
        with _parquet().ParquetWriter(sink, schema, compression="zstd") as writer:
            groups = _Groups(writer)
            if inputs.base is not None:
                for batch in _base(inputs.base, schema, row_filter, check_cancelled):
                    groups.add(batch)
            for columns in column_batches(table, inputs, row_filter, check_cancelled, unset=True):
                groups.add(batch_of(schema, columns))
            groups.flush()

    def count(self, path: Path) -> int:
        """Return how many records a file holds."""
        count: int = _parquet().read_metadata(path).num_rows
        return count

    def columns(self, path: Path, table: Table, names: Sequence[str]) -> Iterator[Mapping[str, Sequence[Any]]]:
        """Yield the values of some columns of a file, some records at a time."""
        with wrap_os_errors("reading what was exported"), _parquet().ParquetFile(path) as file:
            for batch in file.iter_batches(_BATCH, columns=list(names)):
                yield {name: batch.column(name).to_pylist() for name in names}


def _parquet() -> Any:
    import_pyarrow()
    import pyarrow.parquet  # noqa: PLC0415 (an extra)

    return pyarrow.parquet


_FIRST: Final = datetime.min.replace(tzinfo=UTC)
_LAST: Final = datetime.max.replace(tzinfo=UTC)


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


class _Groups:
    """Gathers record batches into row groups."""

    def __init__(self, writer: Any) -> None:
        self._writer = writer
        self._batches: list[pa.RecordBatch] = []
        self._rows = 0

    def add(self, batch: pa.RecordBatch) -> None:
        self._batches.append(batch)
        self._rows += batch.num_rows
        if self._rows >= ROW_GROUP:
            self.flush()

    def flush(self) -> None:
        if self._rows:
            whole = import_pyarrow().Table.from_batches(self._batches)
            self._writer.write_table(whole, row_group_size=2 * ROW_GROUP)
        self._batches, self._rows = [], 0


def _check(file: Any, schema: pa.Schema) -> None:
    if not file.schema_arrow.equals(schema):
        raise ExportError("the files there were made by another version: run a full export once")


def _base(
    path: Path, schema: pa.Schema, row_filter: RowFilter, check_cancelled: CheckCancelled
) -> Iterator[pa.RecordBatch]:
    with wrap_os_errors("reading what was exported"), _parquet().ParquetFile(path) as file:
        _check(file, schema)
        for batch in file.iter_batches(_BATCH):
            check_cancelled()
            which = row_filter.pick(batch.num_rows)
            yield batch if which is None else batch.take(import_pyarrow().array(which, type="int64"))
