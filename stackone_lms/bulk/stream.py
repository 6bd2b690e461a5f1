"""A stream of items made by tasks on the client's loop, read one by one there or in batches from another thread."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine, Generator, Iterator, Mapping, Sequence
from time import perf_counter
from typing import Any, Generic, NamedTuple, TypeVar

from ..calls.operation import SyncExecutor
from ..errors import ClientClosedError, ForkedError
from .ids import Inbox
from .progress import Meter, Progress, Report

T = TypeVar("T")

BATCH = 256
"""Items that cross from thread to thread at once, and ids that may wait on the other side."""
_LINGER = 0.01
_LOOK = 0.5
_SLOW = 0.02


class IdBatch(NamedTuple):
    """Ids brought from another thread: for which inbox, whether they are the last, and the error that ended them."""

    key: Any
    ids: list[Any]
    last: bool = False
    error: Exception | None = None


class ItemBatch(NamedTuple, Generic[T]):
    """What a step brings back: items, how many ids each inbox can take, whether that was all, perhaps a report."""

    items: list[T]
    wants: dict[Any, int]
    over: bool
    report: Progress | None


class Stream(Generic[T]):
    """Items that tasks make, with room for a bounded number of them; subclasses say how.

    Attributes:
        meter: Counts the items delivered, if somebody wants to know.
        inboxes: Where ids from another thread go.
        stopped: The error that ended it early.
    """

    def __init__(self) -> None:
        self.meter: Meter | None = None
        self.inboxes: dict[Any, Inbox] = {}
        self.stopped: BaseException | None = None
        self.tasks: set[asyncio.Task[None]] = set()
        self._waiter: asyncio.Future[None] | None = None
        self._wanted = 1

    # What subclasses say

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
        """Whether nothing more comes unless more ids are brought."""
        raise NotImplementedError

    def start(self) -> None:
        """Begin, on the client's loop; the second time nothing happens."""
        raise NotImplementedError

    def fill(self) -> None:
        """Start whatever can be started."""
        raise NotImplementedError

    def pop(self) -> T | None:
        """Take an item out, None if there is none now."""
        raise NotImplementedError

    def end(self) -> BaseException | None:
        """Return what to raise once everything is delivered."""
        raise NotImplementedError

    # For them

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a task that ends with the stream."""
        task = asyncio.create_task(work)
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
        """Let the one who waits have a look."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def tell(self) -> None:
        """Say that an item is available."""
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
                self.fill()
                await self.wait(within=None if report is None else _LOOK, patient=True)
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
        if self.meter is not None and (progress := self.meter.look(final=final)) is not None:
            report(progress)

    async def step(self, supplies: Sequence[IdBatch]) -> ItemBatch[T]:
        """Take ids from another thread, and return a batch of items, or what has come in ten milliseconds."""
        for supply in supplies:
            self.inboxes[supply.key].put(supply.ids, last=supply.last, error=supply.error)
        self.start()
        self.fill()
        await self.wait(within=None if self.meter is None else _LOOK)
        if self.available:
            await self.wait(BATCH, within=_LINGER)
        items: list[T] = []
        while len(items) < BATCH and (item := self.pop()) is not None:
            items.append(item)
        over = not items and self.over
        if over:
            await self.close()
            if (error := self.end()) is not None:
                raise error
        return ItemBatch(items, self.wants(), over, None if self.meter is None else self.meter.look(final=over))

    def wants(self) -> dict[Any, int]:
        """Return how many more ids each inbox can take."""
        return {key: BATCH - len(inbox) for key, inbox in self.inboxes.items() if not inbox.complete}

    async def wait(self, wanted: int = 1, within: float | None = None, *, patient: bool = False) -> None:
        """Wait until so many items are available, or no more come, or so many seconds have passed.

        Args:
            wanted: How many items.
            within: How many seconds.
            patient: Whether to wait, too, for ids that somebody else has to bring.
        """
        if self.available >= wanted or self.over or (self.idle and not patient):
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
        """Cancel what is under way."""
        for task in self.tasks:
            task.cancel()

    async def close(self) -> None:
        """Cancel what is under way and wait for its end."""
        tasks = list(self.tasks)
        self.abandon()
        if tasks:
            await asyncio.gather(*tasks, return_exceptions=True)


def iterate_from_thread(
    carrier: SyncExecutor, stream: Stream[T], ids: Mapping[Any, Iterator[Any]], report: Report | None
) -> Generator[T, None, None]:
    """Yield the items of a stream that lives on the loop of another thread, a batch a time.

    Iterators of ids are moved on here, in the thread that iterates.
    """
    wants, over = stream.wants(), False
    try:
        while not over:
            supplies = [_pull(key, ids[key], want) for key, want in wants.items() if want > 0]
            hop = carrier.run(stream.step, supplies)
            if report is not None and hop.report is not None:
                report(hop.report)
            yield from hop.items
            wants, over = hop.wants, hop.over
    finally:
        if not over:
            _close(carrier, stream)


def _close(carrier: SyncExecutor, stream: Stream[Any]) -> None:
    try:
        carrier.run(stream.close)
    except (ClientClosedError, ForkedError):
        pass  # without its loop there is nothing left to close
    except RuntimeError:
        stream.abandon()  # collected as garbage, on the very thread of the loop


def _pull(key: Any, iterator: Iterator[Any], most: int) -> IdBatch:
    """Take up to `most` ids, fewer from an iterator that is slow."""
    chunk: list[Any] = []
    until = perf_counter() + _SLOW
    try:
        for id in iterator:
            chunk.append(id)
            if len(chunk) >= most or perf_counter() > until:
                return IdBatch(key, chunk)
    except Exception as error:  # noqa: BLE001 (the caller's own; it goes back to him after what is under way)
        return IdBatch(key, chunk, last=True, error=error)
    return IdBatch(key, chunk, last=True)
