"""What a bulk fetch yields: one outcome an id."""

from __future__ import annotations

from typing import Generic, TypeVar, cast

import msgspec

from ..errors import StackOneError

T = TypeVar("T")


class Outcome(msgspec.Struct, Generic[T], frozen=True):
    """What became of one id: a result, or the error that stands in its place."""

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
    """What came from one of several accounts."""

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
