"""The columns of a list in Spark's words, and those of them that a user's schema asks for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ..batches import schema
from ..batches.slices import refuse_twice
from ..errors import InvalidArgumentError
from ..export.records.arrow import import_pyarrow

if TYPE_CHECKING:
    import pyarrow as pa

FAILURE: Final = "_failure"
"""The column of what could not be read: JSON; null in the rows of records."""
_TYPES: Final = {
    "string": "string",
    "list<item: string>": "array<string>",
    "bool": "boolean",
    "double": "double",
    "timestamp[us, tz=UTC]": "timestamp",
}


class Field(NamedTuple):
    """A column of a schema in Spark."""

    name: str
    """Its name."""
    type: str
    """Its type in SQL, such as `array<string>`."""
    nullable: bool = True
    """Whether it may be null."""


def fields_of(resource: str, *, failures: bool) -> list[Field]:
    """Return the columns of a list; with `failures` that of what could not be read is the last."""
    there: Any = schema(resource)
    found = [Field(name, _TYPES[str(kind)]) for name, kind in zip(there.names, there.types, strict=True)]
    return [*found, Field(FAILURE, "string")] if failures else found


def as_ddl(fields: Iterable[Field]) -> str:
    """Return columns as Spark reads them."""
    return ", ".join(f"`{field.name}` {field.type}" for field in fields)


def check_fields(resource: str, wanted: Iterable[Field], *, failures: bool) -> tuple[str, ...]:
    """Return the names of the columns that a schema asks for, in its order.

    Raises:
        InvalidArgumentError: There is no such column, or it has another type, or cannot do without nulls.
    """
    several, there = list(wanted), {field.name: field.type for field in fields_of(resource, failures=failures)}
    if not several:
        raise InvalidArgumentError("the schema has no column; leave it out for all")
    for name, kind, nullable in several:
        if name not in there:
            flat = [one for one in there if one.startswith(f"{name}_")]
            found = (
                f"its fields are columns of their own: {', '.join(flat)}" if flat else f"there are: {', '.join(there)}"
            )
            raise InvalidArgumentError(f"{resource} have no column {name!r:.60}; {found}")
        if kind != there[name]:
            raise InvalidArgumentError(f"the column {name} is {there[name]}, not {kind:.60}: cast it after reading")
        if not nullable:
            raise InvalidArgumentError(f"the column {name} may be null: leave NOT NULL away")
    names = tuple(field.name for field in several)
    refuse_twice("the column", names)
    if failures and FAILURE not in names:
        raise InvalidArgumentError(f"onError=row needs the column {FAILURE} string in the schema")
    return names


def columns_of_slices(resource: str, names: Iterable[str]) -> tuple[str, ...] | None:
    """Return the columns to ask for; None: all, in the order of the list."""
    columns = tuple(name for name in names if name != FAILURE)
    return None if columns == tuple(schema(resource).names) else columns or ("account_id",)


def arranged(data: Any, names: tuple[str, ...]) -> pa.RecordBatch:
    """Return records with these columns in this order; that of failures is null."""
    arrow = import_pyarrow()
    by_name: dict[str, Any] = dict(zip(data.schema.names, data.columns, strict=True))
    by_name.setdefault(FAILURE, arrow.nulls(data.num_rows, arrow.string()))
    batch: pa.RecordBatch = arrow.RecordBatch.from_arrays([by_name[name] for name in names], names=list(names))
    return batch


def failure_row(resource: str, names: tuple[str, ...], account: str, failure: str) -> pa.RecordBatch:
    """Return the row that stands for a list that could not be read."""
    arrow = import_pyarrow()
    there: Any = schema(resource)
    types: dict[str, Any] = {**dict(zip(there.names, there.types, strict=True)), FAILURE: arrow.string()}
    values = {"account_id": account, FAILURE: failure}
    arrays = [arrow.array([values.get(name)], type=types[name]) for name in names]
    batch: pa.RecordBatch = arrow.RecordBatch.from_arrays(arrays, names=list(names))
    return batch
