"""What a bulk fetch yields: one outcome an id; and the stream of them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Generator
from typing import Any, Generic, TypeVar, cast

import msgspec

from ..errors import StackOneError
from .frames import AsyncTabular, SyncTabular, Tabular
from .signatures import not_for_users

T = TypeVar("T")


class Outcome(msgspec.Struct, Generic[T], frozen=True):
    """What became of one id: a result, or the error that stands in its place.

    `T` is the type of the result: of what `get` returns, such as `CompletionResult`.
    """

    id: str
    """The id asked for, as it was given."""
    result: T | None = None
    """What `get` returns for it; None if it failed."""
    error: StackOneError | None = None
    """What `get` raises for it; None if it did not fail."""

    @property
    def ok(self) -> bool:
        """Whether there is a result."""
        return self.error is None

    def unwrap(self) -> T:
        """Return the result, or raise the error.

        Raises:
            StackOneError: The id failed.
        """
        if self.error is not None:
            raise self.error
        return cast("T", self.result)


class AccountOutcome(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """What came from one of several accounts.

    `T` is the type of the result: a record of a list, such as `Completion`, or what `get` returns.
    """

    account_id: str
    """The linked account."""
    id: str | None = None
    """The id of the record; None for an error that is not about one record."""
    result: T | None = None
    """The record, or the answer; None for an error."""
    error: StackOneError | None = None
    """What went wrong; None for a result."""
    cursor: str | None = None
    """Of an error that ended a list: where to resume that account's list (`next=`); None for its beginning."""

    @property
    def ok(self) -> bool:
        """Whether there is a result."""
        return self.error is None

    def unwrap(self) -> T:
        """Return the result, or raise the error.

        Raises:
            StackOneError: It is an error.
        """
        if self.error is not None:
            raise self.error
        return cast("T", self.result)


class Outcomes(Tabular):
    """Outcomes as they come, once, of whichever client."""

    __slots__ = ("_items", "_record", "of_accounts")

    @not_for_users("`get_many()` makes one, and every read in several accounts")
    def __init__(self, items: Any, record: Any, *, of_accounts: bool = False) -> None:
        self._items, self._record = items, record
        self.of_accounts = of_accounts
        """Whether each tells of which account it is, so that tables have a column for that."""

    @property
    def _model(self) -> Any:
        return self._record

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._record.__name__}>"


class AsyncOutcomes(Outcomes, AsyncTabular, AsyncGenerator[T, None]):
    """Outcomes as they come, once: an asynchronous generator that also becomes a table or a data frame.

    Breaking off the loop cancels what is under way; `contextlib.aclosing` has that done at once. `T` is the type of an
    outcome: `Outcome`, or `AccountOutcome` where several accounts are read.
    """

    __slots__ = ()
    _items: AsyncGenerator[T, None]

    def __aiter__(self) -> AsyncIterator[T]:
        return self._items  # without a step in between

    def __anext__(self) -> Coroutine[Any, Any, T]:
        return self._items.__anext__()

    def asend(self, value: None, /) -> Coroutine[Any, Any, T]:
        """See `agen.asend` of Python."""
        return self._items.asend(value)

    def athrow(self, *error: Any) -> Coroutine[Any, Any, T]:
        """See `agen.athrow` of Python."""
        return self._items.athrow(*error)

    def aclose(self) -> Coroutine[Any, Any, None]:
        """Cancel what is under way, and wait for its end."""
        return self._items.aclose()


class SyncOutcomes(Outcomes, SyncTabular, Generator[T, None, None]):
    """Outcomes as they come, once: a generator that also becomes a table or a data frame.

    Breaking off the loop cancels what is under way; `contextlib.closing` has that done at once. `T` is the type of an
    outcome: `Outcome`, or `AccountOutcome` where several accounts are read.
    """

    __slots__ = ()
    _items: Generator[T, None, None]

    def __iter__(self) -> Generator[T, None, None]:  # noqa: PYI058 (typeshed's base has a generator here)
        return self._items  # without a step in between

    def __next__(self) -> T:
        return next(self._items)

    def send(self, value: None, /) -> T:
        """See `generator.send` of Python."""
        return self._items.send(value)

    def throw(self, *error: Any) -> T:
        """See `generator.throw` of Python."""
        return self._items.throw(*error)

    def close(self) -> None:
        """Cancel what is under way, and wait for its end."""
        self._items.close()
