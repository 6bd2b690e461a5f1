"""One accepted connection: reads requests, writes whatever a script says, notices when the client leaves."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal, cast

from .messages import body_length
from .stats import Stats

End = Literal["keep", "fin", "rst", "stall"]
"""How an answer ends: the connection stays open, is closed, is reset, or falls silent."""

_PIECE = 64 * 1024
_LONGEST_HEAD = 1024 * 1024
_TIME_TO_READ = 0.01
"""Seconds between the last byte and a reset, so that the client has read what was sent."""


@dataclass(slots=True)
class Settings:
    """What scripts may ask of their server."""

    stall: float
    """Seconds that a silent, trickling or endless answer lasts at most."""
    tick: float
    """Seconds between two bytes of a trickle, and before something happens on an idle connection."""
    evil_url: str = ""
    """Where redirects point to."""
    memory: defaultdict[str, float] = field(default_factory=lambda: defaultdict[str, float](float))
    """What scripts keep between requests."""


def linger_not(sock: socket.socket) -> None:
    """Make the coming close of `sock` a reset (RST), unless the client has closed it first."""
    with suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class Connection(asyncio.Protocol):
    """What a script writes to."""

    def __init__(self, settings: Settings, sock: socket.socket) -> None:
        self.settings = settings
        self.requests = 0
        """Requests read so far, the present one included."""
        self.ended = False
        """Whether this side has closed the connection."""
        self.scope: tuple[Stats, ...] = ()
        """The counters of the present request: the server's, its base's, its id's."""
        self._sock = sock
        self._due = False
        self._counted: set[Stats] = set()
        self._buffer = bytearray()
        self._gone = asyncio.Event()
        self.lost = asyncio.Event()
        """Set when the transport is closed."""
        self._received = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._transport: asyncio.Transport | None = None

    @property
    def transport(self) -> asyncio.Transport:
        assert self._transport is not None
        return self._transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self.transport.set_write_buffer_limits(high=0)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._received.set()

    def eof_received(self) -> None:
        self._leave()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set()
        self._leave()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _leave(self) -> None:
        self._gone.set()
        self._received.set()
        self._writable.set()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    async def receive(self) -> tuple[bytes, bytes] | None:
        """Return head and body of the next request, or None if no more come.

        Raises:
            ValueError: What came is not HTTP.
        """
        while (end := self._buffer.find(b"\r\n\r\n")) < 0:
            if self._buffer and not self._buffer[:1].isalpha():
                raise ValueError(f"not HTTP: {bytes(self._buffer[:20])!r}")
            if len(self._buffer) > _LONGEST_HEAD:
                raise ValueError("endless head")
            if not await self._more():
                return None
        head = bytes(self._buffer[: end + 4])
        whole = len(head) + body_length(head)
        while len(self._buffer) < whole:
            if not await self._more():
                return None
        body = bytes(self._buffer[len(head) : whole])
        del self._buffer[:whole]
        self.requests += 1
        return head, body

    async def _more(self) -> bool:
        if self._gone.is_set():
            return False
        self._received.clear()
        await self._received.wait()
        return True

    def begin(self, scope: tuple[Stats, ...], head: bytes) -> None:
        self.scope = scope
        self._due = True
        for stats in scope:
            stats.arrive(head)
        # The first of the scope is the server's, which counted the connection when it was accepted.
        for stats in scope[1:]:
            if stats not in self._counted:
                self._counted.add(stats)
                stats.connections += 1

    def done(self) -> None:
        """Note that no answer is due any more: if the client leaves now, it does not hang up."""
        if self._due:
            self._due = False
            for stats in self.scope:
                stats.in_flight -= 1

    def hung_up(self) -> None:
        if self._due:
            for stats in self.scope:
                stats.hangups += 1

    def commit(self) -> None:
        """Let the effect of a write happen."""
        for stats in self.scope:
            stats.commits += 1

    async def send(self, data: bytes) -> None:
        """Write `data`, once the kernel has taken what came before.

        Raises:
            ConnectionError: The client is gone.
        """
        view = memoryview(data)
        for start in range(0, len(view), _PIECE):
            self._check()
            piece = view[start : start + _PIECE]
            self.transport.write(piece)
            for stats in self.scope:
                stats.bytes_sent += len(piece)
            await self._writable.wait()
            await asyncio.sleep(0)

    async def wait(self, seconds: float) -> None:
        """Wait that long. Raises ConnectionError as soon as the client is gone."""
        try:
            async with asyncio.timeout(seconds):
                await self._gone.wait()
        except TimeoutError:
            return
        self._check()

    def _check(self) -> None:
        if self._gone.is_set():
            raise ConnectionResetError("the client is gone")

    async def trickle(self, pieces: Iterable[bytes]) -> None:
        """Write a piece a tick, until all are sent or the server's `stall` has passed."""
        clock = asyncio.get_running_loop()
        last = clock.time() + self.settings.stall
        for piece in pieces:
            if clock.time() >= last:
                break
            await self.send(piece)
            await self.wait(self.settings.tick)

    async def flood(self, piece: bytes, limit: int) -> None:
        """Write `piece` again and again, until `limit` bytes are sent or the server's `stall` has passed."""
        clock = asyncio.get_running_loop()
        last = clock.time() + self.settings.stall
        left = limit
        while left > 0 and clock.time() < last:
            await self.send(piece[:left])
            left -= len(piece)

    async def end(self, how: End) -> None:
        """Finish an answer."""
        if how == "keep":
            return
        if how == "stall":
            await self.wait(self.settings.stall)
        if how == "rst":
            await self.wait(_TIME_TO_READ)
            linger_not(self._sock)
        self.ended = True
        if how == "rst":
            self.transport.abort()
        else:
            self.transport.close()
