"""A list of several accounts as an Arrow stream: what everything takes that reads Arrow."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from ..base_client import bound_executor_of
from ..calls.lists import SyncPager
from ..calls.signatures import not_for_users
from ..errors import InvalidArgumentError
from ..export.options import account_ids
from ..export.records.arrow import import_pyarrow
from ..models.accounts import LinkedAccount
from ..sync import SyncClient
from .connect import Connect
from .gathering import BATCH_ROWS, Failures, check_sizes, gather
from .reading import Batch, Failure, schema
from .slices import Slice, refuse_twice

if TYPE_CHECKING:
    import pyarrow as pa


class Scan:
    """A list of one or several accounts, which is fetched when it is read, anew each time.

    Everything that takes the Arrow C stream interface reads it as it is: Polars, DuckDB, pyarrow, ADBC, Delta Lake. The
    batches of the accounts come as they arrive, those of one account in their order.
    """

    @not_for_users("`stackone_lms.arrow.scan()` makes one")
    def __init__(
        self,
        resource: str,
        slices: Callable[[], Iterable[Slice]],
        client: Callable[[], SyncClient],
        whole: pa.Schema,
        at_once: int | None,
        batch_rows: int,
        on_failure: Callable[[Failure], object] | None,
    ) -> None:
        self._resource, self._slices, self._client = resource, slices, client
        self._schema, self._at_once, self._batch_rows, self._on_failure = whole, at_once, batch_rows, on_failure

    @property
    def schema(self) -> pa.Schema:
        """The schema of its batches; nothing is fetched for it."""
        return self._schema

    def __iter__(self) -> Iterator[Batch]:
        """Fetch it, and yield its batches with their cursors."""
        return self._batches()

    def _batches(self) -> Generator[Batch]:
        failures: Failures = "raise" if self._on_failure is None else "yield"
        stream: Generator[Any] = gather(
            self._client(), self._slices(), at_once=self._at_once, batch_rows=self._batch_rows, failures=failures
        )
        with closing(stream):
            for item in stream:
                if isinstance(item, Failure):
                    if self._on_failure is not None:
                        self._on_failure(item)
                else:
                    yield item

    def _data(self) -> Generator[pa.RecordBatch]:
        with closing(self._batches()) as batches:
            for batch in batches:
                if batch.data.num_rows:
                    yield batch.data

    def reader(self) -> pa.RecordBatchReader:
        """Return a reader that fetches it, once, as it is read. What was not read when it is closed is not fetched."""
        reader: pa.RecordBatchReader = import_pyarrow().RecordBatchReader.from_batches(self._schema, self._data())
        return reader

    def read_all(self) -> pa.Table:
        """Fetch it, and return all its records as a table.

        Raises:
            StackOneError: A list failed.
        """
        table: pa.Table = import_pyarrow().Table.from_batches(self._data(), schema=self._schema)
        return table

    def __arrow_c_schema__(self) -> object:
        return self._schema.__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        reader: Any = self.reader()
        return reader.__arrow_c_stream__(requested_schema)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._resource}: {len(self._schema.names)} columns>"


def scan(
    resource: str,
    accounts: str | Iterable[str | LinkedAccount] | os.PathLike[str] | None = None,
    *,
    all_accounts: bool = False,
    client: SyncClient | None = None,
    connect: Connect | None = None,
    updated_after: datetime | date | str | None = None,
    filters: Mapping[str, str | bool] | None = None,
    columns: Iterable[str] | None = None,
    users: Iterable[str] | None = None,
    page_size: int = 100,
    at_once: int | None = None,
    batch_rows: int = BATCH_ROWS,
    on_failure: Callable[[Failure], object] | None = None,
) -> Scan:
    """Return a list of one or several accounts as an Arrow stream that fetches when it is read.

        polars.DataFrame(scan("completions", ["123", "456"]))
        completions = scan("completions", all_accounts=True)
        duckdb.sql("select result_value, count(*) from completions group by 1")

    Nothing is fetched before it is read, and each reading fetches anew: what is used twice belongs into a table
    (`read_all()`) or a file first. The rows have the columns of an export's Parquet files but for those of the run,
    `_exported_at` and `_run`, with `account_id` first.

    Args:
        resource: Such as `completions`, `users`; `users.completions` for the lists of all users.
        accounts: The linked accounts: ids, accounts as `client.accounts.list()` delivers them, or a file that names
            them, as for exports. Default: that of the client.
        all_accounts: Every active account of the API key, looked up at each reading, in the place of `accounts`.
        client: Fetches. Default: `connect.client()`.
        connect: How to reach the API. Default: by the environment, `Connect()`.
        updated_after: Only records changed after this moment.
        filters: Filters of the list by their names.
        columns: Names of columns, in the order wanted. Default: all. Only their fields are asked for.
        users: Of lists of users: whose. Default: all users.
        page_size: Records a page.
        at_once: Accounts under way at most. Default: as many as the rate limit has room for.
        batch_rows: Records of a batch.
        on_failure: Called with the `Failure` of a list, from the thread that reads; the others go on. Default: the
            first error ends the reading and is raised, or told by whatever reads the stream.

    Raises:
        InvalidArgumentError: Before any I/O: there is no such list, column or filter, or no account, or one is given
            twice, or together with `all_accounts`.
        ExportError: pyarrow is not installed; the message names the extra.
    """
    if client is not None and connect is not None:
        raise InvalidArgumentError("give client= or connect=, not both")
    if client is not None and not isinstance(client, SyncClient):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidArgumentError("what reads Arrow streams does not await: give a SyncClient, or use gather()")
    given = None if columns is None else tuple(columns)
    whole = schema(resource, given)
    check_sizes(at_once, batch_rows)
    their = None if users is None else tuple(users)

    def make(account: str) -> Slice:
        return Slice(
            resource,
            account,
            updated_after=updated_after,
            filters=filters or {},
            columns=given,
            page_size=page_size,
            users=their,
        )

    def the_client() -> SyncClient:
        return client or (connect or Connect()).client()

    if accounts is not None and all_accounts:
        raise InvalidArgumentError("give accounts or all_accounts=True, not both")
    if all_accounts or isinstance(accounts, SyncPager):
        make("any")  # checks the rest
        pager = accounts if isinstance(accounts, SyncPager) else None

        def look_up() -> list[Slice]:
            found = the_client().accounts.list(status="active") if pager is None else pager
            return [make(id) for id in account_ids_of(found)]

        slices: Callable[[], list[Slice]] = look_up
    else:
        if accounts is None:
            accounts = bound_executor_of(the_client()).settings.account_id
        if accounts is None:
            raise InvalidArgumentError("name at least one account, or give all_accounts=True")
        known = [make(id) for id in account_ids_of(accounts)]

        def slices() -> list[Slice]:
            return known

    return Scan(resource, slices, the_client, whole, at_once, batch_rows, on_failure)


def account_ids_of(accounts: str | Iterable[str | LinkedAccount] | os.PathLike[str]) -> tuple[str, ...]:
    """Return the ids of some accounts.

    Raises:
        InvalidArgumentError: There are none, one of them cannot be an id, or one is given twice.
    """
    several = accounts if isinstance(accounts, str | os.PathLike) else list(accounts)
    ids = account_ids(several)
    if isinstance(several, list) and len(ids) < len(several):
        given = [one.id if isinstance(one, LinkedAccount) else one for one in several]
        refuse_twice("the account", map(str, given))
    return ids
