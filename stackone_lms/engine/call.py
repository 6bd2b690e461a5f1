"""The call: admission, attempts, answers, retries, all under one deadline."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from random import random
from typing import Any, NamedTuple, TypeVar, cast

import msgspec

from ..calls.operation import AsyncExecutor, CallArguments, Operation
from ..errors import (
    APITimeoutError,
    Attempt,
    ClientClosedError,
    ConfigurationError,
    DecodeError,
    ForkedError,
    Phase,
    StackOneError,
    WrongLoopError,
    printable,
)
from ..logs import log
from ..models.base import Answer, ResponseInfo, attach
from ..options import RateLimit, RetryPolicy, Timeout
from ..transport.base import (
    LazyTransport,
    Request,
    Response,
    ThisProcess,
    Transport,
    TransportError,
)
from .admission import Admission
from .concurrency import ConcurrencyLimit, Load
from .deadlines import Deadline, DeadlineTimer
from .hooks import HookedAttempt, Hooks
from .rate_limit import (
    Clock,
    Limiter,
    RateLimitBackend,
    Sleep,
)
from .responses import Redact, parse_response
from .retry import Budget, Failure, decide
from .stats import Choice, Counts, Stats

R = TypeVar("R")
_get_running_loop = asyncio._get_running_loop  # pyright: ignore[reportPrivateUsage] (None where none runs)

_FOREVER = float("inf")


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What may differ from one view of a client to the next."""

    account_id: str | None
    timeout: Timeout
    retry: RetryPolicy
    heartbeat: bool
    keep_unknown: bool
    verify_ids: bool
    headers: Mapping[str, str]
    body_headers: Mapping[str, str]
    redact: Redact
    extra_headers: Mapping[str, str] = {}
    """Those of the headers that the caller added."""
    extra_query: str = ""
    """What every query ends with."""
    adaptive: bool = True
    """Whether requests wait for the limit that their account has found for itself."""

    def __repr__(self) -> str:
        return f"Settings({', '.join(f'{name}={value!r}' for name, value in self.__rich_repr__())})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        shown = ("account_id", "timeout", "retry", "heartbeat", "keep_unknown")
        return [(name, getattr(self, name)) for name in shown]


class BulkContext(NamedTuple):
    """What a bulk fetch has to know of its account and client."""

    concurrency: ConcurrencyLimit
    """The account's requests."""
    limiter: Limiter
    """The rate limit of the key."""
    max_concurrency: int
    """Requests under way at once, over all accounts."""
    clock: Clock
    """Monotonic seconds."""
    sleep: Sleep
    """Suspends for so many seconds."""
    choices: deque[Choice]
    """Where to note which strategy was chosen."""


