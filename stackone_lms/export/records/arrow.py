"""Records as Apache Arrow tables, and through them as data frames of Polars, pandas, DuckDB; extra `arrow`.

table = to_arrow(client.completions.list())
frame = polars.from_arrow(table)
frame = table.to_pandas()
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, cast, overload

from msgspec import UNSET

from ...errors import ExportError, InvalidArgumentError, StackOneError
from ...models.base import Model, Result
from ...models.extras import model_of
from .columns import (
    EXTRA,
    Column,
    Kind,
    Rows,
    cleared,
    columns_of,
    spread,
)

if TYPE_CHECKING:
    import pyarrow as pa

ACCOUNT = "account_id"
BATCH = 8192
"""Records that are made columns at once."""

Errors = Literal["raise", "skip"]
"""What to do with an outcome that is an error."""


def import_pyarrow() -> Any:
    """Return the module `pyarrow`.

    Raises:
        ExportError: It is not installed; the message names the extra.
    """
    try:
        import pyarrow as pa  # noqa: PLC0415 (an extra)
    except ImportError:
        raise ExportError("this needs pyarrow: pip install 'stackone-lms[arrow]'") from None
    return pa


def schema_of(columns: Sequence[Column]) -> pa.Schema:
    """Return the Arrow schema of some columns."""
    arrow = import_pyarrow()
    kinds: Mapping[Kind, Any] = {
        "string": arrow.string(),
        "text": arrow.string(),
        "json": arrow.string(),
        "strings": arrow.list_(arrow.string()),
        "bool": arrow.bool_(),
        "float": arrow.float64(),
        "timestamp": arrow.timestamp("us", tz="UTC"),
    }
    schema: pa.Schema = arrow.schema([arrow.field(name, kinds[kind]) for name, kind in columns])
    return schema


def batch_of(schema: pa.Schema, columns: Mapping[str, Sequence[Any]]) -> pa.RecordBatch:
    """Return values by column as a record batch; None and UNSET are null."""
    arrow = import_pyarrow()
    arrays = [_array(arrow, columns[name], kind) for name, kind in zip(schema.names, schema.types, strict=True)]
    batch: pa.RecordBatch = arrow.RecordBatch.from_arrays(arrays, schema=schema)
    return batch


EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _array(arrow: Any, values: Sequence[Any], kind: Any) -> Any:
    if isinstance(values, arrow.Array):
        return values
    if not arrow.types.is_timestamp(kind):
        if UNSET not in values[:1]:  # mostly, a field is sent in all records or in none
            with suppress(arrow.ArrowInvalid, arrow.ArrowTypeError):  # which takes a while
                return arrow.array(values, type=kind)
        return arrow.array(cleared(values), type=kind)
    # As durations since the epoch: three times as fast as aware datetimes, which pyarrow asks for their offsets.
    since = [None if moment is None or moment is UNSET else moment - EPOCH for moment in values]
    return arrow.array(since, type=arrow.duration("us")).cast(arrow.int64()).cast(kind)


@overload
def to_arrow(source: Iterable[Any], model: type[Model] | None = None, *, errors: Errors = "raise") -> pa.Table: ...
@overload
def to_arrow(
    source: AsyncIterable[Any], model: type[Model] | None = None, *, errors: Errors = "raise"
) -> Awaitable[pa.Table]: ...
def to_arrow(
    source: Iterable[Any] | AsyncIterable[Any], model: type[Model] | None = None, *, errors: Errors = "raise"
) -> Any:
    """Return records as an Arrow table, with typed columns.

    Date-times become timestamps, an enum two columns (`result_value`, `result_source_value`), a nested record one
    column a field (`score_percentage`), lists of records and custom fields JSON. Fields that the model does not
    declare stand in `extra` as JSON, if the client keeps them (`keep_unknown=True`).

    Args:
        source: A pager, what `get_many` returns, or any iterable of records, answers or outcomes. What comes from
            several accounts gets a column `account_id`.
        model: What the records are; needed only if there might be none.
        errors: What to do with an outcome that is an error: `raise` it, or `skip` it.

    Returns:
        The table; for an asynchronous source something to await that gives it.

    Raises:
        ExportError: pyarrow is not installed.
        InvalidArgumentError: There are no records, and no model was given.
        StackOneError: What the source raises.
    """
    tables = _Tables(model, errors)
    if isinstance(source, AsyncIterable):
        return _collect(source, tables)
    for item in source:
        tables.add(item)
    return tables.result()


async def _collect(source: AsyncIterable[Any], tables: _Tables) -> pa.Table:
    items = aiter(source)
    try:
        async for item in items:
            tables.add(item)
    finally:
        close = getattr(items, "aclose", None)
        if close is not None:
            await close()  # what it still fetches is not needed after an error
    return tables.result()


class _Tables:
    """Collects record batches."""

    def __init__(self, model: type[Model] | None, errors: Errors) -> None:
        import_pyarrow()
        self._model, self._skip = model, errors == "skip"
        self._schema: pa.Schema | None = None
        self._batches: list[pa.RecordBatch] = []
        self._accounts: list[str | None] = []
        self._records: list[Model] = []

    def add(self, item: Any) -> None:
        value, account = item, getattr(item, "account_id", None)
        error = getattr(value, "error", None)
        if isinstance(error, StackOneError):
            if self._skip:
                return
            raise error
        if not isinstance(value, Model):
            value = getattr(value, "result", value)
        if isinstance(value, Result):
            value = cast("Result[Any]", value).data
        if not isinstance(value, Model):
            raise InvalidArgumentError(f"a record is expected, not {type(value).__name__}")
        self._records.append(value)
        self._accounts.append(account if isinstance(account, str) else None)
        if len(self._records) == BATCH:
            self._make_batch()

    def _make_batch(self) -> None:
        accounts, records = self._accounts, self._records
        if not records:
            return
        model = self._model or model_of(type(records[0]))
        self._model, self._accounts, self._records = model, [], []
        columns: dict[str, Sequence[Any]] = {ACCOUNT: accounts, **spread(model, Rows(records, {}, {}), unset=True)}
        self._batches.append(batch_of(self._declare(with_account=accounts[0] is not None), columns))

    def _declare(self, *, with_account: bool) -> pa.Schema:
        if self._schema is None:
            if self._model is None:
                raise InvalidArgumentError("there are no records; pass model= to get an empty table")
            account = [Column(ACCOUNT, "string")] if with_account else []
            self._schema = schema_of([*account, *columns_of(self._model), Column(EXTRA, "text")])
        return self._schema

    def result(self) -> pa.Table:
        self._make_batch()
        table: pa.Table = import_pyarrow().Table.from_batches(self._batches, schema=self._declare(with_account=False))
        return table
