"""Records as Apache Arrow tables, and through them as data frames of Polars, pandas, DuckDB; extra `arrow`.

table = to_arrow(client.completions.list())
frame = polars.from_arrow(table)
frame = table.to_pandas()
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast, get_args, overload

import msgspec
from msgspec import UNSET

from ...calls.frames import Errors
from ...calls.lists import AsyncPager, SyncPager
from ...checks import import_extra
from ...errors import DecodeError, InvalidArgumentError, StackOneError
from ...models.base import Model, Page, Result
from ...models.extras import model_of
from ...safe_json import FAILURES
from .columns import ACCOUNT, Column, Kind, Rows, cleared, row_columns, spread
from .lines import Reader

if TYPE_CHECKING:
    import pyarrow as pa

BATCH = 8192
"""Records that are made columns at once."""


def import_pyarrow() -> Any:
    """Return the module `pyarrow`.

    Raises:
        ExportError: It is not installed; the message names the extra.
    """
    return import_extra("pyarrow", extra="arrow")


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


def completed(schema: pa.Schema, batch: Any, convert: Callable[[Any, Any], Any] | None = None) -> pa.RecordBatch:
    """Return rows with the columns of a schema, in its order; those that they lack are null.

    Args:
        schema: The columns.
        batch: The rows.
        convert: Makes a column that they have one of the schema's type; None where it is.
    """
    arrow, there = import_pyarrow(), batch.schema.names
    columns: list[Any] = []
    for name, kind in zip(schema.names, schema.types, strict=True):
        column = batch.column(name) if name in there else arrow.nulls(batch.num_rows, kind)
        columns.append(column if convert is None else convert(column, kind))
    made: pa.RecordBatch = arrow.RecordBatch.from_arrays(columns, schema=schema)
    return made


EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST = (datetime.min.replace(tzinfo=UTC) - EPOCH) // timedelta(microseconds=1)
_LAST = (datetime.max.replace(tzinfo=UTC) - EPOCH) // timedelta(microseconds=1)


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
    whole = arrow.array(since, type=arrow.duration("us")).cast(arrow.int64())
    return _within_years(whole).cast(kind)


def _within_years(microseconds: Any) -> Any:
    """Return moments that have no date in UTC, at the ends of the years 1 and 9999, as the first or last that has."""
    compute: Any = import_module("pyarrow.compute")
    extremes = compute.min_max(microseconds)
    if (extremes["max"].as_py() or 0) <= _LAST and (extremes["min"].as_py() or 0) >= _FIRST:
        return microseconds
    return compute.max_element_wise(
        compute.min_element_wise(microseconds, _LAST, skip_nulls=False), _FIRST, skip_nulls=False
    )


@overload
def to_arrow(source: Iterable[Any], model: type[Model] | None = None, *, errors: Errors = "extra") -> pa.Table: ...
@overload
def to_arrow(
    source: AsyncIterable[Any], model: type[Model] | None = None, *, errors: Errors = "extra"
) -> Awaitable[pa.Table]: ...
def to_arrow(
    source: Iterable[Any] | AsyncIterable[Any], model: type[Model] | None = None, *, errors: Errors = "extra"
) -> Any:
    """Return records as an Arrow table, with typed columns.

    Date-times become timestamps, an enum two columns (`result_value`, `result_source_value`), a nested record one
    column a field (`score_percentage`), lists of records and custom fields JSON. Fields that the model does not
    declare stand in `extra` as JSON, if the client keeps them (`keep_unknown=True`).

    Args:
        source: A pager, what `get_many` returns, or any iterable of records, answers or outcomes. What comes from
            several accounts gets a column `account_id`.
        model: What the records are; needed only if there might be none.
        errors: What to do with an item that does not decode as a record. `extra`: it is a row of its own; what fits
            stands in its columns, the rest in `extra`, as in exports. `raise`: raise its DecodeError. `skip`: leave it
            out. Other outcomes that are errors are raised too, unless they are skipped.

    Returns:
        The table; for an asynchronous source something to await that gives it.

    Raises:
        ExportError: pyarrow is not installed.
        InvalidArgumentError: There are no records, and no model was given; or `errors` is none of the three.
        StackOneError: What the source raises.
    """
    tables = _Tables(model, errors, of_accounts=getattr(source, "of_accounts", False))
    if isinstance(source, AsyncIterable):
        return _collect(source.pages() if isinstance(source, AsyncPager) else source, tables)
    items = iter(source.pages() if isinstance(source, SyncPager) else source)
    try:
        for item in items:
            tables.add(item)
    finally:
        close = getattr(items, "close", None)
        if close is not None:
            close()  # what it still fetches is not needed after an error
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

    def __init__(self, model: type[Model] | None, errors: Errors, *, of_accounts: bool) -> None:
        import_pyarrow()
        if errors not in get_args(Errors):
            raise InvalidArgumentError(f"errors must be extra, raise or skip, not {errors!r:.40}")
        self._model, self._errors, self._of_accounts = model, errors, of_accounts
        self._schema: pa.Schema | None = None
        self._batches: list[pa.RecordBatch] = []
        self._accounts: list[str | None] = []
        self._records: list[Model | bytes] = []
        """Records, and the texts of what is none."""

    def add(self, item: Any) -> None:
        if isinstance(item, Page):
            for record in _in_order(cast("Page[Any]", item)):
                self._add(record, None)
            return
        account = getattr(item, "account_id", None)
        self._add(item, account if isinstance(account, str) else None)

    def _add(self, item: Any, account: str | None) -> None:
        value = item
        error = value if isinstance(value, StackOneError) else getattr(value, "error", None)
        if isinstance(error, StackOneError):
            if self._errors == "skip":
                return
            text = _text_of(error) if self._errors == "extra" else None
            if text is None:
                raise error
            self._append(text, account)
            return
        if not isinstance(value, Model):
            value = getattr(value, "result", value)
        if isinstance(value, Result):
            value = cast("Result[Any]", value).data
        if not isinstance(value, Model):
            raise InvalidArgumentError(f"a record is expected, not {type(value).__name__}")
        self._append(value, account)

    def _append(self, record: Model | bytes, account: str | None) -> None:
        self._records.append(record)
        self._accounts.append(account)
        if len(self._records) == BATCH:
            self._make_batch()

    def _make_batch(self) -> None:
        accounts, records = self._accounts, self._records
        if not records:
            return
        first = next((record for record in records if isinstance(record, Model)), None)
        model = self._model or (model_of(type(first)) if first is not None else None)
        if model is None:
            raise InvalidArgumentError("no record decodes; pass model= to say what they should be")
        self._model, self._accounts, self._records = model, [], []
        columns: dict[str, Sequence[Any]] = {ACCOUNT: accounts, **spread(model, _rows(model, records), unset=True)}
        self._batches.append(batch_of(self._declare(with_account=accounts[0] is not None), columns))

    def _declare(self, *, with_account: bool) -> pa.Schema:
        if self._schema is None:
            if self._model is None:
                raise InvalidArgumentError("there are no records; pass model= to get an empty table")
            columns = row_columns(self._model)
            self._schema = schema_of(columns if with_account else columns[1:])
        return self._schema

    def result(self) -> pa.Table:
        self._make_batch()
        table: pa.Table = import_pyarrow().Table.from_batches(
            self._batches, schema=self._declare(with_account=self._of_accounts)
        )
        return table


def _rows(model: type[Model], records: Sequence[Model | bytes]) -> Rows:
    rows, values = Rows([], {}, {}), list[Model | None]()
    reader: Reader[Model] | None = None
    for row, record in enumerate(records):
        if isinstance(record, Model):
            values.append(record)
            continue
        reader = reader or Reader(model)
        read = reader.read([record])
        values += read.values
        if read.extras:
            rows.extras[row] = read.extras[0]
        if read.whole:
            rows.whole[row] = read.whole[0]
    return rows._replace(values=values)


_PLACE = re.compile(r"\$\.data\[(\d+)\]")


def _in_order(page: Page[Any]) -> list[Any]:
    """Return the records of a page, and the errors of those that did not decode in their places."""
    items: list[Any] = list(page.data)
    for error in page.errors:
        found = _PLACE.match(error.path or "")
        items.insert(int(found[1]) if found else len(items), error)
    return items


class _WithData(msgspec.Struct):
    data: msgspec.Raw


def _text_of(error: StackOneError) -> bytes | None:
    """Return the text of a record that did not decode: an item of a page, or what an answer is about."""
    if not isinstance(error, DecodeError) or not error.body:
        return None
    if _PLACE.match(error.path or ""):
        return error.body
    try:
        return bytes(msgspec.json.decode(error.body, type=_WithData).data)
    except FAILURES:
        return None
