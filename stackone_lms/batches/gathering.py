"""Several lists at once, interleaved, in bounded memory."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Generator, Iterable
from contextlib import aclosing
from typing import Any, Final, Literal, TypeAlias, get_args, overload

from ..base_client import BaseClient, bound_executor_of
from ..bulk.stream import Stream, take_from_thread
from ..calls.operation import executor_of
from ..checks import whole_number
from ..client import AsyncClient
from ..errors import ClientClosedError, ForkedError, InvalidArgumentError, WrongLoopError, key_refused
from ..export.records.arrow import import_pyarrow
from ..export.scheduling import AccountScheduler
from ..sync import SyncClient
from .reading import Batch, Failure, read
from .slices import Slice

Failures: TypeAlias = Literal["raise", "yield"]

BATCH_ROWS: Final = 8192
"""Records of a batch, or a few more: it ends with a page."""
_BYTES: Final = 64 * 1024 * 1024
"""Of all lists under way together; where there are many of them, their batches are smaller."""
_AHEAD: Final = 2
"""Batches that may wait to be taken."""


class _Gathering(Stream[Batch | Failure]):
    """The batches of several lists.

    Args:
        client: Fetches, through a view for each account.
        slices: The lists.
        at_once: Lists under way at most; None: as the limit allows.
        batch_rows: Records of a batch.
        failures: What becomes of the error of a list.
    """

    def __init__(
        self, client: BaseClient[Any], slices: list[Slice], at_once: int | None, batch_rows: int, failures: Failures
    ) -> None:
        super().__init__()
        self._client, self._slices, self._batch_rows = client, slices, batch_rows
        self._raises = failures == "raise"
        limiter = bound_executor_of(client).bulk_context().limiter
        self._scheduler = AccountScheduler(limiter, at_once)
        self._queue = deque[Batch | Failure]()
        self._room = asyncio.Semaphore(_AHEAD)
        self._under_way = 0
        self._begun = self._ended = False

    @property
    def available(self) -> int:
        """How many items could be popped now."""
        return len(self._queue)

    @property
    def over(self) -> bool:
        """Whether no more items will come."""
        return self.stopped is not None or self._ended

    @property
    def idle(self) -> bool:
        """Whether it waits for ids: it never does."""
        return False

    def start(self) -> None:
        """Begin, on the client's loop; the second time nothing happens."""
        if not self._begun:
            self._begun = True
            self.spawn(self._read_all())

    def start_work(self) -> None:
        """Do nothing: the lists start each other."""

    def pop(self) -> Batch | Failure | None:
        """Take an item out, None if there is none now."""
        if not self._queue:
            return None
        self._room.release()
        return self._queue.popleft()

    def end(self) -> BaseException | None:
        """Return the error that ended it."""
        return self.stopped

    async def _read_all(self) -> None:
        await self._scheduler.run(self._slices, self._read)
        self._ended = True

    async def _read(self, what: Slice) -> None:
        executor = bound_executor_of(self._client.with_options(account_id=what.account_id))
        self._under_way += 1
        try:
            async with aclosing(read(executor, what, self._is_full)) as items:
                async for item in items:
                    if isinstance(item, Failure) and (self._raises or _concerns_all(item)):
                        raise item.error
                    await self._room.acquire()
                    self._queue.append(item)
                    self.notify()
        finally:
            self._under_way -= 1

    def _is_full(self, rows: int, size: int) -> bool:
        return rows >= self._batch_rows or size * max(1, self._under_way) >= _BYTES


def _concerns_all(failure: Failure) -> bool:
    """Tell whether every list would fail so: the key is refused, or the client is not usable any more."""
    return key_refused(failure.error) or isinstance(failure.error, ClientClosedError | ForkedError | WrongLoopError)


