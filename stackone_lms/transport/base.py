"""The seam to the network: one request in, one answer or one failure out."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Protocol, SupportsIndex, overload

import msgspec

from ..errors import StackOneError

MAX_HEADER = 32 * 1024
"""Bytes of a header of an answer, its name included; more are refused."""
MAX_HEADERS = 256
"""Headers of an answer; more are refused."""
PRIVATE_CA = "if it uses a private CA, pass ca_bundle= or set SSL_CERT_FILE"
"""What to do about a certificate that is not trusted, where the client makes the TLS settings."""


class ThisProcess:
    """The process that runs; known without asking the system every time, as `os.getpid` does."""

    id = os.getpid()


def _in_child() -> None:
    ThisProcess.id = os.getpid()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)


class Secret(str):
    """A string that shows as `***` in tracebacks with locals, debuggers, logs of `repr`, and where it is formatted.

    So do its slices: what prints long values cut off prints the repr of a slice. `str()` and `join` give the text.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"

    def __format__(self, format_spec: str) -> str:
        return format("***", format_spec)

    def __getitem__(self, key: SupportsIndex | slice) -> Secret:
        return Secret(super().__getitem__(key))


class SecretBytes(bytes):
    """Bytes that show as `***`, as a `Secret` does."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"

    def __format__(self, format_spec: str) -> str:
        return format("***", format_spec)

    @overload
    def __getitem__(self, key: SupportsIndex) -> int: ...
    @overload
    def __getitem__(self, key: slice) -> SecretBytes: ...
    def __getitem__(self, key: SupportsIndex | slice) -> int | SecretBytes:
        return SecretBytes(super().__getitem__(key)) if isinstance(key, slice) else super().__getitem__(key)


class TimeLimits(Protocol):
    """The time limits of a request under way, as a transport sees them.

    A request counts as sent from the beginning, so that a write is never repeated by mistake, and the time limits for
    an answer hold. A transport that tells when it makes a connection (`connecting`) and when it has one (`progress`)
    gets the limit for connections too, and has requests repeated that were surely not sent.
    """

    @property
    def connect(self) -> float | None:
        """Seconds that making a connection may take; None for no limit."""

    @property
    def fired(self) -> bool:
        """Whether the request is cancelled because its time is over."""
        ...

    def connecting(self) -> None:
        """Say that nothing of the request is sent yet, and that a connection is being made for it."""

    def progress(self) -> None:
        """Say that the request goes out now, or that bytes came: `Timeout.read` begins anew."""


class Request(msgspec.Struct, eq=False):
    """One HTTP request, ready to send.

    Attributes:
        method: HTTP method.
        path: Percent-encoded path, from the root of the host.
        query: Percent-encoded query string, without `?`; may be empty.
        headers: All headers, the secret ones as `Secret`.
        body: Bytes to send, or None.
        max_body: Most bytes of a decompressed answer.
        new_connection: Whether it has to go over a connection of its own, after the last one failed.
    """

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes | None
    max_body: int
    new_connection: bool = False

    def __rich_repr__(self) -> list[tuple[str, str]]:
        return [("method", self.method), ("path", self.path)]

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
        close_connection: Closes the connection that it came on, so that nothing else is read from it.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    close_connection: Callable[[], None] = _nothing

    def __rich_repr__(self) -> list[tuple[str, int]]:
        return [("status", self.status), ("bytes", len(self.body))]

    def __repr__(self) -> str:
        return f"<Response {self.status}, {len(self.body)} bytes>"


class TransportError(Exception):
    """A request that brought no answer. It carries no foreign exception: those hold headers.

    Attributes:
        error: What the caller gets when it is not retried.
        request_sent: Whether the server may have executed the request.
        max_retries: How many retries it is worth at most; None for as many as the policy allows.
        out_of_resources: Whether this machine has run out of something that every request needs, such as descriptors.
    """

    def __init__(
        self,
        error: StackOneError,
        *,
        request_sent: bool,
        max_retries: int | None = None,
        out_of_resources: bool = False,
    ) -> None:
        super().__init__(type(error).__name__)
        self.error, self.request_sent = error, request_sent
        self.max_retries, self.out_of_resources = max_retries, out_of_resources


class Transport:
    """Carries requests to the server. Subclass it to put something else in the place of the network.

    Only `send` has to be there:

        class ThroughHttpx(Transport):
            def __init__(self) -> None:
                self.http = httpx.AsyncClient(base_url="https://api.stackone.com", timeout=None)

            async def send(self, request: Request, limits: TimeLimits) -> Response:
                url = httpx.URL(request.path, query=request.query.encode())
                try:
                    answer = await self.http.request(
                        request.method, url, headers=dict(request.headers), content=request.body
                    )
                except httpx.TransportError:
                    raise TransportError(ConnectionLostError("lost"), request_sent=True) from None
                return Response(answer.status_code, answer.headers, answer.content)

    It is cancelled when a time limit is over, and has to let that pass. The client retries, waits and checks.
    """

    async def open(self) -> None:
        """Get ready, on the running loop; called before the first request on each event loop of the client."""

    def send(self, request: Request, limits: TimeLimits) -> Coroutine[Any, Any, Response]:
        """Send one request and read its answer.

        Args:
            request: What to send, as it stands there: path and query are encoded, and all headers are given.
            limits: The time limits of the call, which hold whatever is told to it.

        Raises:
            TransportError: There is no answer, or none that can be used.
        """
        raise NotImplementedError

    async def close(self) -> None:
        """Give everything back; called once on each event loop, the running one, where the transport was opened."""


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
        self._closed = False
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
        """Close it, if it was opened, and not closed yet."""
        closed, self._closed = self._closed, True
        if self.transport is not None and not closed:
            await self.transport.close()
