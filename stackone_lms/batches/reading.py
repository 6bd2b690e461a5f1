"""One list as Arrow record batches, each with the cursor that follows it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from ..calls.operation import AsyncExecutor
from ..errors import StackOneError
from ..export.entries import failure_of
from ..export.lists import find
from ..export.records.arrow import batch_of, import_pyarrow, schema_of
from ..export.records.columns import ACCOUNT, row_columns, spread
from ..export.records.lines import CHUNK, Reader
from ..export.state.journal import lines_of
from .paging import pages_of
from .slices import Position, Slice, column_names, cursor_at, position_of

if TYPE_CHECKING:
    import pyarrow as pa


def schema(resource: str, columns: Iterable[str] | None = None) -> pa.Schema:
    """Return the Arrow schema of a list: the account, the columns of its records, `extra`.

    Args:
        resource: Such as `completions`, `users.completions`.
        columns: Names of columns, in the order wanted. None: all.

    Raises:
        InvalidArgumentError: There is no such list or column.
        ExportError: pyarrow is not installed; the message names the extra.
    """
    found = find(resource)
    by_name = {column.name: column for column in row_columns(found.row_model)}
    return schema_of([by_name[name] for name in column_names(found, columns)])


@dataclass(frozen=True, slots=True)
class Batch:
    """Some records of a list, as many whole pages as they came in."""

    data: pa.RecordBatch
    """The records; none of an empty list, and perhaps in its last batch."""
    slice: Slice
    """The list that was asked for."""
    cursor: str | None
    """Where the next batch starts; None after the last."""
    pages: int
    """Pages that the records came in."""

    @property
    def ended(self) -> bool:
        """Whether it is the last batch of the list."""
        return self.cursor is None

    @property
    def remaining(self) -> Slice | None:
        """What follows it; None after the last."""
        return None if self.cursor is None else self.slice.at(self.cursor)


@dataclass(frozen=True, slots=True)
class Failure:
    """What ended a list, or the list of one of its users, before its end. What came before it was delivered."""

    slice: Slice
    """The list that was asked for."""
    cursor: str | None
    """Where to go on; None: at the beginning."""
    error: StackOneError
    """Why."""
    user_id: str | None = None
    """Of lists of users: the user whose list cannot be read. It is passed over, and the lists of the others follow."""

    @property
    def remaining(self) -> Slice:
        """What was not delivered; without the user, if it is about one."""
        return self.slice.at(self.cursor)

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values: the list, the user, and the class, message, status and request id of the error."""
        found = failure_of(self.error)
        return {
            "resource": self.slice.resource,
            "account_id": self.slice.account_id,
            "user_id": self.user_id,
            "error": found.type,
            "message": found.message,
            "status": found.status,
            "request_id": found.request_id,
        }


async def read(
    executor: AsyncExecutor, what: Slice, full: Callable[[int, int], bool]
) -> AsyncGenerator[Batch | Failure]:
    """Yield the batches of a list, then the error that ended it if one did.

    Args:
        executor: Carries its calls, for its account.
        what: The list.
        full: Tells whether so many rows of so many bytes make a batch.
    """
    rows, failed = _Rows(what), None
    position: Position | None = position_of(what)
    try:
        async with aclosing(pages_of(executor, what)) as pages:
            async for page in pages:
                if page.error is not None:
                    if rows.pages:
                        yield rows.batch(position)
                    position = page.position
                    yield Failure(what, _cursor(what, position), page.error, page.user_id)
                    continue
                position = page.position
                rows.add(page.items)
                if position is None or full(rows.count, rows.size):
                    yield rows.batch(position)
    except StackOneError as error:
        failed = error
    if failed is not None:
        if rows.pages:
            yield rows.batch(position)
        yield Failure(what, _cursor(what, position), failed)


def _cursor(what: Slice, position: Position | None) -> str | None:
    return None if position is None or position == Position() else cursor_at(what, position)


class _Rows:
    """The rows of a batch, while their pages come."""

    def __init__(self, what: Slice) -> None:
        self._slice, self._model = what, find(what.resource).row_model
        self._reader = Reader(self._model)
        self._schema = schema(what.resource, what.columns)
        self._begin()

    def _begin(self) -> None:
        self.count = self.pages = self.size = 0
        self._text = list[bytes]()
        self._text_size = 0
        self._parts = list[Any]()

    def add(self, items: Sequence[bytes | msgspec.Raw]) -> None:
        """Add the records of a page."""
        self.pages += 1
        if not items:
            return
        text = lines_of(items)
        self._text.append(text)
        self._text_size += len(text)
        self.count += len(items)
        self.size += len(text)
        if self._text_size >= CHUNK:
            self._convert()

    def _convert(self) -> None:
        text = b"".join(self._text)
        self.size -= len(text)
        found = self._reader.read_text(text)
        accounts = [self._slice.account_id] * len(found.values)
        part = batch_of(self._schema, {ACCOUNT: accounts, **spread(self._model, found, unset=True)})
        self._text, self._text_size = [], 0
        self._parts.append(part)
        self.size += part.nbytes

    def batch(self, position: Position | None) -> Batch:
        """Return what was added, and begin anew."""
        if self._text:
            self._convert()
        pages, parts = self.pages, self._parts
        self._begin()
        if not parts:
            data = batch_of(self._schema, dict.fromkeys(self._schema.names, ()))
        else:
            data = parts[0] if len(parts) == 1 else import_pyarrow().concat_batches(parts)
        return Batch(data, self._slice, _cursor(self._slice, position), pages)
