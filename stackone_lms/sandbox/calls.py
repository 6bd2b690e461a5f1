"""A call: everything that carrying out an operation needs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from .problems import Problem, provider_error
from .query import Query
from .recording import ServerResponse
from .store import AccountData, Record, Row, dumps


@dataclass(frozen=True, slots=True)
class Route:
    """One operation of the API document.

    Attributes:
        name: Its `operationId`.
        method: HTTP method.
        path: Path below `/unified/lms/`, ids as `{}`.
        run: Carries a call out.
        table: The table that it reads or writes.
        filters: The keys that `filter[...]` takes.
    """

    name: str
    method: str
    path: str
    run: Callable[["Call"], ServerResponse]
    table: str
    filters: frozenset[str] = frozenset()


class Refusal(NamedTuple):
    """How a provider turns an item of a batch down."""

    status: int
    message: str


class BatchEntry(NamedTuple):
    """An item of a batch that is handed to the provider, and its refusal if there will be one."""

    item: Record
    refusal: Refusal | None


@dataclass(slots=True)
class Call:
    """One request that is to be carried out.

    Attributes:
        operation: What is asked.
        account: On whose data.
        ids: The ids in the path, decoded.
        query: The decoded query.
        headers: Header names in lower case.
        body: The body as it came.
        now: The moment that writes stamp.
        empty_pages: Whether some pages end early.
        delete_status: How a delete is answered, 200 or 204.
        upsert_status: How an upsert that replaces is answered, 201 or 200.
        refusals: What the provider will refuse of a batch, by external reference.
        batch: The items of a batch that go to the provider.
    """

    operation: Route
    account: AccountData
    ids: list[str]
    query: Query
    headers: Mapping[str, str]
    body: bytes
    now: str
    empty_pages: bool
    delete_status: int
    upsert_status: int
    refusals: Mapping[str, Refusal]
    batch: list[BatchEntry] = field(default_factory=list[BatchEntry])

    def user(self) -> Row:
        """Return the user whom the path names first, or raise the 404."""
        return self._find("users", self.ids[0])

    def row(self) -> Row:
        """Return the record that the path names last, or raise the 404."""
        row = self._find(self.operation.table, self.ids[-1])
        if len(self.ids) > 1 and row.owner != self.user().id:
            raise self._missing(self.operation.table, self.ids[-1])
        return row

    def _find(self, table: str, id: str) -> Row:
        row = self.account.tables[table].find(id)
        if row is None:
            raise self._missing(table, id)
        return row

    def _missing(self, table: str, id: str) -> Problem:
        told = provider_error(404, self.account.url(table, id), "no such record")
        return Problem(404, f"Not Found: no record of {table} has this id", provider_errors=[told])

    def written(self, status: int, message: str, *, http_status: int | None = None, **extra: object) -> ServerResponse:
        """Make the answer to a write."""
        body = {"statusCode": status, "message": message, "timestamp": self.now, **extra}
        return ServerResponse(http_status or status, dumps(body))
