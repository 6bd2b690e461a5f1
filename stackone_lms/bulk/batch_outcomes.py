"""Waiting for what becomes of the items of a batch: the log of its request is asked until it tells of each."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Protocol, Self, TypeVar, cast, overload

from ..calls.operation import (
    AsyncCall,
    AsyncExecutor,
    CallArguments,
    Endpoint,
    Executor,
    Method,
    Operation,
    Resource,
    SyncExecutor,
)
from ..calls.signatures import parameters_of
from ..checks import known_keywords
from ..engine.call import BoundExecutor
from ..errors import APITimeoutError, InvalidArgumentError, NotFoundError
from ..models.batch_outcomes import BatchOutcome, outcomes
from ..models.logs import RequestLog, RequestLogResult
from ..models.results import BatchResult
from ..options import VIEW_OPTIONS

R_co = TypeVar("R_co", covariant=True)

_FIRST_PAUSE, _GROWTH, _LONGEST_PAUSE = 0.5, 1.5, 10.0  # seconds between two questions


class WaitForBatch(Protocol[R_co]):
    """The method that waits for a batch."""

    def __call__(self, batch: BatchResult, /, *, timeout: float | None = ...) -> R_co:
        """Wait."""
        ...


class Waiting(Method[...]):
    """Waits for the outcomes of a batch.

    Args:
        get: Gets one log.
    """

    def __init__(self, get: Endpoint[..., RequestLogResult]) -> None:
        self.operation: Operation[RequestLogResult] = get.operation

    def _summary(self) -> str:
        return inspect.getdoc(wait_source) or ""

    def _parameters(self, kind: type[Executor]) -> list[inspect.Parameter]:
        return parameters_of(wait_source)

    def _returns(self, kind: type[Executor]) -> Any:
        return BatchOutcome

    def _result(self, kind: type[Executor]) -> str:
        return "What became of each item, as far as the log tells."

    def _function(self, kind: type[Executor]) -> Callable[..., Any]:
        operation, title = self.operation, self.title

        async def wait_async(
            executor: AsyncExecutor,
            batch: BatchResult,
            /,
            *,
            timeout: float | None = 300.0,  # noqa: ASYNC109 (the caller's limit, kept on the client's own clock)
            **unknown: Any,
        ) -> BatchOutcome:
            known_keywords(title, unknown, {"timeout"}, elsewhere=VIEW_OPTIONS)
            return await _wait(executor, operation, _parts(batch), _seconds(timeout))

        def wait(
            executor: SyncExecutor, batch: BatchResult, /, *, timeout: float | None = 300.0, **unknown: Any
        ) -> BatchOutcome:
            known_keywords(title, unknown, {"timeout"}, elsewhere=VIEW_OPTIONS)
            return executor.run(_wait, executor.aio, operation, _parts(batch), _seconds(timeout))

        return wait_async if issubclass(kind, AsyncExecutor) else wait

    @overload
    def __get__(self, obj: None, owner: type, /) -> Self: ...
    @overload
    def __get__(self, obj: Resource[AsyncExecutor], owner: type, /) -> WaitForBatch[AsyncCall[BatchOutcome]]: ...
    @overload
    def __get__(self, obj: Resource[SyncExecutor], owner: type, /) -> WaitForBatch[BatchOutcome]: ...
    def __get__(self, obj: Resource[Any] | None, owner: type, /) -> Any:
        return self if obj is None else self._bind(obj)


def wait_source(batch: BatchResult, /, *, timeout: float | None = 300.0) -> None:
    """Wait until the log of a batch tells what became of each of its items.

    The log is asked after half a second, then less and less often, at last every ten seconds. Each question is a
    request, which counts for the rate limit; a batch that was sent in several requests has a log for each.

    Args:
        batch: What `batch_upsert` returned.
        timeout: Seconds to wait; None: for ever.

    Raises:
        InvalidArgumentError: Before any I/O: it is no result of a batch, or came without a request id.
        APITimeoutError: There are still pending items; its `result` is the BatchOutcome so far.
        StackOneError: Everything else; see `stackone_lms.errors`.
    """


def _parts(batch: Any) -> tuple[BatchResult, ...]:
    if not isinstance(batch, BatchResult):
        raise InvalidArgumentError(f"wait() takes what batch_upsert() returned, not {type(batch).__name__}")
    if not batch.items:
        raise InvalidArgumentError("the result does not know its items: take it as batch_upsert() returned it")
    if not all(part.request_id for part in batch.parts):
        raise InvalidArgumentError("the answer to the batch came without a request id, so that it has no log")
    return batch.parts


def _seconds(timeout: Any) -> float:
    if timeout is None:
        return float("inf")
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not timeout >= 0:
        raise InvalidArgumentError(f"timeout must be seconds, 0 or more, or None, not {timeout!r:.60}")
    return float(timeout)


async def _wait(
    executor: AsyncExecutor, operation: Operation[RequestLogResult], parts: tuple[BatchResult, ...], seconds: float
) -> BatchOutcome:
    context = cast("BoundExecutor", executor).bulk_context()
    end = context.clock() + seconds
    logs: list[RequestLog | None] = [None] * len(parts)
    include = "advanced_logs"
    pause = _FIRST_PAUSE
    while True:
        for number, part in enumerate(parts):
            if _pending(part, logs[number]):
                logs[number] = await _ask(executor, operation, part, include) or logs[number]
        found = BatchOutcome(
            tuple(outcome for part, log in zip(parts, logs, strict=True) for outcome in outcomes(part.items, log)),
            tuple(log for log in logs if log is not None),
        )
        if not found.pending:
            return found
        left = end - context.clock()
        if left <= 0:
            raise APITimeoutError(
                f"{len(found.pending)} of {len(found.items)} items have no outcome yet", phase="total", result=found
            )
        if all(log is not None and log.step_requests is None for log in logs):
            include = "step_logs"  # a server whose advanced logs come without the calls
        await context.sleep(min(pause, left))
        pause = min(pause * _GROWTH, _LONGEST_PAUSE)


def _pending(part: BatchResult, log: RequestLog | None) -> bool:
    return any(outcome.status == "pending" for outcome in outcomes(part.items, log))


async def _ask(
    executor: AsyncExecutor, operation: Operation[RequestLogResult], part: BatchResult, include: str
) -> RequestLog | None:
    try:
        answer = await executor.execute(operation, CallArguments((cast("str", part.request_id),), {"include": include}))
    except NotFoundError:
        return None  # logs come later than answers
    return answer.data
