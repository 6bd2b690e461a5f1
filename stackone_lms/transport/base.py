"""The seam to the network: one request in, one answer or one failure out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

import msgspec

from ..errors import Phase, StackOneError


class Secret(str):
    """A string that prints as `***` in tracebacks with locals, debuggers and logs of `repr`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


class SecretBytes(bytes):
    """Bytes that print as `***`, as a `Secret` does."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


class Deadline:
    """The time limits of one call: transports tell it when bytes go and come, and it ends what takes too long.

    Attributes:
        task: The task that performs the call, which is cancelled at `due`.
        due: When, on the client's clock, the present wait has to be over.
        phase: What is being waited for.
        attempts: How many requests were begun.
        error: What the last of them failed with.
        fired: Whether it was this watch that cancelled the task.
        closing: Whether that was because the client closes.
        connect: Seconds that making a connection may take; None for no limit.
    """

    __slots__ = (
        "_clock",
        "_end",
        "_last",
        "_read",
        "attempts",
        "cancelling",
        "closing",
        "connect",
        "due",
        "error",
        "fired",
        "phase",
        "task",
    )

    def __init__(self, task: asyncio.Task[Any], clock: Callable[[], float], due: float) -> None:
        self.task, self._clock, self.due = task, clock, due
        self.cancelling = task.cancelling()
        self.phase: Phase = "total"
        self._last: Phase = "total"
        self.attempts = 0
        self.error: StackOneError | None = None
        self.fired = self.closing = False
        self.connect: float | None = None
        self._read: float | None = None
        self._end = due

    def wait(self, phase: Phase, due: float) -> None:
        """Begin to wait for something other than the network."""
        self.phase, self.due = phase, due

    def attempt(self, now: float, end: float, last: Phase, *, connect: float | None, read: float | None) -> None:
        """Begin a request that has to be over at `end`, which is called `last`; first of all it connects."""
        self.connect, self._read, self._end, self._last = connect, read, end, last
        if connect is None or now + connect >= end:
            self.phase, self.due = last, end
        else:
            self.phase, self.due = "connect", now + connect

    def progress(self) -> None:
        """Note that the request was sent, or that bytes came: now the next ones are waited for."""
        self.phase, self.due = self._last, self._end
        if self._read is not None:
            due = self._clock() + self._read
            if due < self._end:
                self.phase, self.due = "read", due

    def uncancel(self) -> bool:
        """Take back this watch's own cancellation; False if somebody else cancelled the task too."""
        self.fired = False
        return self.task.uncancel() <= self.cancelling


class Request(msgspec.Struct, eq=False):
    """One HTTP request, ready to send.

    Attributes:
        method: HTTP method.
        path: Percent-encoded path, from the root of the host.
        query: Percent-encoded query string, without `?`; may be empty.
        headers: All headers, the secret ones as `Secret`.
        body: Bytes to send, or None.
        max_body: Most bytes of a decompressed answer.
        fresh: Whether it has to go over a new connection, after the last one failed.
    """

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes | None
    max_body: int
    fresh: bool = False

    def __repr__(self) -> str:
        return f"<Request {self.method} {self.path}>"


def _nothing() -> None:
    pass


class Response(msgspec.Struct, eq=False):
    """One HTTP answer, read to its end.

    Attributes:
        status: HTTP status code.
        headers: Headers, found in any case.
        body: The decompressed body; of an error answer at most its first 64 KiB.
        discard: Closes the connection that it came on, so that nothing else is read from it.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    discard: Callable[[], None] = _nothing

    def __repr__(self) -> str:
        return f"<Response {self.status}, {len(self.body)} bytes>"


class TransportError(Exception):
    """A request that brought no answer. It carries no foreign exception: those hold headers.

    Attributes:
        error: What the caller gets when it is not retried.
        sent: Whether the server may have executed the request.
        most: How many retries it is worth at most; None for as many as the policy allows.
        exhausted: Whether this machine has run out of something that every request needs, such as descriptors.
    """

    def __init__(self, error: StackOneError, *, sent: bool, most: int | None = None, exhausted: bool = False) -> None:
        super().__init__(type(error).__name__)
        self.error, self.sent, self.most, self.exhausted = error, sent, most, exhausted


class Transport:
    """Carries requests to the server. Subclass it to put something else in the place of the network."""

    async def open(self) -> None:
        """Get ready, on the running loop; called once before the first exchange."""

    def send(self, request: Request, watch: Deadline) -> Coroutine[Any, Any, Response]:
        """Send one request and read its answer.

        Raises:
            TransportError: There is no answer, or none that can be used.
        """
        raise NotImplementedError

    async def close(self) -> None:
        """Give everything back; called once."""


class LazyTransport:
    """A transport, made and opened at its first use.

    Args:
        make: Makes it.

    Attributes:
        transport: It, once it is open.
    """

    def __init__(self, make: Callable[[], Transport]) -> None:
        self._make = make
        self._opening: asyncio.Future[None] | None = None
        self.transport: Transport | None = None

    async def open(self) -> Transport:
        """Return it, opened."""
        if self._opening is None:
            self._opening = asyncio.get_running_loop().create_future()
            try:
                transport = self._make()
                await transport.open()
            except BaseException:
                opening, self._opening = self._opening, None
                opening.cancel()
                raise
            self.transport = transport
            self._opening.set_result(None)
        elif self.transport is None:
            # Somebody else is at it; if he fails, take over.
            await asyncio.wait([self._opening])
        return self.transport or await self.open()

    async def close(self) -> None:
        """Close it, if it was opened."""
        if self.transport is not None:
            await self.transport.close()
