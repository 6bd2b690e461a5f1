"""The fault server: raw answers on loopback sockets, chosen by the path of the request."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections import defaultdict
from collections.abc import Coroutine, Iterable
from types import TracebackType
from typing import Any, Literal, Self

from .catalogue import CATALOGUE
from .certificates import TLS, ca_pem, server_context
from .connection import Connection, Settings, linger_not
from .messages import Request, answer, parse, problem
from .scripts import Fault, ok
from .stats import Stats

Accept = Literal["serve", "refused", "hang", "rst", "fin", "stall", "rst-hello", "fin-hello"]
"""What a connection meets: a server; a port where nothing listens; a full backlog; RST or FIN at once;
silence; RST or FIN after the first bytes, such as a TLS ClientHello."""

_HOST = "127.0.0.1"


class FaultServer:
    """A server on a loopback port that misbehaves as the path says.

    `{url}/f/{fault}/unified/lms/...` meets the fault each time, `{url}/f/{fault}@2/...` the first two times
    for each id (or page), and good answers otherwise. Use it with `async with`.

    Attributes:
        url: `http://127.0.0.1:{port}`, or https.
        ca_pem: The certificate of the CA that signs the good certificate.
        total: Counters of the whole server.
        settings: `stall` and `tick` may be changed at any time.
    """

    def __init__(
        self,
        *,
        tls: TLS | None = None,
        scheme: Literal["http", "https"] | None = None,
        accept: Accept = "serve",
        evil_url: str | None = None,
        stall: float = 30.0,
        tick: float = 0.05,
        more: Iterable[Fault] = (),
    ) -> None:
        """Prepare a server.

        Args:
            tls: Which certificate to show; None for plain HTTP.
            scheme: The scheme of `url`, if not the one that the server speaks.
            accept: What a connection meets.
            evil_url: Where redirects lead to; the server itself if None.
            stall: Seconds that a silent, trickling or endless answer lasts at most.
            tick: Seconds between two bytes of a trickle, and before something happens on an idle connection.
            more: Faults of the test's own.
        """
        self.settings = Settings(stall=stall, tick=tick)
        self.total = Stats()
        self.url = ""
        self._tls = tls
        self._scheme = scheme or ("http" if tls is None else "https")
        self._accept: Accept = accept
        self._evil_url = evil_url
        self._faults = {fault.name: fault for fault in (*CATALOGUE, *more)}
        self._stats: defaultdict[tuple[str, str | None], Stats] = defaultdict(Stats)
        self._listener: socket.socket
        self._resting: asyncio.TimerHandle | None = None
        self._backlog: list[socket.socket] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._bugs: list[BaseException] = []

    @classmethod
    def of(cls, fault: Fault, **options: Any) -> Self:
        """Make the server that a fault needs."""
        return cls(**{**fault.server, **options})

    @property
    def ca_pem(self) -> str:
        return ca_pem()

    def base_url(self, fault: Fault | str, times: int | None = None) -> str:
        """Return the base URL for a fault: each time, or the first `times` times for each id (or page)."""
        name = fault if isinstance(fault, str) else fault.name
        return f"{self.url}/f/{name}" + ("" if times is None else f"@{times}")

    def stats(self, base: str, key: str | None = None) -> Stats:
        """Return the counters of a base (what stands behind `/f/`), or of one id or cursor below it."""
        return self._stats[base, key]

    @property
    def open(self) -> int:
        """How many connections are open, those included that this side is about to close."""
        return len(self._tasks)

    async def idle(self, within: float = 10.0) -> None:
        """Wait until no answer is due any more. Raises TimeoutError."""
        async with asyncio.timeout(within):
            while self.total.in_flight:
                await asyncio.sleep(0.001)

    async def __aenter__(self) -> Self:
        self._listener = socket.socket()
        self._listener.setblocking(False)
        self._listener.bind((_HOST, 0))
        port: int = self._listener.getsockname()[1]
        self.url = f"{self._scheme}://{_HOST}:{port}"
        self.settings.evil_url = self._evil_url or self.url
        if self._accept == "hang":
            self._listener.listen(0)
            try:
                await self._fill_backlog(port)
            except BaseException:
                await self._close()
                raise
        elif self._accept != "refused":
            self._listener.listen(1024)
            self._listen()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._close()
        if self._bugs and error is None:
            raise self._bugs[0]

    async def _close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._listener)
        if self._resting is not None:
            self._resting.cancel()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for sock in (self._listener, *self._backlog):
            sock.close()

    async def _fill_backlog(self, port: int) -> None:
        """Connect until the kernel no longer answers a SYN."""
        loop = asyncio.get_running_loop()
        for _ in range(8):
            sock = socket.socket()
            sock.setblocking(False)
            self._backlog.append(sock)
            try:
                async with asyncio.timeout(0.1):
                    await loop.sock_connect(sock, (_HOST, port))
            except TimeoutError:
                return
        raise OSError("this system accepts connections above the backlog")

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (bug := task.exception()) is not None:
            self._bugs.append(bug)

    def _listen(self) -> None:
        asyncio.get_running_loop().add_reader(self._listener, self._take)

    def _take(self) -> None:
        # Without waiting in between, so that closing the server loses no connection half accepted.
        loop = asyncio.get_running_loop()
        try:
            sock, _ = self._listener.accept()
        except BlockingIOError:
            return
        except OSError:  # no descriptors left
            loop.remove_reader(self._listener)
            self._resting = loop.call_later(0.01, self._listen)
            return
        sock.setblocking(False)
        self.total.connections += 1
        task = self._spawn(self._serve(sock) if self._accept == "serve" else self._turn_away(sock))
        # A task that is cancelled before its first step closes nothing.
        task.add_done_callback(lambda _: sock.close())

    async def _turn_away(self, sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        with sock:
            sock.setblocking(False)
            if self._accept in {"rst-hello", "fin-hello"}:
                with contextlib.suppress(ConnectionError):
                    await loop.sock_recv(sock, 65_536)
            if self._accept == "stall":
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self.settings.stall):
                        await _silence(sock)
                        self.total.hangups += 1
            if self._accept in {"rst", "rst-hello"}:
                linger_not(sock)

    async def _serve(self, sock: socket.socket) -> None:
        context = None if self._tls is None else server_context(self._tls)
        connection = Connection(self.settings, sock)
        loop = asyncio.get_running_loop()
        try:
            try:
                await loop.connect_accepted_socket(lambda: connection, sock, ssl=context)
            except OSError:  # the TLS handshake failed
                return
            while await self._next(connection):
                pass
            connection.transport.close()
            await connection.lost.wait()
        finally:
            connection.abort()
            # A transport closes its socket in a later turn of the loop.
            while sock.fileno() >= 0:
                await asyncio.sleep(0)

    async def _next(self, connection: Connection) -> bool:
        """Answer the next request; tell whether the connection goes on."""
        try:
            received = await connection.receive()
            request = parse(*received) if received else None
        except ValueError as error:
            self.total.suspicious.append(str(error))
            with contextlib.suppress(ConnectionError):
                await connection.send(answer(problem(400), 400, "connection: close"))
            return False
        return request is not None and await self._answer(connection, request)

    async def _answer(self, connection: Connection, request: Request) -> bool:
        base = self.stats(request.base)
        scope = (self.total, base, self.stats(request.base, request.key))
        connection.begin(scope, request.head)
        fault = self._faults.get(request.fault)
        reasons = request.suspicions()
        if request.base and fault is None:
            reasons.append(f"no such fault: {request.base}")
        for stats in scope:
            stats.suspicious += reasons
        over = request.times is not None and scope[-1].requests > request.times
        script = ok if fault is None or over else fault.script
        try:
            await script(connection, request)
        except ConnectionError:
            connection.hung_up()
            return False
        finally:
            connection.done()
        return not connection.ended


async def _silence(sock: socket.socket) -> None:
    """Read until the client leaves."""
    with contextlib.suppress(ConnectionError):
        while await asyncio.get_running_loop().sock_recv(sock, 65_536):
            pass
