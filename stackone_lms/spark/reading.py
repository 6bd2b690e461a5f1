"""Batch queries: which task reads which lists, and the record batches that it gives to Spark."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from ..batches import Failure, Slice, gather, schema
from ..batches.gathering import BATCH_ROWS
from ..batches.scan import account_ids_of
from ..errors import InvalidArgumentError, StackOneError, printable
from ..export.lists import find
from ..logs import log
from ..models.base import to_wire
from .columns import arranged, columns_of_slices, failure_row
from .options import Options

if TYPE_CHECKING:
    import pyarrow as pa


def tell(failure: Failure) -> None:
    """Log a list that is passed over."""
    of = f" of user {failure.user_id}" if failure.user_id is not None else ""
    log.warning(
        "%s%s of account %s cannot be read and are passed over: %s",
        failure.slice.resource,
        of,
        failure.slice.account_id,
        words(failure.error),
    )


def words(error: StackOneError) -> str:
    """Return an error in a few words."""
    return f"{type(error).__name__}: {printable(str(error), 300)}"


def as_json(failure: Failure) -> str:
    """Return what the column of failures says."""
    told = failure.to_dict()
    del told["account_id"]  # it has a column of its own
    return msgspec.json.encode(told).decode()


class BatchQuery:
    """A query that reads lists once; it pickles, with the key.

    Args:
        options: What was asked for.
        names: The columns wanted, in order.
    """

    def __init__(self, options: Options, names: tuple[str, ...]) -> None:
        self._options, self._names = options, names
        self._columns = columns_of_slices(options.resource, names)
        self._only: frozenset[str] | None = None

    def plan(self) -> list[tuple[Slice, ...]]:
        """Return the lists of each task.

        Raises:
            StackOneError: The accounts had to be looked up, and it failed.
        """
        options = self._options
        accounts = active_accounts(options) if options.accounts is None else options.accounts
        slices = [options.slice(id, self._columns) for id in accounts if self._only is None or id in self._only]
        tasks = min(options.partitions, len(slices))
        return [tuple(slices[place::tasks]) for place in range(tasks)]

    def read(self, slices: Iterable[Slice], tasks: int) -> Generator[pa.RecordBatch]:
        """Yield the records of lists, with the one client that this process has.

        Args:
            slices: The lists of a task.
            tasks: How many there are, for each of which is a part of the limit.

        Raises:
            StackOneError: A list failed, and the others shall not go on.
        """
        options, names = self._options, self._names
        stream: Generator[Any] = gather(
            options.shared_by(tasks).client(),
            slices,
            at_once=options.accounts_at_once,
            batch_rows=options.batch_rows or BATCH_ROWS,
            failures="yield" if options.on_error in {"skip", "row"} else "raise",
        )
        with closing(stream):
            for item in stream:
                if not isinstance(item, Failure):
                    if item.data.num_rows:
                        yield arranged(item.data, names)
                    continue
                tell(item)
                if options.on_error == "row":
                    yield failure_row(options.resource, names, item.slice.account_id, as_json(item))

    def push(self, filters: Sequence[Any]) -> None:
        """Narrow what is asked for by what a query filters by; Spark filters again.

        Args:
            filters: Those of pyspark, all of which hold.
        """
        for one in filters:
            kind = type(one).__name__
            value: Any = getattr(one, "value", None)
            name = ".".join(getattr(one, "attribute", ()))
            if name == "account_id" and kind in {"EqualTo", "In"}:
                several: frozenset[str] = frozenset([value] if kind == "EqualTo" else value)
                self._only = several if self._only is None else self._only & several
            elif name == "updated_at" and kind in {"EqualTo", "GreaterThan", "GreaterThanOrEqual"}:
                self._push_moment(value)
            elif kind == "EqualTo":
                self._push_filter(name, value)

    def _push_moment(self, value: Any) -> None:
        if not isinstance(value, datetime) or value.tzinfo is None or "updated_at" not in _names(self._options):
            return
        try:
            # The API counts in milliseconds, and leaves out the moment itself.
            wire = to_wire((value.astimezone(UTC) - timedelta(milliseconds=2)).replace(microsecond=0))
        except (ValueError, OverflowError):
            return
        after = max(wire, self._options.updated_after or wire, key=datetime.fromisoformat)
        self._options = self._options._replace(updated_after=after)

    def _push_filter(self, column: str, value: Any) -> None:
        name = "status" if column == "status_value" else column
        options = self._options
        if column not in _names(options) or name in options.filters or not isinstance(value, str | bool):
            return
        narrowed = options._replace(filters={**options.filters, name: value})  # type: ignore[dict-item]
        if name not in find(options.resource).operation.filters:
            return
        try:
            narrowed.slice("any", None)
        except InvalidArgumentError:  # a value that the API does not know: Spark finds none
            return
        self._options = narrowed


def _names(options: Options) -> Sequence[str]:
    names: Sequence[str] = schema(options.resource).names
    return names


def active_accounts(options: Options) -> tuple[str, ...]:
    """Return the ids of the active accounts of the key.

    Raises:
        InvalidArgumentError: There are none.
        StackOneError: They cannot be looked up.
    """
    found = list(options.shared_by(1).client().accounts.list(status="active"))
    if not found:
        raise InvalidArgumentError("the key has no active account")
    return account_ids_of(found)
