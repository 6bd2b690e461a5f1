"""Where a bulk fetch takes its ids from: anything that can be iterated, and files with one id a line."""

from __future__ import annotations

import asyncio
import io
from collections import deque
from collections.abc import AsyncIterable, Callable, Iterable, Iterator, Sized
from pathlib import Path
from typing import Any, Final, TypeAlias, cast

from ..errors import InvalidArgumentError

Ids: TypeAlias = Iterable[str] | Path
"""Several ids: a list, a generator, an open text file, or the path of one (UTF-8, one id a line)."""

NO_ID: Final = object()
"""What `IdSource.take` returns when there is no id at present."""


def check_ids(ids: Any, *, blocking: bool) -> None:
    """Raise InvalidArgumentError if `ids` are not several ids."""
    if isinstance(ids, str | bytes | bytearray):
        raise InvalidArgumentError("ids must be several ids, such as a list; for a single one use get()")
    if isinstance(ids, AsyncIterable):
        if blocking:
            raise InvalidArgumentError("an asynchronous iterable of ids needs AsyncClient")
    elif not isinstance(ids, Iterable | Path):
        raise InvalidArgumentError(f"ids must be iterable, not {type(ids).__name__}")


def known_size(ids: Any) -> int | None:
    """Return how many ids there are; None if that is not known before they are read."""
    try:
        return len(ids) if isinstance(ids, Sized) else None
    except Exception:  # noqa: BLE001 (the caller's own `__len__`: reading the ids will tell what is wrong with them)
        return None


def iterate_ids(ids: Any) -> Iterator[Any]:
    """Yield ids; of a file its lines, without white space around them and without the blank ones.

    Whatever can fail, the opening of a file or `iter(ids)` too, fails when the first id is asked for.
    """
    if isinstance(ids, Path):
        with ids.open(encoding="utf-8-sig") as file:
            yield from _lines(file)
    elif isinstance(ids, io.IOBase) or (hasattr(ids, "readline") and hasattr(ids, "read")):
        yield from _lines(cast("Iterable[str]", ids))
    else:
        for id in ids:  # noqa: UP028 (`yield from` would close the caller's generator, whose rest is still his)
            yield id


def _lines(file: Iterable[str]) -> Iterator[str]:
    for line in file:
        if text := line.strip():
            yield text


class IdSource:
    """The ids of one fetch, taken one after the other.

    Attributes:
        ended: Whether all have been taken.
        error: What the caller's iterable raised; its ids end there.
    """

    def __init__(self) -> None:
        self.ended = False
        self.error: BaseException | None = None
        self._queue: deque[Any] = deque()

    def take(self) -> Any:
        """Return the next id; NO_ID if there is none, or none yet."""
        raise NotImplementedError

    def give_back(self, ids: Iterable[Any]) -> None:
        """Put `ids` at the front, to be taken again."""
        self._queue.extendleft(reversed(list(ids)))
        self.ended = self.ended and not self._queue

    def untaken(self) -> list[Any]:
        """Return the ids that were read from the caller's iterable and not taken."""
        return list(self._queue)


class IteratorSource(IdSource):
    """Ids of an iterator, which is advanced on the loop, when an id is needed and not before."""

    def __init__(self, ids: Iterator[Any]) -> None:
        super().__init__()
        self._ids = ids
        self._exhausted = False

    def take(self) -> Any:
        """Return the next id; NO_ID at the end."""
        if self._queue:
            id = self._queue.popleft()
            self.ended = self._exhausted and not self._queue
            return id
        if not self._exhausted:
            try:
                return next(self._ids)
            except StopIteration:
                pass
            except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 (the caller's, raised where he iterates)
                self.error = error
            self._exhausted = True
        self.ended = True
        return NO_ID


class QueueSource(IdSource):
    """Ids that others put into it: another thread, or a task that reads an asynchronous iterable.

    Attributes:
        complete: Whether no more will be put.
    """

    def __init__(self) -> None:
        super().__init__()
        self.complete = False

    def __len__(self) -> int:
        return len(self._queue)

    def put(self, ids: Iterable[Any], *, last: bool = False, error: BaseException | None = None) -> None:
        """Add ids; `last`: no more will come; `error`: what the caller's iterable raised."""
        self._queue.extend(ids)
        self.complete = self.complete or last
        self.error = error if self.error is None else self.error
        self.ended = self.complete and not self._queue

    def take(self) -> Any:
        """Return the next id; NO_ID if there is none, or none yet."""
        if not self._queue:
            return NO_ID
        id = self._queue.popleft()
        self.ended = self.complete and not self._queue
        return id


class AsyncSource(QueueSource):
    """Ids of an asynchronous iterable, which a task reads a few ids ahead."""

    _READ_AHEAD = 16

    def __init__(self) -> None:
        super().__init__()
        self._space: asyncio.Future[None] | None = None

    def take(self) -> Any:
        """Return the next id; NO_ID if there is none, or none yet."""
        id = super().take()
        if self._space is not None and not self._space.done():
            self._space.set_result(None)
        return id

    async def read(self, ids: AsyncIterable[Any], notify: Callable[[], None]) -> None:
        """Read all ids, and call `notify` after each of them and at the end."""
        error: BaseException | None = None
        try:
            async for id in ids:
                self.put((id,))
                notify()
                while len(self) >= self._READ_AHEAD:
                    self._space = asyncio.get_running_loop().create_future()
                    await self._space
        except asyncio.CancelledError as cancelled:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            error = cancelled  # something that the iterable awaited was cancelled, not this task
        except Exception as raised:  # noqa: BLE001 (the caller's own, raised where he iterates)
            error = raised
        self.put((), last=True, error=error)
        notify()
