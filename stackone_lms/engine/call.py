"""The call: admission, attempts, answers, retries, all under one deadline."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar, cast

import msgspec

from ..calls.operation import AsyncExecutor, CallArguments, Operation
from ..errors import Attempt, ClientClosedError, ConfigurationError, Phase, SharedLimitError, StackOneError
from ..logs import log
from ..models.base import Answer, ResponseInfo, attach
from ..transport.base import Request, Response, ThisProcess, TransportError
from .concurrency import Load
from .deadlines import Deadline
from .hooks import HookedCall
from .lifecycle import BulkContext, Lifecycle, get_running_loop
from .messages import annotate, log_attempt, log_retry
from .observed import ObservedBulk
from .responses import parse_response
from .retry import AttemptFailure, decide
from .settings import Settings

R = TypeVar("R")

_FOREVER = float("inf")


class Engine(Lifecycle):
    """Performs calls, each with its attempts under one deadline; all views of a client share it."""

    async def hooked_call(
        self, settings: Settings, operation: Operation[R], args: CallArguments, hooked: HookedCall
    ) -> R:
        """Perform one operation that hooks or observers see, and return its decoded answer."""
        with hooked:
            return await self.call(settings, operation, args, hooked)

    async def call(
        self, settings: Settings, operation: Operation[R], args: CallArguments, hooked: HookedCall | None = None
    ) -> R:
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
        if loop is None or self._closed or self._process != ThisProcess.id or loop is not get_running_loop():
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
            return await self._attempts(settings, operation, args, request, deadline, started, end, tried, hooked)
        except StackOneError as error:
            failed = error
            raise
        except asyncio.CancelledError:
            if not deadline.fired or not deadline.uncancel():
                raise
            # The deadline fired outside of a request: while waiting, or because the client closes.
            ended: StackOneError = deadline.timed_out()
            outage = self.admission.limiter.outage
            if outage is not None and deadline.phase == "rate_limit":
                ended = SharedLimitError(outage, retryable=True, attempts=deadline.attempts)
            if deadline.closing:
                ended = ClientClosedError("the client was closed during the call", attempts=deadline.attempts)
            failed = ended
        finally:
            self.deadlines.discard(deadline)
            if failed is not None:
                self.counts.failures[type(failed).__name__] += 1
                annotate(failed, settings, operation, request, tried, self._clock() - started)
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
        hooked: HookedCall | None,
    ) -> R:
        # As long as all goes well this is one function: each step into another one is paid by every call.
        admission, budget, timeout, clock = self.admission, self.budget, settings.timeout, self._clock
        waited = None if hooked is None else hooked.waited
        redact = settings.redact
        attempt = spent = 0
        while True:
            attempt += 1
            concurrency = await admission.acquire(settings.account_id, deadline, end, settings.adaptive, waited)
            snapshot = (concurrency.sent, concurrency.in_flight, concurrency.limit)
            load: Load | None = None
            response: Response | None = None
            try:
                if hooked is not None and hooked.functions:
                    deadline.wait("total", end)
                    await hooked.before(request, attempt)
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
                    if hooked is None:
                        response = await transport.send(request, deadline)
                    else:
                        response = await hooked.send(transport, request, deadline)
                except TransportError as failed:
                    outcome: R | AttemptFailure = AttemptFailure(
                        error=failed.error,
                        request_sent=failed.request_sent,
                        max_retries=failed.max_retries,
                        out_of_resources=failed.out_of_resources,
                    )
                except asyncio.CancelledError:
                    if not deadline.fired or deadline.closing or not deadline.uncancel():
                        raise
                    outcome = AttemptFailure(error=deadline.timed_out(), request_sent=deadline.request_sent)
                else:
                    if hooked is not None and hooked.functions:
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
                    log_attempt(settings, operation, request, attempt, response, outcome)
                if response is not None and not isinstance(outcome, AttemptFailure):
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
                failure = cast("AttemptFailure", outcome)
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
                log_retry(settings, operation, request, attempt, error, decision.delay)
            request.new_connection = decision.new_connection
            deadline.wait("total", end)
            if hooked is not None:
                annotate(error, settings, operation, request, tried, clock() - started)
                await hooked.retried(error, decision.delay)
            concurrency.backing_off += 1
            try:
                await admission.wait(self._sleep(decision.delay), "retry_pause", waited)
            finally:
                concurrency.backing_off -= 1

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


class BoundExecutor(AsyncExecutor, shown_as="AsyncClient"):
    """The executor of one view: the engine that all views share, with the view's settings."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self.engine, self.settings = engine, settings

    def execute(self, operation: Operation[R], args: CallArguments, /) -> Coroutine[Any, Any, R]:
        """Perform one call."""
        settings = self.settings
        if settings.hooks is not None:
            headers = settings.headers, settings.body_headers
            hooked = settings.hooks.call(operation, settings.account_id, headers, settings.redact)
            if hooked is not None:
                return self.engine.hooked_call(settings, operation, args, hooked)
        return self.engine.call(settings, operation, args)

    def bulk_context(self) -> BulkContext:
        """Return what a bulk fetch has to know of the account and the client."""
        return self.engine.bulk_context(self.settings.account_id)

    def for_bulk(self, *, adaptive: bool) -> BoundExecutor:
        """Return the same executor for the calls of a bulk fetch.

        Args:
            adaptive: Whether they wait for the limit that the account has found for itself.
        """
        return BoundExecutor(self.engine, msgspec.structs.replace(self.settings, adaptive=adaptive))

    def observed_by(self, bulk: ObservedBulk | None) -> BoundExecutor:
        """Return the same executor for the calls of a bulk fetch, or a list of an export, that observers see."""
        if bulk is None:
            return self
        return BoundExecutor(self.engine, msgspec.structs.replace(self.settings, hooks=bulk.hooks))
