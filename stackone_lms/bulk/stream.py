"""A stream of items that tasks on the client's loop produce, iterated there or, in batches, from another thread."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine, Generator, Iterator, Mapping, Sequence
from time import perf_counter
from typing import Any, Generic, NamedTuple, TypeVar

from ..calls.operation import SyncExecutor
from ..engine.lifecycle import running_loop
from ..engine.observed import ObservedBulk
from ..errors import ClientClosedError, ForkedError
from .ids import QueueSource
from .progress import Progress, ProgressMeter, Report

T = TypeVar("T")

BATCH_SIZE = 256
"""Items that cross from thread to thread at once, and ids that may wait on the loop's side."""
_BATCH_WAIT = 0.01  # seconds that a batch may wait to become full
_REPORT_WAIT = 0.5  # seconds without an item after which progress is reported
_READ_TIME = 0.02  # seconds that a slow iterator of ids may hold up the next batch


class IdBatch(NamedTuple):
    """Ids from another thread."""

    key: Any
    """The queue that they are for."""
    ids: list[Any]
    """The ids."""
    last: bool = False
    """Whether no more will come."""
    error: Exception | None = None
    """What the caller's iterable raised after them."""


class ItemBatch(NamedTuple, Generic[T]):
    """Items for another thread."""

    items: list[T]
    """The items; empty at the end, or if only ids can bring more."""
    ids_wanted: dict[Any, int]
    """How many more ids each queue can take."""
    over: bool
    """Whether that was all."""
    report: Progress | None
    """The progress, if it is time for a report."""


class Stream(Generic[T]):
    """Items that tasks produce, a bounded number of them ahead of the one who iterates.

    Attributes:
        meter: Counts the items delivered, if there is a `progress=` callback.
        queues: Where ids from another thread go.
        stopped: The error that ended it early.
        tasks: What produces the items.
        observed: What observers are told of it; None without observers.
    """

    def __init__(self) -> None:
        self.observed: ObservedBulk | None = None
        self.meter: ProgressMeter | None = None
        self.queues: dict[Any, QueueSource] = {}
        self.stopped: BaseException | None = None
        self.tasks: set[asyncio.Task[None]] = set()
        self._waiter: asyncio.Future[None] | None = None
        self._wanted = 1

    # For subclasses to define

    @property
    def available(self) -> int:
        """How many items could be popped now."""
        raise NotImplementedError

    @property
    def over(self) -> bool:
        """Whether nothing more will come by itself: the end, or an early end."""
        raise NotImplementedError

    @property
    def idle(self) -> bool:
        """Whether no more items come until more ids do."""
        raise NotImplementedError

    def start(self) -> None:
        """Begin, on the client's loop; the second time nothing happens."""
        raise NotImplementedError

    def start_work(self) -> None:
        """Start tasks, as long as there is something to do and space for its items."""
        raise NotImplementedError

    def pop(self) -> T | None:
        """Take an item out, None if there is none now."""
        raise NotImplementedError

    def end(self) -> BaseException | None:
        """Return what to raise once everything is delivered."""
        raise NotImplementedError

    # For subclasses to use

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Start a task; it is cancelled when the stream is closed."""
        try:
            loop = running_loop()
        except BaseException:
            work.close()
            raise
        task = loop.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.stop(error)
        if self.idle or self.over:
            self.wake()

    def stop(self, error: BaseException) -> None:
        """End early: what is ready is still delivered, then the error is raised."""
        if self.stopped is None:
            self.stopped = error
            for task in self.tasks:
                if task is not asyncio.current_task():
                    task.cancel()
        self.wake()

    def wake(self) -> None:
        """Wake up the one who waits for items, whether there are any or not."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def notify(self) -> None:
        """Wake up the one who waits for items, if there are as many as he waits for."""
        if self._waiter is not None and self.available >= self._wanted:
            self.wake()

    # For the one who iterates

    async def items(self, report: Report | None = None) -> AsyncGenerator[T, None]:
        """Yield the items as they come; breaking off cancels everything."""
        try:
            self.start()
            while True:
                while (item := self.pop()) is not None:
                    if report is not None:
                        self._report(report)
                    yield item
                if self.over:
                    break
                self.start_work()
                await self.wait(within=None if report is None else _REPORT_WAIT, for_ids=True)
                if report is not None:
                    self._report(report)
            await self.close()
            if (error := self.end()) is not None:
                raise error
            if report is not None:
                self._report(report, final=True)
        finally:
            await self.close()

    def _report(self, report: Report, *, final: bool = False) -> None:
        if self.meter is not None and (progress := self.meter.due(final=final)) is not None:
            report(progress)

    async def exchange(self, id_batches: Sequence[IdBatch]) -> ItemBatch[T]:
        """Take batches of ids, and return a batch of items: those that come within ten milliseconds of the first."""
        for id_batch in id_batches:
            self.put_ids(id_batch)
        self.start()
        self.start_work()
        await self.wait(within=None if self.meter is None else _REPORT_WAIT)
        if self.available:
            await self.wait(BATCH_SIZE, within=_BATCH_WAIT)
        items: list[T] = []
        while len(items) < BATCH_SIZE and (item := self.pop()) is not None:
            items.append(item)
        over = not items and self.over
        if over:
            await self.close()
            if (error := self.end()) is not None:
                raise error
        return ItemBatch(items, self.ids_wanted(), over, None if self.meter is None else self.meter.due(final=over))

    async def take(self) -> T | None:
        """Wait for the next item and return it; None at the end."""
        self.start()
        await self.wait()
        item = self.pop()
        if item is None:
            await self.close()
            if (error := self.end()) is not None:
                raise error
        return item

    def put_ids(self, batch: IdBatch) -> None:
        """Put ids from another thread into their queue."""
        self.queues[batch.key].put(batch.ids, last=batch.last, error=batch.error)

    def ids_wanted(self) -> dict[Any, int]:
        """Return how many more ids each queue can take."""
        return {key: BATCH_SIZE - len(queue) for key, queue in self.queues.items() if not queue.complete}

    async def wait(self, wanted: int = 1, within: float | None = None, *, for_ids: bool = False) -> None:
        """Wait until so many items are available, or no more come, or so many seconds have passed.

        Args:
            wanted: How many items.
            within: How many seconds; None for no limit.
            for_ids: Wait also while no more items come until more ids do.
        """
        if self.available >= wanted or self.over or (self.idle and not for_ids):
            return
        loop = asyncio.get_running_loop()
        self._waiter, self._wanted = loop.create_future(), wanted
        timer = None if within is None else loop.call_later(within, self.wake)
        try:
            await self._waiter
        finally:
            self._waiter = None
            if timer is not None:
                timer.cancel()

    def abandon(self) -> None:
        """Cancel what is under way, and do not wait for its end."""
        for task in self.tasks:
            task.cancel()

    async def close(self) -> None:
        """Cancel what is under way and wait for its end."""
        tasks, error = list(self.tasks), self._ended_by
        self.abandon()
        try:
            if tasks:
                await asyncio.gather(*tasks, return_exceptions=True)
        finally:
            if self.observed is not None:
                self.observed.end(error)

    @property
    def _ended_by(self) -> BaseException | None:
        """What observers hear of its end."""
        if self.stopped is None and (self.available or not self.over):
            return asyncio.CancelledError("broken off")
        return self.stopped


