"""A source for dlt (https://dlthub.com): lists of many accounts, merged by their ids, incrementally; extra `dlt`.

import dlt
from stackone_lms.dlt import stackone_lms

pipeline = dlt.pipeline("learning", destination="duckdb", dataset_name="lms")
pipeline.run(stackone_lms(["123", "456"], ["completions", "users"]))
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias, TypedDict, cast, get_args

from .batches import Batch, Connect, Failure, Slice, gather
from .batches.gathering import Failures, check_sizes
from .batches.scan import account_ids_of
from .configuration import from_environment
from .errors import ConfigurationError, InvalidArgumentError, NotSupportedError
from .export.formats.base import content_keys
from .export.formats.parquet import plain_columns
from .export.lists import ListResource, find
from .export.options import duration, texts
from .export.plan import FULL_EVERY, less_overlap
from .export.records.arrow import EPOCH, import_pyarrow
from .export.records.columns import ACCOUNT
from .export.records.keys import OF_USER
from .models.accounts import LinkedAccount
from .models.base import to_wire

try:
    import dlt
except ImportError:
    raise ImportError("stackone_lms.dlt needs dlt: pip install 'stackone-lms[dlt]'") from None

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["OnError", "stackone_lms"]

OnError: TypeAlias = Literal["skip", "raise"]

FAILED_LISTS = "failed_lists"
"""Name of the table of what could not be read."""
_FAILED_COLUMNS = {
    "resource": "text",
    "account_id": "text",
    "user_id": "text",
    "error": "text",
    "message": "text",
    "status": "bigint",
    "request_id": "text",
    "failed_at": "timestamp",
}
_SECRET = "sources.stackone_lms.api_key"  # noqa: S105 (where it stands)


def key_of_secrets() -> str:
    """Return the API key: `api_key` below `[sources.stackone_lms]` in dlt's secrets, else STACKONE_API_KEY.

    Raises:
        ConfigurationError: It stands in neither.
    """
    found = from_environment(dlt.secrets.get(_SECRET, str), "STACKONE_API_KEY")
    if found is None:
        raise ConfigurationError(f"no API key: set {_SECRET} in dlt's secrets, or STACKONE_API_KEY")
    return found


@dlt.source(name="stackone_lms", max_table_nesting=0)
def stackone_lms(
    accounts: str | Iterable[str | LinkedAccount] | os.PathLike[str],
    resources: str | Iterable[str] = ("completions", "users", "courses"),
    *,
    connect: Connect | None = None,
    on_error: OnError = "skip",
    full: bool = False,
    overlap: timedelta = timedelta(minutes=10),
    full_every: timedelta | None = None,
    at_once: int | None = None,
) -> Any:
    """Return lists of accounts as a dlt source: a table a list, merged on account and id.

    The first run brings every record, the following ones what changed. How far that is known is noted for each account
    by itself, in the state of the pipeline, and moves when its list was read to its end: an account that is down for
    some runs gets what it missed when it is back. Deleted records stay; `full=True` reads the lists whole, without
    removing anything.

    Arguments are checked when the source is made, and the destination before the first request: one that would append
    where it shall merge, as plain files do, is refused.

    Args:
        accounts: The linked accounts: ids, accounts, or a file that names them. Each counts once.
        resources: Names of lists. The table of `users.completions` is `user_completions`.
        connect: How to reach the API. Default: with the key in dlt's secrets, `[sources.stackone_lms] api_key`, or in
            STACKONE_API_KEY.
        on_error: `skip`: a list that fails is noted in the table `failed_lists`, and the others are loaded; if all of a
            resource fail, the first error is raised, unless no provider has such lists. `raise`: the first error ends
            the run, and nothing of it is loaded.
        full: Read every list whole, whatever is known.
        overlap: How far a run reaches back behind the newest change known.
        full_every: Read a list whole where that was done longer ago. Default: 7 days for lists with records that do not
            tell when they were changed, for changes of which nobody could ask.
        at_once: Accounts under way at most. Default: as many as the rate limit has room for.

    Raises:
        InvalidArgumentError: Something cannot be; nothing was sent.
    """
    ids = account_ids_of(accounts)
    names = texts("resources", [resources] if isinstance(resources, str) else resources)
    if not names:
        raise InvalidArgumentError("name at least one resource")
    if on_error not in get_args(OnError):
        raise InvalidArgumentError(f"on_error must be skip or raise, not {on_error!r:.40}")
    check_sizes(at_once)
    options = _Options(
        connect or Connect(key_from=f"{__name__}:{key_of_secrets.__name__}"),
        "raise" if on_error == "raise" else "yield",
        full,
        duration("overlap", overlap),
        None if full_every is None else duration("full_every", full_every),
        at_once,
    )
    for name in dict.fromkeys(names):
        yield _resource(find(name), ids, options)


class _Options(NamedTuple):
    """What was asked for."""

    connect: Connect
    failures: Failures
    full: bool
    overlap: timedelta
    full_every: timedelta | None
    at_once: int | None


def _resource(resource: ListResource, accounts: Iterable[str], options: _Options) -> Any:
    key = (ACCOUNT, OF_USER, "id") if resource.of_users else (ACCOUNT, "id")

    def rows() -> Generator[Any]:
        _check_that_it_merges()
        known: dict[str, _Known] = dlt.current.resource_state().setdefault("accounts", {})
        began = datetime.now(UTC)
        lists = {id: _AccountList(Slice(resource.name, id), key, known.get(id), options, began) for id in accounts}
        failed: list[Failure] = []
        slices = [one.slice for one in lists.values()]
        stream: Generator[Any] = gather(
            options.connect.client(), slices, at_once=options.at_once, failures=options.failures
        )
        with closing(stream):
            for item in stream:
                one = lists[item.slice.account_id]
                if isinstance(item, Failure):
                    failed.append(item)
                    one.failed = True
                    continue
                batch: Batch = item
                if batch.data.num_rows:
                    yield one.take(batch.data)
                if batch.ended:
                    one.ended = True
                    if not one.failed:
                        known[one.slice.account_id] = one.known()
        if failed and not any(one.ended for one in lists.values()) and not _unsupported(failed):
            raise failed[0].error
        if failed:
            yield _failed_lists(failed, datetime.now(UTC))

    return dlt.resource(rows, name=resource.sql_name, write_disposition="merge", primary_key=key)


def _unsupported(failed: Iterable[Failure]) -> bool:
    return all(isinstance(one.error, NotSupportedError) for one in failed)


def _check_that_it_merges() -> None:
    """Refuse a destination that would append the resource that is being extracted.

    Raises:
        InvalidArgumentError: It would.
    """
    # The rule that the load goes by; without a destination, as when a resource is only iterated, nothing is merged.
    from dlt.common.configuration.container import Container  # noqa: PLC0415
    from dlt.common.destination import DestinationCapabilitiesContext  # noqa: PLC0415
    from dlt.common.destination.utils import resolve_merge_strategy  # noqa: PLC0415

    if DestinationCapabilitiesContext not in Container():
        return
    table: Any = dlt.current.resource().compute_table_schema()
    if table["write_disposition"] == "merge" and resolve_merge_strategy({table["name"]: table}, table) is None:
        raise InvalidArgumentError(
            f"this destination cannot merge the table {table['name']}: plain files would get every changed record once "
            "more; pass table_format='delta' (or 'iceberg') to pipeline.run()"
        )


class _Known(TypedDict):
    """What the state of a pipeline says of the list of an account."""

    after: str | None
    """Up to where all changes are known."""
    full: str
    """When it was last read whole."""
    undated: bool
    """Whether some of its records do not tell when they were changed."""


class _AccountList:
    """The list of an account, while it is read.

    Args:
        what: The list.
        key: The columns that tell a record from all others.
        before: What is known of it.
        options: What was asked for.
        began: When the run began.
    """

    def __init__(
        self, what: Slice, key: Sequence[str], before: _Known | None, options: _Options, began: datetime
    ) -> None:
        self._key, self._began = key, began
        whole = options.full or before is None or before["after"] is None or _is_old(before, options, began)
        self._before = None if whole else before
        after = None
        if self._before is not None and self._before["after"] is not None:
            after = less_overlap(datetime.fromisoformat(self._before["after"]), options.overlap)
        self.slice = Slice(what.resource, what.account_id, updated_after=after)
        self.ended = self.failed = self._undated = False
        self._newest: int | None = None
        self._left: int | None = None
        self._seen = set[tuple[Any, ...]]()

    def take(self, data: pa.RecordBatch) -> pa.RecordBatch:
        """Return the rows to load of a batch, and note how new they are.

        Of a record that comes twice, since it moved while the list was read, the first version is taken and the next
        one left to the following run: not every destination can merge two in one.
        """
        rows: Any = _with_key(data, self._key)
        kept = list[int]()
        keys: Iterable[tuple[Any, ...]] = zip(*(rows.column(name).to_pylist() for name in self._key), strict=True)
        for row, key in enumerate(keys):
            if key not in self._seen:
                self._seen.add(key)
                kept.append(row)
        moments = _microseconds(rows)
        found = [moment for moment in moments if moment is not None]
        self._undated |= len(found) < len(moments)
        self._newest = _pick(max, found, self._newest)
        if len(kept) == len(moments):
            return cast("pa.RecordBatch", rows)
        left = {*range(len(moments))}.difference(kept)
        self._left = _pick(min, [moment for row in left if (moment := moments[row]) is not None], self._left)
        return cast("pa.RecordBatch", rows.take(import_pyarrow().array(kept, type="int64")))

    def known(self) -> _Known:
        """Return what is known now that it was read to its end."""
        self._seen.clear()
        before, newest = self._before, self._newest
        after = None if before is None else before["after"]
        if newest is not None:
            # A provider's clock that runs ahead must not hide what changes until then.
            mark = min(EPOCH + timedelta(microseconds=newest), self._began) if newest < _LAST else self._began
            after = max(to_wire(mark), after or "")
        if self._left is not None and after is not None:
            after = min(after, to_wire(EPOCH + timedelta(microseconds=self._left)))
        if before is None:
            return {"after": after, "full": to_wire(self._began), "undated": self._undated}
        return {"after": after, "full": before["full"], "undated": self._undated or before["undated"]}


_LAST = (datetime.max.replace(tzinfo=UTC) - EPOCH) // timedelta(microseconds=1)


def _is_old(before: _Known, options: _Options, now: datetime) -> bool:
    every = options.full_every
    if every is None and before["undated"]:
        every = FULL_EVERY
    return every is not None and now - datetime.fromisoformat(before["full"]) >= every


def _pick(choose: Callable[[Iterable[int]], int], values: Sequence[int], other: int | None) -> int | None:
    several = [*values, *(() if other is None else (other,))]
    return choose(several) if several else None


def _microseconds(data: Any) -> list[int | None]:
    """Return when each record was changed, since the epoch."""
    if "updated_at" not in data.schema.names:
        return [None] * data.num_rows
    found: list[int | None] = data.column("updated_at").cast("int64").to_pylist()
    return found


def _with_key(data: Any, key: Sequence[str]) -> Any:
    """Return rows whose key has no null: those without an id have one made of their content."""
    arrow = import_pyarrow()
    columns: dict[str, Any] = dict(zip(data.schema.names, data.columns, strict=True))
    if columns["id"].null_count:
        ids: list[str | None] = columns["id"].to_pylist()
        rows = [row for row, id in enumerate(ids) if id is None]
        for row, content in zip(rows, content_keys(plain_columns(data), rows), strict=True):
            ids[row] = f"content:{content.hex()}"
        columns["id"] = arrow.array(ids, type="string")
    fields = [field.with_nullable(field.name not in key) for field in data.schema]
    return arrow.RecordBatch.from_arrays(list(columns.values()), schema=arrow.schema(fields))


def _failed_lists(failed: Iterable[Failure], at: datetime) -> Any:
    rows = [{**one.to_dict(), "failed_at": at} for one in failed]
    columns: Any = {name: {"data_type": kind, "nullable": True} for name, kind in _FAILED_COLUMNS.items()}
    hints = dlt.mark.make_hints(
        table_name=FAILED_LISTS, write_disposition="append", primary_key="", merge_key="", columns=columns
    )
    return dlt.mark.with_hints(rows, hints, create_table_variant=True)
