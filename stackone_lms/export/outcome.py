"""What an export tells: how far it is, and what became of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import msgspec

from ..errors import StackOneError

State: TypeAlias = Literal["waiting", "fetching", "writing", "done", "failed"]


class _OfAccount(msgspec.Struct, frozen=True, kw_only=True):
    """Something about one list. Its repr does not name the account."""

    resource: str
    """As on a client: `completions`, `users.completions`."""
    account_id: str
    """The linked account."""

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [(name, "***" if name == "account_id" else getattr(self, name)) for name in self.__struct_fields__]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.__rich_repr__())})"


class ExportProgress(_OfAccount, frozen=True, kw_only=True):
    """How far one list is; given to `progress=` after every page."""

    state: State
    """What is being done."""
    records: int
    """Records fetched."""
    total: float | None = None
    """How many there will be, where the API tells: courses and content."""


ProgressCallback: TypeAlias = Callable[[ExportProgress], object]
"""What `progress=` takes; called on the client's event loop, so it has to be quick."""


class ListOutcome(_OfAccount, frozen=True, kw_only=True):
    """What became of one list."""

    records: int
    """Records that the target holds now."""
    fetched: int
    """Records that came, in all tries of this run together."""
    superseded: int = 0
    """Records superseded by a later version of the same."""
    missing_users: int = 0
    """Users whose list was asked for and not found, of lists of users."""
    seconds: float = 0.0
    """How long it took this time."""
    error: StackOneError | None = None
    """Why it did not reach its end; it goes on from there the next time."""

    @property
    def ok(self) -> bool:
        """Whether it is complete."""
        return self.error is None

    @property
    def dropped(self) -> int:
        """Former name of `superseded`; it goes in the next release."""
        return self.superseded

    @property
    def gone_users(self) -> int:
        """Former name of `missing_users`; it goes in the next release."""
        return self.missing_users


class ExportResult(msgspec.Struct, frozen=True, kw_only=True):
    """What became of an export."""

    lists: tuple[ListOutcome, ...]
    """Every list asked for, in the order asked for."""
    seconds: float
    """How long it took this time."""

    @property
    def ok(self) -> bool:
        """Whether all lists are complete."""
        return all(outcome.ok for outcome in self.lists)

    @property
    def failures(self) -> tuple[ListOutcome, ...]:
        """The lists that did not reach their end."""
        return tuple(outcome for outcome in self.lists if not outcome.ok)

    @property
    def records(self) -> int:
        """Records that the target holds of these lists."""
        return sum(outcome.records for outcome in self.lists)