def iterate_from_thread(
    executor: SyncExecutor, stream: Stream[T], ids: Mapping[Any, Iterator[Any]], report: Report | None
) -> Generator[T, None, None]:
    """Yield the items of a stream that lives on the loop of another thread, a batch a time.

    Args:
        executor: Runs coroutine functions on that loop.
        stream: The stream.
        ids: The ids for each of its queues; they are read here, in the thread that iterates.
        report: Called with the progress, in the thread that iterates.
    """
    ids_wanted, over = stream.ids_wanted(), False
    try:
        while not over:
            id_batches = [_read_ids(key, ids[key], want) for key, want in ids_wanted.items() if want > 0]
            batch = executor.run(stream.exchange, id_batches)
            if report is not None and batch.report is not None:
                report(batch.report)
            yield from batch.items
            ids_wanted, over = batch.ids_wanted, batch.over
    finally:
        if not over:
            _close(executor, stream)


def take_from_thread(executor: SyncExecutor, stream: Stream[T]) -> Generator[T, None, None]:
    """Yield the items of a stream that lives on the loop of another thread, one a time: for large ones."""
    over = False
    try:
        while (item := executor.run(stream.take)) is not None:
            yield item
        over = True
    finally:
        if not over:
            _close(executor, stream)


def _close(executor: SyncExecutor, stream: Stream[Any]) -> None:
    try:
        executor.run(stream.close)
    except (ClientClosedError, ForkedError):
        pass  # without its loop there is nothing left to close
    except RuntimeError:
        stream.abandon()  # collected as garbage, on the very thread of the loop


def _read_ids(key: Any, iterator: Iterator[Any], most: int) -> IdBatch:
    """Take up to `most` ids, fewer from an iterator that is slow."""
    chunk: list[Any] = []
    until = perf_counter() + _READ_TIME
    try:
        for id in iterator:
            chunk.append(id)
            if len(chunk) >= most or perf_counter() > until:
                return IdBatch(key, chunk)
    except Exception as error:  # noqa: BLE001 (the caller's own, raised where he iterates, after what is under way)
        return IdBatch(key, chunk, last=True, error=error)
    return IdBatch(key, chunk, last=True)
