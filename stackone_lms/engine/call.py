"""The call: admission, attempts, judgement of answers, retries, all under one deadline."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from random import random
from typing import Any, TypeVar, cast

import msgspec

from ..calls.operation import CallArguments, Operation
from ..calls.query import encode_id, encode_query
from ..errors import (
    APITimeoutError,
    ClientClosedError,
    ConfigurationError,
    ConnectionLostError,
    ForkedError,
    RequestTimeoutError,
    StackOneError,
    WrongLoopError,
)
from ..models.base import Answer, ResponseInfo, attach
from ..options import RateLimit, RetryPolicy, Timeout
from ..transport.base import (
    LazyTransport,
    Request,
    Response,
    Transport,
    TransportError,
    process_id,
)
from . import responses as answers
from .admission import Admission, BulkContext
from .concurrency import ConcurrencyLimit, Snapshot
from .deadlines import Deadline, DeadlineTimer
from .rate_limit import (
    Clock,
    Limiter,
    RateLimitBackend,
    Sleep,
)
from .retry import Budget, backoff
from .stats import Counts, Stats

R = TypeVar("R")

log = logging.getLogger("stackone_lms")

_FOREVER = float("inf")


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What may differ from one view of a client to the next."""

    account_id: str | None
    timeout: Timeout
    retry: RetryPolicy
    heartbeat: bool
    keep_unknown: bool
    headers: Mapping[str, str]
    body_headers: Mapping[str, str]
    scrub: Callable[[bytes], bytes]
    paced: bool = True
    """Whether requests wait for the limit that their account has found for itself."""

    def __repr__(self) -> str:
        return f"Settings(timeout={self.timeout}, retry={self.retry}, heartbeat={self.heartbeat})"