@overload
def gather(
    client: AsyncClient,
    slices: Iterable[Slice],
    *,
    at_once: int | None = None,
    batch_rows: int = BATCH_ROWS,
    failures: Literal["raise"] = "raise",
) -> AsyncGenerator[Batch]: ...
@overload
def gather(
    client: AsyncClient,
    slices: Iterable[Slice],
    *,
    at_once: int | None = None,
    batch_rows: int = BATCH_ROWS,
    failures: Literal["yield"],
) -> AsyncGenerator[Batch | Failure]: ...
@overload
def gather(
    client: SyncClient,
    slices: Iterable[Slice],
    *,
    at_once: int | None = None,
    batch_rows: int = BATCH_ROWS,
    failures: Literal["raise"] = "raise",
) -> Generator[Batch]: ...
@overload
def gather(
    client: SyncClient,
    slices: Iterable[Slice],
    *,
    at_once: int | None = None,
    batch_rows: int = BATCH_ROWS,
    failures: Literal["yield"],
) -> Generator[Batch | Failure]: ...
def gather(
    client: AsyncClient | SyncClient,
    slices: Iterable[Slice],
    *,
    at_once: int | None = None,
    batch_rows: int = BATCH_ROWS,
    failures: Failures = "raise",
) -> Any:
    """Read several lists at once, and yield their batches as they come.

    The batches of one list come in its order, between those of the others. Breaking off cancels what is under way;
    with an AsyncClient close the iterator (`contextlib.aclosing`) to have it done at once.

    Memory stays flat, however many lists there are and however slowly the batches are taken: some lists are under way,
    two batches wait, and the rows held are 64 MB or so, for which a process takes a few times as much. Where many are
    under way their batches are smaller.

    Args:
        client: Fetches, under its own rate limit and retry rules.
        slices: The lists; none of them twice.
        at_once: Lists under way at most. None: as many as the rate limit has room for, 128 at most.
        batch_rows: Records of a batch. A batch ends with a page, so that it may have up to a page more; that of a
            short list has fewer.
        failures: `raise`: the first list that fails ends it; what was ready is delivered before the error is raised.
            `yield`: a `Failure` comes in the place of the batches that a list lacks, and the other lists go on. What
            concerns all lists is raised all the same: a key that is refused, a client that is closed.

    Returns:
        For an AsyncClient an async iterator, for a SyncClient an iterator.

    Raises:
        InvalidArgumentError: Before any I/O: a list is given twice, or something else cannot be.
        ExportError: pyarrow is not installed; the message names the extra.
        StackOneError: A list failed.
    """
    return _begin(client, slices, at_once, batch_rows, failures)


def _begin(client: Any, slices: Iterable[Slice], at_once: int | None, batch_rows: int, failures: Failures) -> Any:
    """Check what was asked for, and return its iterator."""
    import_pyarrow()
    wanted = _checked(slices)
    check_sizes(at_once, batch_rows)
    if failures not in get_args(Failures):
        raise InvalidArgumentError(f"failures must be raise or yield, not {failures!r:.40}")
    if isinstance(client, SyncClient):
        return take_from_thread(executor_of(client), _Gathering(client, wanted, at_once, batch_rows, failures))
    if not isinstance(client, AsyncClient):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidArgumentError(f"client must be an AsyncClient or a SyncClient, not {type(client).__name__}")
    return _Gathering(client, wanted, at_once, batch_rows, failures).items()


def check_sizes(at_once: int | None, batch_rows: int = BATCH_ROWS) -> None:
    """Raise InvalidArgumentError if one of these is no whole number of 1 or more."""
    if at_once is not None:
        whole_number("at_once", at_once, at_least=1)
    whole_number("batch_rows", batch_rows, at_least=1)


def _checked(slices: Iterable[Slice]) -> list[Slice]:
    wanted, seen = list(slices), set[Slice]()
    for one in wanted:
        if not isinstance(one, Slice):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidArgumentError(f"slices must be Slice objects, not {type(one).__name__}")
        if one in seen:
            raise InvalidArgumentError(f"{one.resource} of account {one.account_id} are given twice")
        seen.add(one)
    return wanted


@overload
def batches(
    client: AsyncClient, what: Slice, *, batch_rows: int = BATCH_ROWS, failures: Literal["raise"] = "raise"
) -> AsyncGenerator[Batch]: ...
@overload
def batches(
    client: AsyncClient, what: Slice, *, batch_rows: int = BATCH_ROWS, failures: Literal["yield"]
) -> AsyncGenerator[Batch | Failure]: ...
@overload
def batches(
    client: SyncClient, what: Slice, *, batch_rows: int = BATCH_ROWS, failures: Literal["raise"] = "raise"
) -> Generator[Batch]: ...
@overload
def batches(
    client: SyncClient, what: Slice, *, batch_rows: int = BATCH_ROWS, failures: Literal["yield"]
) -> Generator[Batch | Failure]: ...
def batches(
    client: AsyncClient | SyncClient, what: Slice, *, batch_rows: int = BATCH_ROWS, failures: Failures = "raise"
) -> Any:
    """Read one list, and yield it as Arrow record batches, each with the cursor that follows it.

    Whoever stops after a batch and goes on with `batch.remaining`, in another process or on another day, gets every
    record of the list once. What the server delivers twice, since records moved while the list was read, comes twice:
    `(account_id, id)` tells records from each other, and of two the one with the later `updated_at` counts.

    Args:
        client: Fetches, under its own rate limit and retry rules.
        what: The list.
        batch_rows: Records of a batch; a batch ends with a page, so that it may have up to a page more.
        failures: `raise` or `yield`, as of `gather`; `yield` lets the lists of users go on behind one that fails.

    Returns:
        For an AsyncClient an async iterator, for a SyncClient an iterator.

    Raises:
        InvalidArgumentError: Before any I/O: something cannot be.
        ExportError: pyarrow is not installed; the message names the extra.
        StackOneError: The list failed; what came before was delivered.
    """
    return _begin(client, [what], None, batch_rows, failures)
