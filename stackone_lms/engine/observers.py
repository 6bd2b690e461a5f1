"""Observers: objects of the caller that see calls, requests, waits, bulk fetches and exports begin and end."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias, cast

import msgspec

from ..errors import ConfigurationError
from ..logs import log
from .concurrency import WaitReason
from .stats import Stats


class CallStart(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A call that begins: one operation in one account, with all its requests and waits."""

    operation: str
    """What is called, such as `completions.get`; of `client.request` method and path."""
    method: str
    """HTTP method."""
    path_template: str | None
    """The path with placeholders for its ids, such as `/unified/lms/completions/{id}`; None for `client.request`."""
    account_id: str | None
    """The linked account; None for what belongs to none."""
    base_url: str
    """Where the API is: scheme, host and path."""


class AttemptEnd(msgspec.Struct, frozen=True, kw_only=True):
    """A request that is over."""

    number: int
    """Which request of the call it was, from 1."""
    seconds: float
    """From its sending to the last byte of the answer."""
    status: int | None = None
    """HTTP status code; None if no answer came."""
    request_id: str | None = None
    """StackOne's id of the request."""
    error: BaseException | None = None
    """Why no answer came: a StackOneError, or what cancelled it. An answer of any status is none."""


class WaitEnd(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A wait that is over, also if the call was cancelled meanwhile."""

    reason: WaitReason
    """What it waited for; where it waited for two things in turn, the one that took most of the time.

    - `rate_limit`: the client-side rate limit of the API key.
    - `shared_limit`: a limit that several processes share, asking for it included.
    - `concurrency_limit`: a free slot, of the account's own limit or of `max_concurrency`.
    - `account_pause`: the end of a pause that the server asked the account for (`Retry-After`).
    - `key_pause`: the same for the whole API key.
    - `retry_pause`: the pause before a retry.
    """
    seconds: float
    """How long."""


class RetryScheduled(msgspec.Struct, frozen=True, kw_only=True):
    """A request that failed and will be sent again."""

    number: int
    """Which request of the call failed, from 1."""
    error: BaseException
    """What it failed with."""
    pause: float
    """Seconds until the next one."""


class CallEnd(msgspec.Struct, frozen=True, kw_only=True):
    """A call that is over."""

    attempts: int
    """Requests that it sent."""
    seconds: float
    """How long it took, waits included."""
    error: BaseException | None = None
    """What it raised; `asyncio.CancelledError` if it was cancelled."""


class BulkStart(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A bulk fetch, or one list of an export, that begins."""

    operation: str
    """Which, such as `completions.get_many`; of an export the list, such as `completions.list`."""
    account_id: str | None
    """The linked account; None where there are several."""
    accounts: int = 1
    """How many accounts."""
    total: int | None = None
    """How many ids, if known."""


class BulkProgress(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """How far a bulk fetch, or one list of an export, is."""

    done: int
    """Outcomes delivered, or records of the list fetched."""
    failed: int = 0
    """Of those outcomes, errors; of lists of users, users whose list could not be read."""
    total: int | None = None
    """How many there will be, if known."""


class BulkEnd(BulkProgress, frozen=True, kw_only=True, gc=True):
    """A bulk fetch, or one list of an export, that is over."""

    seconds: float
    """How long it took."""
    error: BaseException | None = None
    """What ended it early; outcomes that are errors do not."""


class ExportStart(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An export that begins."""

    accounts: int
    """Accounts of this run."""
    lists: int
    """Lists of this run."""


class ExportEnd(msgspec.Struct, frozen=True, kw_only=True):
    """An export that is over."""

    lists: int
    """Lists of this run that were tried."""
    failed: int
    """Of those, the ones that are not complete."""
    records: int
    """Records fetched."""
    seconds: float
    """How long it took."""
    error: BaseException | None = None
    """What ended it early; lists that failed do not."""


class CallObserver(Protocol):
    """Sees one call. Its requests come one after the other.

    All methods are called on the client's event loop, in the task of the call, so that contextvars set in one are there
    in the next.
    """

    def waited(self, wait: WaitEnd, /) -> None:
        """Hear that the call has waited."""
        return

    def attempt_started(self, number: int, /) -> Mapping[str, str] | None:
        """Hear that a request is sent now, the how-manieth of the call, from 1.

        Returns:
            Headers to add to it, or None. Those that `extra_headers` refuses cannot be added.
        """
        return None

    def attempt_ended(self, attempt: AttemptEnd, /) -> None:
        """Hear that a request is over."""
        return

    def retrying(self, retry: RetryScheduled, /) -> None:
        """Hear that a request will be sent again, after a pause."""
        return

    def ended(self, call: CallEnd, /) -> None:
        """Hear that the call is over."""
        return


class BulkObserver(Protocol):
    """Sees one bulk fetch, or one list of an export."""

    def call_started(self, call: CallStart, /) -> CallObserver | None:
        """Hear of a call that is a part of it, which `Observer.call_started` does not hear of.

        Returns:
            What shall see it; None: nothing.
        """
        return None

    def progressed(self, progress: BulkProgress, /) -> None:
        """Hear how far it is, ten times a second at most; of lists, after each page."""
        return

    def ended(self, end: BulkEnd, /) -> None:
        """Hear that it is over."""
        return


class ExportObserver(Protocol):
    """Sees one export."""

    def list_started(self, list: BulkStart, /) -> BulkObserver | None:
        """Hear that one of its lists begins.

        Returns:
            What shall see it; None: nothing, and its calls go to `Observer.call_started`.
        """
        return None

    def ended(self, end: ExportEnd, /) -> None:
        """Hear that it is over."""
        return


class Observer(Protocol):
    """Sees what a client does, and all its views: pass it as `observer=`.

    Subclass it and define what you want to hear of; what you leave out does nothing.

        class SlowCalls(Observer):
            def call_started(self, call: CallStart) -> CallObserver:
                return SlowCall(call)

        class SlowCall(CallObserver):
            def __init__(self, call: CallStart) -> None:
                self.call = call

            def ended(self, end: CallEnd) -> None:
                if end.seconds > 10:
                    print(self.call.operation, end.seconds)

    Its methods are plain functions and are called on the client's event loop, SyncClient's in its own thread: they must
    be quick, and must not call the client. What one raises is logged, once for each client, and changes nothing.
    """

    def client_created(self, stats: Callable[[], Stats | None], /) -> None:
        """Hear that a client was made that this object observes, in the thread that makes it.

        Args:
            stats: Returns what `client.stats()` does, from any thread; None once the client is gone.
        """
        return

    def call_started(self, call: CallStart, /) -> CallObserver | None:
        """Hear that a call begins.

        Returns:
            What shall see it; None: nothing.
        """
        return None

    def bulk_started(self, bulk: BulkStart, /) -> BulkObserver | None:
        """Hear that a bulk fetch begins (`get_many`, over several accounts too).

        Returns:
            What shall see it; None: nothing, and its calls go to `call_started`.
        """
        return None

    def export_started(self, export: ExportStart, /) -> ExportObserver | None:
        """Hear that an export begins.

        Returns:
            What shall see it; None: nothing, and its calls go to `call_started`.
        """
        return None


_STARTS = ("client_created", "call_started", "bulk_started", "export_started")


class Member:
    """One of the observers of a client.

    Attributes:
        observer: It.
    """

    __slots__ = ("_raised", "observer")

    def __init__(self, observer: Any) -> None:
        self.observer = observer
        self._raised = False

    def failed(self, method: str, problem: BaseException) -> None:
        """Log the first thing that it raises."""
        if self._raised:
            return
        self._raised = True
        log.error(
            "the observer %s raised %s in %s; what it raises later is not logged",
            type(self.observer).__name__,
            type(problem).__name__,
            method,
            exc_info=problem,
            extra={"error": type(problem).__name__},
        )


class Told(NamedTuple):
    """Something that is told, and the observer that it belongs to."""

    member: Member
    to: Any


Audience: TypeAlias = Sequence[Told]
"""Who is told of something."""

# Awaiting nothing, observers have no business with cancellation: one that raises it must not seem to cancel the call.
_CAUGHT = (Exception, asyncio.CancelledError)


def tell(audience: Audience, method: str, *about: Any) -> None:
    """Call a method of all; what they raise is logged."""
    for member, to in audience:
        try:
            answer = getattr(to, method)(*about)
        except _CAUGHT as problem:
            member.failed(method, problem)
        else:
            if answer is not None:
                _is_plain(member, method, answer)


def ask(audience: Audience, method: str, about: Any) -> list[Told]:
    """Call a method of all, and return what they answered, None left out; what they raise is logged."""
    answers: list[Told] = []
    for member, to in audience:
        try:
            answer = getattr(to, method)(about)
        except _CAUGHT as problem:
            member.failed(method, problem)
        else:
            if answer is not None and _is_plain(member, method, answer):
                answers.append(Told(member, answer))
    return answers


def _is_plain(member: Member, method: str, answer: Any) -> bool:
    """Tell whether an answer is one, and not a coroutine that nobody awaits."""
    if not inspect.iscoroutine(answer):
        return True
    answer.close()
    member.failed(method, TypeError(f"{method} must be a plain function, not async"))
    return False


default_observers: list[Any] = []
"""Observers of every client that is made, unless it is given one of the same class or of a subclass."""


def members_of(given: Any) -> list[Told]:
    """Return one observer or several, and those of every client, as an audience.

    Raises:
        ConfigurationError: One of them is no observer.
    """
    several = list(cast("Iterable[Any]", given)) if isinstance(given, list | tuple) else [given]
    if given is None:
        several = []
    given_ones = tuple(several)
    several += [one for one in default_observers if not any(isinstance(other, type(one)) for other in given_ones)]
    members: list[Told] = []
    for observer in several:
        for name in _STARTS:
            method = getattr(observer, name, None)
            if isinstance(observer, type) or not callable(method) or inspect.iscoroutinefunction(method):
                raise ConfigurationError(
                    "observer must be an object with the plain methods of stackone_lms.Observer, or a list of such "
                    f"objects, not {observer!r:.60}"
                )
        members.append(Told(Member(observer), observer))
    return members
