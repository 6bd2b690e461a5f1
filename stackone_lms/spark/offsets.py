"""The offset of a stream: how far each list is, as plain JSON in the checkpoint of Spark.

A stream goes round: the first round reads all lists whole, each further one what has changed since the one before.
Which round a change belongs to is told by moments that stand in the offset, so that each version of a record comes in
one round, and a micro-batch that is read again is the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple, Self

import msgspec

from ..batches import Slice
from ..errors import InvalidArgumentError
from ..models.base import to_wire

_VERSION: Final = 1
_DAMAGED: Final = "the checkpoint was changed, or damaged"
WRONG_CLOCK: Final = timedelta(days=7)
"""A change that is stamped so long after the beginning of its round is delivered at once: its clock is wrong."""


class Place(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A place in the list of an account."""

    after: str | None = None
    """Only records changed after it."""
    cursor: str | None = None
    """Where it goes on; None: at its beginning."""
    pages: int = 0
    """Pages that were delivered in this round."""
    error: str | None = None
    """Why the list, or that of one of its users, could not be read on."""
    until: str | None = None
    """Of a list that was begun in an earlier round: up to where changes belong to it."""


class ReadRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What each list is asked for with: a cursor, and a number of pages, hold for the same only."""

    page_size: int
    """Records a page."""
    filters: dict[str, str] = {}
    """Filters of the list."""
    columns: str = "all"
    """The columns asked for, with commas between."""

    @classmethod
    def of(cls, page_size: int, filters: Mapping[str, str], columns: Iterable[str] | None) -> Self:
        """Return it for columns in any order."""
        return cls(page_size, dict(filters), "all" if columns is None else ",".join(sorted(columns)))

    def differences(self, wanted: ReadRequest) -> str:
        """Say what is different from what is wanted."""
        several = (
            ("pageSize", self.page_size, wanted.page_size),
            ("filters", self.filters or "none", wanted.filters or "none"),
            ("columns", self.columns, wanted.columns),
        )
        return "; ".join(f"{name} {here}, not {there}" for name, here, there in several if here != there)


class Range(NamedTuple):
    """A part of the list of an account that was delivered between two offsets."""

    account: str
    """The account."""
    start: Place
    """Where it begins."""
    pages: int | None
    """How many pages it has; None: up to the end of the list."""
    end: str | None
    """The cursor behind it, if there is one."""


class Offset(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How far a stream is."""

    version: int
    resource: str
    """Name of the list."""
    request: ReadRequest
    """What its lists are asked for with."""
    round: int
    """Which round it is in; 0: none has begun."""
    began: str | None
    """When the round began."""
    until: str | None
    """Changes up to here belong to the round; None: whatever is there."""
    after: str | None
    """The `until` of the round before: where the changes of known accounts begin; None: their lists are read whole."""
    since: str | None
    """Where the changes of new accounts begin; None: their lists are read whole."""
    accounts: tuple[str, ...]
    """Those of the round, the new ones first."""
    new: int
    """How many of them are new."""
    started: int
    """How many of them were started, in their order."""
    open: dict[str, Place]
    """Lists under way."""
    behind: dict[str, Place]
    """Lists that failed, in this round or in one before: the next round goes on with them where they stopped."""

    @classmethod
    def first(cls, resource: str, request: ReadRequest) -> Self:
        """Return that of a stream that has not begun."""
        return cls(_VERSION, resource, request, 0, None, None, None, None, (), 0, 0, {}, {})

    @classmethod
    def of(cls, value: Mapping[str, Any], resource: str) -> Self:
        """Return what a checkpoint holds.

        Raises:
            InvalidArgumentError: It is none of such a stream.
        """
        try:
            found = msgspec.convert(value, cls)
        except msgspec.ValidationError:
            found = None
        if found is None or found.version != _VERSION:
            raise InvalidArgumentError("the checkpoint was not written by this source, or by another version of it")
        if found.resource != resource:
            raise InvalidArgumentError(f"the checkpoint is that of a stream of {found.resource}, not of {resource}")
        if not found._is_possible():
            raise InvalidArgumentError(
                "the checkpoint was changed, or damaged: its offset cannot be; take an older one"
            )
        return found

    def _is_possible(self) -> bool:
        several, started = set(self.accounts), set(self.accounts[: self.started])
        places = [*self.open.values(), *self.behind.values()]
        moments = [self.began, self.until, self.after, self.since]
        moments += [moment for place in places for moment in (place.after, place.until)]
        return (
            len(several) == len(self.accounts)
            and 0 <= self.new <= len(several)
            and 0 <= self.started <= len(several)
            and self.open.keys() <= started
            and self.behind.keys() <= several - self.open.keys()
            and (self.round > 0 or not several)
            and (self.round == 0) == (self.began is None)
            and all(place.pages >= 0 and place.cursor != "" for place in places)
            and all(moment is None or _is_moment(moment) for moment in moments)
            and all(id and id.isascii() and id.isprintable() and " " not in id for id in several)
        )

    def refuse_another(self, wanted: ReadRequest) -> None:
        """Refuse to go on with lists that were begun in another way.

        Raises:
            InvalidArgumentError: They were.
        """
        if self.request != wanted:
            raise InvalidArgumentError(
                f"the lists under way in the checkpoint were begun with {self.request.differences(wanted)}: go on with "
                "that until the round is over, or begin a new checkpoint"
            )

    def as_json(self) -> dict[str, Any]:
        """Return it as Spark keeps it."""
        found: dict[str, Any] = msgspec.to_builtins(self)
        return {**found, "accounts": list(self.accounts)}

    @property
    def ended(self) -> bool:
        """Whether its round is over."""
        return not self.open and self.started == len(self.accounts)

    def next_round(
        self,
        accounts: Iterable[str],
        request: ReadRequest,
        *,
        now: datetime,
        lag: timedelta,
        since: str | None,
        dated: bool,
    ) -> Self:
        """Return the beginning of the next round.

        Args:
            accounts: Those that it shall read.
            request: What their lists are asked for with; one that broke off begins anew if that was another.
            now: The moment.
            lag: How old a change has to be.
            since: Where the changes of new accounts begin.
            dated: Whether the records tell when they were changed; lists of others are read whole each time.
        """
        several, known = list(accounts), set(self.accounts)
        new = [id for id in several if id not in known]
        behind = {id: msgspec.structs.replace(place, pages=0) for id, place in self.behind.items() if id in several}
        if request != self.request:
            behind = {id: Place(place.after, error=place.error) for id, place in behind.items()}
        return type(self)(
            _VERSION,
            self.resource,
            request,
            self.round + 1,
            to_wire(_milliseconds(now)),
            to_wire(_milliseconds(now - lag)) if dated else None,
            self.until,
            since,
            (*new, *(id for id in several if id in known)),
            len(new),
            0,
            {},
            behind,
        )

    def without(self, accounts: Iterable[str]) -> Self:
        """Return it with none but these accounts, as far as it has them; the others count as new when they are back."""
        kept = frozenset(accounts)
        if kept.issuperset(self.accounts):
            return self
        return msgspec.structs.replace(
            self,
            accounts=tuple(id for id in self.accounts if id in kept),
            new=sum(id in kept for id in self.accounts[: self.new]),
            started=sum(id in kept for id in self.accounts[: self.started]),
            open={id: place for id, place in self.open.items() if id in kept},
            behind={id: place for id, place in self.behind.items() if id in kept},
        )

    def waiting(self) -> Iterator[tuple[str, Place]]:
        """Yield what is left of the round: the lists under way, then those that were not started."""
        yield from self.open.items()
        for number in range(self.started, len(self.accounts)):
            yield self.accounts[number], self._beginning(number)

    def place(self, account: str) -> Place:
        """Return where the list of an account is that has not ended in this round."""
        return self.open.get(account) or self._beginning(self.accounts.index(account))

    def _beginning(self, number: int) -> Place:
        behind = self.behind.get(self.accounts[number])
        if behind is not None:
            return msgspec.structs.replace(behind, error=None)
        return Place(self.since if number < self.new else self.after)

    def delivered(self, account: str, cursor: str | None, pages: int, error: str | None = None) -> Self:
        """Return it when some pages of a list were delivered.

        Args:
            account: The list is that of this account.
            cursor: Where it goes on; None: it has ended.
            pages: How many pages.
            error: Why the list of one of its users has to be read once more.
        """
        here, before = self._taken(account)
        now = Place(before.after, cursor, before.pages + pages, error or before.error, before.until)
        if cursor is not None:
            here.open[account] = now
        elif now.error is not None:
            here.behind[account] = msgspec.structs.replace(now, until=None)
        elif now.until is not None:  # the changes since it was begun
            here.behind[account] = Place(now.until, pages=now.pages)
        return here

    def failed(self, account: str, cursor: str | None, error: str, *, retryable: bool) -> Self:
        """Return it when a list has failed: the next round goes on there, or begins it anew where that cannot help.

        Args:
            account: The list is that of this account.
            cursor: Where it stopped.
            error: Why.
            retryable: Whether the same request may succeed later.
        """
        here, before = self._taken(account)
        if not retryable and not before.pages:
            cursor = None
        until = None if cursor is None else before.until or self.until
        here.behind[account] = Place(before.after, cursor, before.pages, error, until)
        return here

    def _taken(self, account: str) -> tuple[Self, Place]:
        """Return a copy in which a list is not under way any more, though started, and where that was."""
        under_way, behind, started = dict(self.open), dict(self.behind), self.started
        if account not in under_way:
            end = self.accounts.index(account, started) + 1
            for number in range(started, end):
                under_way[self.accounts[number]] = self._beginning(number)
                behind.pop(self.accounts[number], None)
            started = end
        place = under_way.pop(account)
        return msgspec.structs.replace(self, started=started, open=under_way, behind=behind), place

    def bounds(self, place: Place) -> tuple[str, str] | None:
        """Return between which moments a change of a list is left to a later round; None: all are delivered."""
        until = place.until or self.until
        if until is None or self.began is None:
            return None
        return until, to_wire(datetime.fromisoformat(self.began) + WRONG_CLOCK)

    def ranges(self, end: Offset) -> Iterator[Range]:
        """Yield what was delivered between this offset and a later one of the same round, or of the next one."""
        start = self if self.round == end.round else end._at_its_beginning(self.behind)
        here = dict(start.waiting())
        numbers = {id: number for number, id in enumerate(end.accounts)}
        for account, place in here.items():
            number = numbers.get(account)
            if number is None or number >= end.started:
                continue
            there = end.open.get(account) or end.behind.get(account)
            if there is None:
                yield Range(account, place, None, None)
            elif there.pages > place.pages:
                yield Range(account, place, there.pages - place.pages, there.cursor)

    def _at_its_beginning(self, behind: Mapping[str, Place]) -> Offset:
        kept = {id: msgspec.structs.replace(place, pages=0) for id, place in behind.items() if id in self.accounts}
        return msgspec.structs.replace(self, started=0, open={}, behind=kept)


def _milliseconds(moment: datetime) -> datetime:
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def _is_moment(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False


def at(what: Slice, place: Place) -> Slice:
    """Return the list of an account from a place on.

    Raises:
        InvalidArgumentError: The cursor is none.
    """
    try:
        return Slice(
            what.resource,
            what.account_id,
            updated_after=place.after,
            cursor=place.cursor,
            filters=what.filters,
            columns=what.columns,
            page_size=what.page_size,
        )
    except InvalidArgumentError as error:
        raise InvalidArgumentError(f"{_DAMAGED}: {error}") from None
