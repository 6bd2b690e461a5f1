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

NOTHING: Final = object()
"""What a source gives when it has no id at present."""


def check_ids(ids: Any, *, blocking: bool) -> None:
    """Raise InvalidArgumentError if `ids` are not several ids."""
    if isinstance(ids, str | bytes | bytearray):
        raise InvalidArgumentError("ids must be several ids, such as a list; for a single one use get()")
    if isinstance(ids, AsyncIterable):
        if blocking:
            raise InvalidArgumentError("an asynchronous iterable of ids needs AsyncClient")
    elif not isinstance(ids, Iterable | Path):
        raise InvalidArgumentError(f"ids must be iterable, not {type(ids).__name__}")


def size_of(ids: Any) -> int | None:
    """Return how many ids there are, if that can be told without reading them."""
    return len(ids) if isinstance(ids, Sized) else None


def iterate(ids: Any) -> Iterator[Any]:
    """Return an iterator over ids; lines of files come without white space around them, and blank ones not at all."""
    if isinstance(ids, Path):
        return _lines_of(ids)
    if isinstance(ids, io.IOBase) or (hasattr(ids, "readline") and hasattr(ids, "read")):
        return _lines(cast("Iterable[str]", ids))
    return iter(ids)


def _lines_of(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8-sig") as file:
        yield from _lines(file)


def _lines(file: Iterable[str]) -> Iterator[str]:
    for line in file:
        if text := line.strip():
            yield text


class Source:
    """Ids, taken one after the other.

    Attributes:
        ended: Whether all have been taken.
        error: What the caller's iterable raised; its ids end there.
    """

    def __init__(self) -> None:
        self.ended = False
        self.error: Exception | None = None
        self._back: deque[Any] = deque()

    def take(self) -> Any:
        """Return the next id, or NOTHING if there is none, or none yet."""
        raise NotImplementedError

    def put_back(self, ids: Iterable[Any]) -> None:
        """Let `ids` be taken again, before all others."""
        self._back.extendleft(reversed(list(ids)))
        self.ended = self.ended and not self._back

    def leftover(self) -> list[Any]:
        """Return what was read from the caller's iterable and not taken."""
        return list(self._back)


class Inline(Source):
    """Ids of an iterator, which moves on when an id is needed and not before."""

    def __init__(self, ids: Iterator[Any]) -> None:
        super().__init__()
        self._ids = ids
        self._drained = False

    def take(self) -> Any:
        """Return the next id, or NOTHING at the end."""
        if self._back:
            id = self._back.popleft()
            self.ended = self._drained and not self._back
            return id
        if not self._drained:
            try:
                return next(self._ids)
            except StopIteration:
                pass
            except Exception as error:  # noqa: BLE001 (the caller's own; it goes back to him)
                self.error = error
            self._drained = True
        self.ended = True
        return NOTHING


class Inbox(Source):
    """Ids that are brought: from another thread, or from an asynchronous iterable.

    Attributes:
        complete: Whether no more will be brought.
    """

    def __init__(self) -> None:
        super().__init__()
        self.complete = False

    def __len__(self) -> int:
        return len(self._back)

    def put(self, ids: Iterable[Any], *, last: bool = False, error: Exception | None = None) -> None:
        """Add ids; `last` tells that no more will come, `error` why."""
        self._back.extend(ids)
        self.complete = self.complete or last
        self.error = self.error or error
        self.ended = self.complete and not self._back

    def take(self) -> Any:
        """Return the next id, or NOTHING."""
        if not self._back:
            return NOTHING
        id = self._back.popleft()
        self.ended = self.complete and not self._back
        return id


class Feed(Inbox):
    """Ids of an asynchronous iterable, read a few ahead of those who take them."""

    _AHEAD = 16

    def __init__(self) -> None:
        super().__init__()
        self._room: asyncio.Future[None] | None = None

    def take(self) -> Any:
        """Return the next id, or NOTHING."""
        id = super().take()
        if self._room is not None and not self._room.done():
            self._room.set_result(None)
        return id

    async def read(self, ids: AsyncIterable[Any], tell: Callable[[], None]) -> None:
        """Read all ids, and tell whenever there is one more."""
        error: Exception | None = None
        try:
            async for id in ids:
                self.put((id,))
                tell()
                while len(self) >= self._AHEAD:
                    self._room = asyncio.get_running_loop().create_future()
                    await self._room
        except Exception as problem:  # noqa: BLE001 (the caller's own; it goes back to him)
            error = problem
        self.put((), last=True, error=error)
        tell()