class Engine:
    """What all views of a client share: session, limiter, retry budget, slots, and the calls under way.

    Args:
        transport: Makes the transport, when it is first needed.
        prefix: Path of the base URL, without a slash at its end.
        rate_limit: Client-side limit, one shared with other processes, or None.
        max_concurrency: Requests under way at once.
        max_body: Most bytes of an answer.
        budget: Size of the retry budget.
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
        clock: Clock = time.monotonic,
        sleep: Sleep = asyncio.sleep,
        random: Callable[[], float] = random,
        wall: Clock = time.time,
    ) -> None:
        self._prefix, self._max_body = prefix, max_body
        self._line = LazyTransport(transport)
        self._clock, self._sleep, self._random, self._wall = clock, sleep, random, wall
        self.budget = Budget(budget)
        self._watchdog = DeadlineTimer(clock)
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
        self._process = process_id()
        self._closed = False
        self._drained: asyncio.Future[None] | None = None

    # The life of the client

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._closed

    def _admit(self) -> asyncio.AbstractEventLoop:
        if self._closed:
            raise ClientClosedError("the client is closed")
        if self._process != process_id():
            if self._loop is not None:
                raise ForkedError("this client was used before a fork; make a new one in the child process")
            self._process = process_id()  # never used, it holds nothing of the parent's
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            if self._loop is not None:
                raise WrongLoopError("this client belongs to another event loop; make one for each loop")
            self._loop = loop
        return loop

    def close_unused(self) -> None:
        """Close a client that has not made a call."""
        self._closed = True

    async def aclose(self) -> None:
        """Close: calls under way and waiting end with ClientClosedError, then the session closes."""
        if self._process != process_id():
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
            return
        self._drained = self._loop.create_future()
        self._watchdog.close_all()
        try:
            for _ in range(100):  # about a second at most, then the session closes under them
                if not len(self._watchdog):
                    break
                await asyncio.sleep(0.01)
        finally:  # also when this is cancelled: nobody would get a second chance
            self.admission.limiter.close()
            self._watchdog.stop()
            try:
                await self._line.close()
            finally:
                self._drained.set_result(None)

    def pace(self, account: str | None) -> BulkContext:
        """Return what a bulk fetch has to know of an account and the client."""
        admission = self.admission
        return BulkContext(
            lane=admission.lane(account),
            limiter=admission.limiter,
            max_concurrency=admission.max_concurrency,
            clock=self._clock,
            sleep=self._sleep,
            choices=self.counts.choices,
        )

    def stats(self) -> Stats:
        """Return a snapshot; any thread may ask."""
        return self.counts.snapshot(self.admission, self.budget, self._clock())

    # One call

    async def call(self, settings: Settings, operation: Operation[R], args: CallArguments) -> R:
        """Perform one operation and return its decoded answer."""
        request = self._request(settings, operation, args)
        if settings.account_id is None:
            raise ConfigurationError(
                "no account id: pass account_id=, set STACKONE_ACCOUNT_ID, or use with_options(account_id=...)"
            )
        loop = self._admit()
        started = self._clock()
        timeout = settings.timeout
        end = _FOREVER if timeout.total is None else started + timeout.total
        watch = Deadline(cast("asyncio.Task[Any]", asyncio.current_task(loop)), self._watchdog, end)
        self._watchdog.add(watch)
        try:
            return await self._attempts(settings, operation, args, request, watch, started, end)
        except StackOneError as error:
            self.counts.failures[type(error).__name__] += 1
            raise
        except asyncio.CancelledError:
            if not watch.fired or not watch.uncancel():
                raise
            closing = watch.closing
        finally:
            self._watchdog.discard(watch)
        # Reached when the watch fired outside of an exchange: while waiting, or because the client closes.
        self.counts.failures[(ClientClosedError if closing else APITimeoutError).__name__] += 1
        if closing:
            raise ClientClosedError("the client was closed during the call", attempts=watch.attempts)
        raise APITimeoutError(_WAITED[watch.phase], phase=watch.phase, attempts=watch.attempts) from watch.error

    async def _attempts(
        self,
        settings: Settings,
        operation: Operation[R],
        args: CallArguments,
        request: Request,
        watch: Deadline,
        started: float,
        end: float,
    ) -> R:
        attempt = spent = 0
        while True:
            attempt += 1
            lane = await self.admission.enter(settings.account_id, watch, end, paced=settings.paced)
            departure = (lane.left, lane.sending, lane.limit)
            watch.attempts = attempt
            self.counts.requests += 1
            if attempt > 1:
                self.counts.retries += 1
            try:
                outcome = await self._exchange(settings, request, watch, end, attempt)
            finally:
                self.admission.leave(lane)
            if isinstance(outcome, Response):
                verdict = answers.judge(operation, args, outcome, settings.keep_unknown, settings.scrub, self._wall)
                if not isinstance(verdict, answers.Failure):
                    self.budget.succeed(spent)
                    self.admission.succeed(lane, departure)
                    if isinstance(verdict, Answer):
                        attach(verdict, _info(outcome, attempt, self._clock() - started))
                    return verdict
                if verdict.fresh:
                    outcome.close_connection()
            else:
                verdict = answers.Failure(
                    outcome.error,
                    sent=outcome.request_sent,
                    most=outcome.max_retries,
                    throttled=outcome.out_of_resources,
                )
            error = watch.error = verdict.error
            error.attempts = attempt
            self._note(verdict, lane, departure)
            delay = self._retry_in(settings, verdict, attempt, end, repeatable=operation.repeatable and args.keyed)
            if delay is None:
                raise error
            spent = self.budget.spend(throttled=verdict.throttled)
            if not spent:
                raise error
            log.info("retrying %s in %.2f s after %s", operation.name, delay, type(error).__name__)
            request.new_connection = verdict.fresh or isinstance(error, ConnectionLostError)
            watch.wait("total", end)
            lane.pausing += 1
            try:
                await self._sleep(delay)
            finally:
                lane.pausing -= 1

    def _note(self, verdict: answers.Failure, lane: ConcurrencyLimit, departure: Snapshot) -> None:
        status = verdict.error.status
        if status == 429:
            self.counts.throttled += 1
        if verdict.throttled or isinstance(verdict.error, APITimeoutError | RequestTimeoutError):
            lane.cut(departure)
        elif status is not None and status < 500:
            self.admission.succeed(lane, departure)  # it was worked on, if in vain

    def _request(self, settings: Settings, operation: Operation[Any], args: CallArguments) -> Request:
        path = operation.template
        if args.ids:
            path %= encode_id(args.ids[0]) if len(args.ids) == 1 else tuple(map(encode_id, args.ids))
        query = args.query if isinstance(args.query, str) else encode_query(args.query, operation.filters)
        headers = settings.headers if args.body is None else settings.body_headers
        return Request(operation.method, self._prefix + path, query, headers, args.body, self._max_body)

    async def _exchange(
        self, settings: Settings, request: Request, watch: Deadline, end: float, attempt: int
    ) -> Response | TransportError:
        timeout = settings.timeout
        now = self._clock()
        attempt_end = end if timeout.attempt is None else now + timeout.attempt
        if attempt_end < end:
            watch.attempt(now, attempt_end, "attempt", connect=timeout.connect, read=timeout.read)
        else:
            watch.attempt(now, end, "total", connect=timeout.connect, read=timeout.read)
        try:
            transport = self._line.transport
            if transport is None:
                watch.connecting()
                transport = await self._line.open()
                watch.progress()
            reply = await transport.send(request, watch)
        except TransportError as error:
            log.debug("%s %s attempt %d: %r", request.method, request.path, attempt, error.error)
            return error
        except asyncio.CancelledError:
            if not watch.fired or watch.closing or not watch.uncancel():
                raise
            phase = watch.phase
        else:
            if log.isEnabledFor(logging.DEBUG):
                log.debug("%s %s attempt %d: %d", request.method, request.path, attempt, reply.status)
            return reply
        log.debug("%s %s attempt %d: timeout (%s)", request.method, request.path, attempt, phase)
        late = APITimeoutError(_WAITED[phase], phase=phase)
        return TransportError(late, request_sent=watch.request_sent, max_retries=0 if phase == "total" else None)

    def _retry_in(
        self, settings: Settings, verdict: answers.Failure, attempt: int, end: float, *, repeatable: bool
    ) -> float | None:
        """Return the pause before the next attempt; None: there is none."""
        policy = settings.retry
        asked = verdict.retry_after
        if asked is not None and verdict.throttled and asked <= policy.max_retry_after:
            self.admission.hold(settings.account_id, asked, everyone=verdict.key_wide)
        if attempt >= policy.attempts or (verdict.most is not None and attempt > verdict.most):
            return None
        if verdict.sent and not repeatable:
            return None
        delay = backoff(policy, attempt, throttled=verdict.throttled, random=self._random)
        if asked is not None:
            if asked > policy.max_retry_after:
                return None
            delay = max(delay, asked + min(asked, 1.0) * 0.1 * self._random())
        return None if self._clock() + delay >= end else delay


_WAITED: dict[str, str] = {
    "pool": "no slot became free in time (max_concurrency)",
    "rate_limit": "the rate limit did not let the call pass in time",
    "connect": "no connection was made in time",
    "read": "the answer stopped coming",
    "attempt": "the request took too long",
    "total": "the call took too long",
}


def _info(reply: Response, attempts: int, elapsed: float) -> ResponseInfo:
    return ResponseInfo(
        status=reply.status,
        request_id=reply.headers.get("x-request-id"),
        attempts=attempts,
        elapsed=elapsed,
        headers=reply.headers,
        body=reply.body,
    )