class Engine:
    """What all views of a client share: session, limiter, retry budget, slots, and the calls under way.

    Args:
        transport: Makes the transport, when it is first needed.
        prefix: Path of the base URL, without a slash at its end.
        rate_limit: Client-side limit, one shared with other processes, or None.
        max_concurrency: Requests under way at once.
        max_body: Most bytes of an answer.
        budget: Size of the retry budget.
        hooks: Functions of the caller that see requests, answers and retries.
        clock: Monotonic seconds.
        sleep: Suspends for so many seconds.
        random: Numbers from 0 to 1, for jitter.
        wall: Seconds since the epoch, for dates in answers that have no `Date` of their own.
    """

    def __init__(
        self,
        transport: Callable[[], Transport],
        *,
        prefix: str,
        rate_limit: RateLimit | RateLimitBackend | None,
        max_concurrency: int,
        max_body: int,
        budget: int,
        hooks: Hooks | None = None,
        clock: Clock = time.monotonic,
        sleep: Sleep = asyncio.sleep,
        random: Callable[[], float] = random,
        wall: Clock = time.time,
    ) -> None:
        self._prefix, self._max_body = prefix, max_body
        self._make_transport = transport
        self._transport = LazyTransport(transport)
        self._closing_with_loop: AsyncGenerator[None] | None = None
        self._hooks = hooks or None
        self._clock, self._sleep, self._random, self._wall = clock, sleep, random, wall
        self.budget = Budget(budget)
        self.deadlines = DeadlineTimer(clock)
        self.counts = Counts()
        if isinstance(rate_limit, RateLimitBackend):
            limiter = rate_limit.limiter(clock=clock, sleep=sleep)
        else:
            limiter = Limiter(rate_limit, clock=clock, sleep=sleep, slack=0.02)
        self.admission = Admission(
            limiter,
            max_concurrency=max_concurrency,
            clock=clock,
            sleep=sleep,
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._process = ThisProcess.id
        self._closed = False
        self._drained: asyncio.Future[None] | None = None

    # The life of the client

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._closed

    def _bind(self) -> asyncio.AbstractEventLoop:
        """Return the loop of the client, which is the running one.

        From one that is closed the client moves on; two that live would share connections and queues.
        """
        if self._closed:
            raise ClientClosedError("the client is closed")
        if self._process != ThisProcess.id:  # before asking for the loop: after a fork, none is running
            if self._loop is not None:
                raise ForkedError("this client was used before a fork; make a new one in the child process")
            self._process = ThisProcess.id  # never used, it holds nothing of the parent's
        loop = running_loop()
        self._leave_closed_loop()
        if self._loop is not loop:
            if self._loop is not None:
                raise WrongLoopError(
                    "this client belongs to another event loop, which is not closed; make one for each loop"
                )
            self._loop = loop
            self._closing_with_loop = closing = _close_with_loop(self._transport)
            # Begun here, without waiting for anything, since the loop then knows of it.
            with contextlib.suppress(StopIteration, ResourceWarning):  # it warns where it has ended all others already
                closing.__anext__().send(None)
        return loop

    def _leave_closed_loop(self) -> None:
        """Take along, from a loop that is closed, what is not bound to it: what the limits have found."""
        if self._loop is None or not self._loop.is_closed() or self._process != ThisProcess.id:
            return
        self._loop = self._closing_with_loop = None
        self._transport = LazyTransport(self._make_transport)
        self.deadlines = DeadlineTimer(self._clock)
        self.admission = self.admission.without_calls()

    def close_unused(self) -> None:
        """Close a client that has not made a call."""
        self._closed = True

    @property
    def transport(self) -> Transport | None:
        """What requests are sent with; None before the first."""
        return self._transport.transport

    async def aclose(self) -> None:
        """Close: calls under way and waiting end with ClientClosedError, then the session closes."""
        if self._process != ThisProcess.id:
            # What is open belongs to the parent process.
            self._closed = True
        if self._closed:
            if self._drained is not None and not self._drained.done() and self._loop is asyncio.get_running_loop():
                await asyncio.shield(self._drained)
            return
        if self._loop is not None and self._loop is not asyncio.get_running_loop() and not self._loop.is_closed():
            raise WrongLoopError("close the client on the event loop that it was used on")
        self._closed = True
        if self._loop is None or self._loop.is_closed():
            self.admission.limiter.close()
            return
        self._drained = self._loop.create_future()
        self.deadlines.close_all()
        try:
            for _ in range(100):  # about a second at most, then the session closes under them
                if not len(self.deadlines):
                    break
                await asyncio.sleep(0.01)
        finally:  # also when this is cancelled: nobody would get a second chance
            self.admission.limiter.close()
            self.deadlines.stop()
            try:
                await self._transport.close()
                if self._closing_with_loop is not None:
                    with contextlib.suppress(RuntimeError):  # the loop ends, and is at it
                        await self._closing_with_loop.aclose()
            finally:
                self._drained.set_result(None)

    def bulk_context(self, account: str | None) -> BulkContext:
        """Return what a bulk fetch has to know of an account and the client."""
        self._leave_closed_loop()
        admission = self.admission
        return BulkContext(
            concurrency=admission.limit_of(account),
            limiter=admission.limiter,
            max_concurrency=admission.max_concurrency,
            clock=self._clock,
            sleep=self._sleep,
            choices=self.counts.choices,
        )

    def stats(self) -> Stats:
        """Return a snapshot; any thread may ask."""
        return self.counts.snapshot(self.admission, self.budget, self._clock())

    def _doubt(self, operation: str, asked: str, received: str) -> None:
        """Note an answer that may be about another record than the one asked for."""
        self.counts.doubtful_ids += 1
        if self.counts.doubtful_ids == 1:
            log.warning(
                "%s asked for %.100r and got %.100r, which may be another record; stats() counts such answers",
                operation,
                asked,
                received,
                extra={"operation": operation},
            )

    # One call

    async def call(self, settings: Settings, operation: Operation[R], args: CallArguments) -> R:
        """Perform one operation and return its decoded answer."""
        path = operation.path_of(args.ids)
        query = args.query
        if not isinstance(query, str):
            query = operation.encode(query) if query else ""
        if settings.extra_query:
            query = f"{query}&{settings.extra_query}" if query else settings.extra_query
        if settings.account_id is None and operation.needs_account:
            raise ConfigurationError(
                "no account id: pass account_id=, set STACKONE_ACCOUNT_ID, or use with_options(account_id=...)"
            )
        loop = self._loop
        if loop is None or self._closed or self._process != ThisProcess.id or loop is not _get_running_loop():
            loop = self._bind()
        headers = settings.headers if args.body is None else settings.body_headers
        request = Request(operation.method, self._prefix + path, query, headers, args.body, self._max_body)
        started = self._clock()
        timeout = settings.timeout
        end = _FOREVER if timeout.total is None else started + timeout.total
        deadline = Deadline(cast("asyncio.Task[Any]", asyncio.current_task(loop)), self.deadlines, end)
        self.deadlines.add(deadline)
        tried: list[Attempt] = []
        failed: StackOneError | None = None
        try:
            return await self._attempts(settings, operation, args, request, deadline, started, end, tried)
        except StackOneError as error:
            failed = error
            raise
        except asyncio.CancelledError:
            if not deadline.fired or not deadline.uncancel():
                raise
            # The deadline fired outside of a request: while waiting, or because the client closes.
            ended: StackOneError = _timed_out(deadline)
            if deadline.closing:
                ended = ClientClosedError("the client was closed during the call", attempts=deadline.attempts)
            failed = ended
        finally:
            self.deadlines.discard(deadline)
            if failed is not None:
                self.counts.failures[type(failed).__name__] += 1
                _describe(failed, settings, operation, request, tried, self._clock() - started)
        raise ended from (None if deadline.closing else deadline.error)

    async def _attempts(
        self,
        settings: Settings,
        operation: Operation[R],
        args: CallArguments,
        request: Request,
        deadline: Deadline,
        started: float,
        end: float,
        tried: list[Attempt],
    ) -> R:
        # As long as all goes well this is one function: each step into another one is paid by every call.
        admission, budget, timeout, clock = self.admission, self.budget, settings.timeout, self._clock
        attempt = spent = 0
        while True:
            attempt += 1
            concurrency = await admission.acquire(settings.account_id, deadline, end, adaptive=settings.adaptive)
            snapshot = (concurrency.sent, concurrency.in_flight, concurrency.limit)
            load: Load | None = None
            response: Response | None = None
            hooked: HookedAttempt | None = None
            redact = settings.redact
            try:
                if self._hooks is not None:
                    deadline.wait("total", end)
                    headers = settings.headers if request.body is None else settings.body_headers
                    hooked = await self._hooks.before(
                        operation, settings.account_id, request, headers, redact, clock, attempt
                    )
                    redact = hooked.redact
                deadline.attempts = attempt
                self.counts.requests += 1
                if attempt > 1:
                    self.counts.retries += 1
                now = clock()
                attempt_end = end if timeout.attempt is None else min(end, now + timeout.attempt)
                last: Phase = "attempt" if attempt_end < end else "total"
                deadline.attempt(now, attempt_end, last, connect=timeout.connect, read=timeout.read)
                try:
                    transport = self._transport.transport
                    if transport is None:
                        deadline.connecting()
                        transport = await self._transport.open()
                        deadline.progress()
                    response = await transport.send(request, deadline)
                except TransportError as failed:
                    outcome: R | Failure = Failure(
                        error=failed.error,
                        request_sent=failed.request_sent,
                        max_retries=failed.max_retries,
                        out_of_resources=failed.out_of_resources,
                    )
                except asyncio.CancelledError:
                    if not deadline.fired or deadline.closing or not deadline.uncancel():
                        raise
                    outcome = Failure(error=_timed_out(deadline), request_sent=deadline.request_sent)
                else:
                    if hooked is not None:
                        deadline.wait("total", end)
                        await hooked.answered(response)
                    outcome = parse_response(
                        operation,
                        args,
                        response,
                        settings.keep_unknown,
                        redact,
                        self._wall,
                        self._doubt if settings.verify_ids else None,
                    )
                if log.isEnabledFor(logging.DEBUG):
                    _log_attempt(settings, operation, request, attempt, response, outcome)
                if response is not None and not isinstance(outcome, Failure):
                    load = "served"
                    if spent or budget.tokens < budget.size:  # or there is nothing to give back
                        budget.succeed(spent)
                    if isinstance(outcome, Answer):
                        info = ResponseInfo(
                            status=response.status,
                            request_id=response.headers.get("x-request-id"),
                            attempts=attempt,
                            elapsed=clock() - started,
                            headers=response.headers,
                            body=response.body,
                        )
                        attach(outcome, info)
                    return outcome
                failure = cast("Failure", outcome)
                error = deadline.error = failure.error
                error.attempts = attempt
                tried.append(Attempt(error.status, type(error).__name__, None))
                if error.status == 429:
                    self.counts.throttled += 1
                decision = decide(
                    settings.retry,
                    failure,
                    attempt=attempt,
                    repeatable=operation.repeatable and args.keyed,
                    remaining=end - clock(),
                    random=self._random,
                )
                load = decision.load
                if decision.pause is not None:
                    admission.pause(settings.account_id, decision.pause, key_wide=decision.key_wide)
                if decision.close_connection and response is not None:
                    response.close_connection()
            finally:
                admission.release(concurrency, snapshot, load)
            if decision.delay is None or not budget.spend(decision.cost):
                raise error
            spent = decision.cost
            tried[-1] = tried[-1]._replace(pause=decision.delay)
            if log.isEnabledFor(logging.INFO):
                about = _extra(settings, operation, request, attempt, error.status)
                log.info(
                    "retrying %s of account %s in %.2f s after %s",
                    operation.name,
                    printable(str(settings.account_id)),
                    decision.delay,
                    type(error).__name__,
                    extra={**about, "error": type(error).__name__, "pause": decision.delay},
                )
            request.new_connection = decision.new_connection
            deadline.wait("total", end)
            if hooked is not None:
                _describe(error, settings, operation, request, tried, clock() - started)
                await hooked.retried(error, decision.delay)
            concurrency.backing_off += 1
            try:
                await self._sleep(decision.delay)
            finally:
                concurrency.backing_off -= 1


def running_loop() -> asyncio.AbstractEventLoop:
    """Return the running event loop.

    Raises:
        ConfigurationError: None of asyncio's runs here.
    """
    loop = _get_running_loop()
    if loop is None:
        raise ConfigurationError(
            "AsyncClient needs asyncio, and no event loop of asyncio runs here (as under trio): "
            "use SyncClient in a thread, such as with trio.to_thread.run_sync"
        )
    return loop


async def _close_with_loop(transport: LazyTransport) -> AsyncGenerator[None]:
    """Close a transport when its event loop ends: `asyncio.run` closes what was begun and not ended."""
    try:
        yield
    finally:
        await transport.close()


class BoundExecutor(AsyncExecutor):
    """The executor of one view: the engine that all views share, with the view's settings."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self.engine, self.settings = engine, settings

    def execute(self, operation: Operation[R], args: CallArguments, /) -> Coroutine[Any, Any, R]:
        """Perform one call."""
        return self.engine.call(self.settings, operation, args)

    def bulk_context(self) -> BulkContext:
        """Return what a bulk fetch has to know of the account and the client."""
        return self.engine.bulk_context(self.settings.account_id)

    def for_bulk(self, *, adaptive: bool) -> BoundExecutor:
        """Return the same executor for the calls of a bulk fetch.

        Args:
            adaptive: Whether they wait for the limit that the account has found for itself.
        """
        return BoundExecutor(self.engine, msgspec.structs.replace(self.settings, adaptive=adaptive))


_TIMED_OUT: dict[str, str] = {
    "pool": "no slot became free in time (max_concurrency)",
    "rate_limit": "the rate limit did not let the call pass in time",
    "connect": "no connection was made in time",
    "read": "the answer stopped coming",
    "attempt": "the request took too long",
    "total": "the call took too long",
}


def _timed_out(deadline: Deadline) -> APITimeoutError:
    return APITimeoutError(_TIMED_OUT[deadline.phase], phase=deadline.phase, attempts=deadline.attempts)


def _extra(
    settings: Settings, operation: Operation[Any], request: Request, attempt: int, status: int | None
) -> dict[str, Any]:
    """Return what a record of the log says of an attempt, by the names of the attributes of errors."""
    return {
        "operation": operation.name,
        "account_id": settings.account_id,
        "method": request.method,
        "path": request.path,
        "attempt": attempt,
        "status": status,
    }


def _log_attempt(
    settings: Settings,
    operation: Operation[Any],
    request: Request,
    attempt: int,
    response: Response | None,
    outcome: Any,
) -> None:
    if response is not None:
        came = str(response.status)
    elif isinstance(outcome.error, APITimeoutError):
        came = f"timeout ({outcome.error.phase})"
    else:
        came = repr(outcome.error)
    extra = _extra(settings, operation, request, attempt, None if response is None else response.status)
    if isinstance(outcome, Failure):
        extra["error"] = type(outcome.error).__name__
    log.debug("%s %s attempt %d: %s", request.method, request.path, attempt, came, extra=extra)


def _describe(
    error: StackOneError,
    settings: Settings,
    operation: Operation[Any],
    request: Request,
    tried: list[Attempt],
    elapsed: float,
) -> None:
    """Say in an error where it happened."""
    if len(tried) < error.attempts:  # the last one was ended from outside: by the deadline, or as the client was closed
        tried.append(Attempt(None, type(error).__name__, None))
    error.operation, error.account_id, error.method = operation.name, settings.account_id, request.method
    error.request_path, error.elapsed, error.attempt_log = request.path, elapsed, tuple(tried)
    if not isinstance(error, DecodeError):  # whose path is the one in the document
        error.path = request.path
