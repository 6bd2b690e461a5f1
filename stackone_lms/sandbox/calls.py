"""A call: everything that carrying out an operation needs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from .problems import Problem, provider_error
from .query import Query
from .recording import Answer
from .store import Account, Row, dumps


@dataclass(frozen=True, slots=True)
class Operation:
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
    run: Callable[["Call"], Answer]
    table: str
    filters: frozenset[str] = frozenset()


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
    """

    operation: Operation
    account: Account
    ids: list[str]
    query: Query
    headers: Mapping[str, str]
    body: bytes
    now: str
    empty_pages: bool
    delete_status: int

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

    def written(self, status: int, message: str, *, http_status: int | None = None, **extra: object) -> Answer:
        """Make the answer to a write."""
        body = {"statusCode": status, "message": message, "timestamp": self.now, **extra}
        return Answer(http_status or status, dumps(body))
