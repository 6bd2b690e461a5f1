"""A transport with a script, and an event loop whose time passes at once."""

from __future__ import annotations

import asyncio
import functools
import json
import selectors
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeAlias
from urllib.parse import parse_qsl

from multidict import CIMultiDict

from stackone_lms import AsyncClient
from stackone_lms.base_client import bound_executor_of
from stackone_lms.errors import ConnectError, ConnectionLostError, StackOneError
from stackone_lms.transport import Request, Response, TimeLimits, Transport, TransportError

P = ParamSpec("P")

KEY = "v1.eu1.a-secret-key"
ACCOUNT = "acct-secret-1"


class _Instant(selectors.DefaultSelector):
    """Waits for nothing: the clock jumps to the end of each wait."""

    now = 1000.0
    _turns = 0

    def select(self, timeout: float | None = None) -> list[Any]:
        ready = super().select(0)
        if not ready:
            if timeout is None:
                raise AssertionError("the program waits for something that never comes")
            # Sleeps below the resolution of the loop's clock end at once; only so does time pass then, too.
            self._turns = 0 if timeout > 0 else self._turns + 1
            self.now += max(timeout, 1e-9 if self._turns > 1000 else 0.0)
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop that jumps over every wait."""

    def __init__(self) -> None:
        self._instant = _Instant()
        super().__init__(self._instant)

    def time(self) -> float:
        return self._instant.now


def virtual(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run an async test in virtual time; tasks that it leaves behind fail it."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        async def main() -> None:
            await test(*args, **kwargs)
            for _ in range(3):
                await asyncio.sleep(0)
            left = asyncio.all_tasks() - {asyncio.current_task()}
            assert not left, left

        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            runner.run(main())

    return run


def now() -> float:
    """Return the virtual time."""
    return asyncio.get_running_loop().time()


class Counted(asyncio.Future[Any]):
    """A future that counts how often one was compared with another: what looks through a queue for one does that."""

    compared = 0

    def __eq__(self, other: object) -> bool:
        Counted.compared += 1
        return self is other

    __hash__ = asyncio.Future[Any].__hash__


async def give_up(wait: Callable[[], Coroutine[Any, Any, object]], callers: int) -> int:
    """Let so many callers wait, cancel them, the last first, and return how often their futures were compared."""
    loop: Any = asyncio.get_running_loop()
    loop.create_future = lambda: Counted(loop=loop)
    try:
        tasks = [asyncio.create_task(wait()) for _ in range(callers)]
        await asyncio.sleep(0)
        for task in reversed(tasks):
            task.cancel()
        Counted.compared = 0
        await asyncio.gather(*tasks, return_exceptions=True)
    finally:
        del loop.create_future
    assert all(task.cancelled() for task in tasks)
    return Counted.compared


@dataclass(frozen=True)
class Sent:
    """A request as the transport saw it."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes | None
    new_connection: bool
    at: float


Step: TypeAlias = Response | StackOneError | TransportError | Callable[[Request, TimeLimits], Awaitable[Response]]


class FakeTransport(Transport):
    """Answers from a script, one step a request; the last step answers for ever."""

    def __init__(self, *script: Step) -> None:
        self.script = script
        self.sent: list[Sent] = []
        self.opened = self.closed = self.under_way = self.most_under_way = 0

    async def open(self) -> None:
        self.opened += 1

    async def close(self) -> None:
        self.closed += 1

    async def send(self, request: Request, limits: TimeLimits) -> Response:
        step = self.script[min(len(self.sent), len(self.script) - 1)]
        self.sent.append(
            Sent(
                request.method,
                request.path,
                request.query,
                dict(request.headers),
                request.body,
                request.new_connection,
                asyncio.get_running_loop().time(),
            )
        )
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            if isinstance(step, TransportError):
                raise step
            if isinstance(step, StackOneError):
                raise TransportError(step, request_sent=not isinstance(step, ConnectError))
            limits.progress()
            return step if isinstance(step, Response) else await step(request, limits)
        finally:
            self.under_way -= 1

    @property
    def times(self) -> list[float]:
        """When each request was sent."""
        return [sent.at for sent in self.sent]

    @property
    def pauses(self) -> list[float]:
        """Seconds between each request and the next."""
        return [after - before for before, after in zip(self.times, self.times[1:], strict=False)]


def reply(status: int = 200, content: Any = None, **headers: str) -> Response:
    """Make an answer; bytes are taken as they are, `Retry_After=` sets the header `Retry-After`."""
    body = content if isinstance(content, bytes) else b"" if content is None else json.dumps(content).encode()
    return Response(status, CIMultiDict((name.replace("_", "-"), value) for name, value in headers.items()), body)


def error(status: int, message: str = "no", **fields: Any) -> Response:
    """Make an error answer as the API does; header names among `fields` begin with a capital letter."""
    headers = {name: value for name, value in fields.items() if name[0].isupper() or name.startswith("x_")}
    rest = {name: value for name, value in fields.items() if name not in headers}
    return reply(status, {"statusCode": status, "message": message, **rest}, **headers)


def record(id: str = "c1", **fields: Any) -> Response:
    """Make the answer with one record."""
    return reply(200, {"data": {"id": id, **fields}}, x_request_id=f"req-{id}")


def page(ids: Iterable[str], next: str | None = None, **fields: Any) -> Response:
    """Make the answer with one page."""
    return reply(200, {"data": [{"id": id} for id in ids], "next": next, **fields})


def created() -> Response:
    """Make the answer to a create."""
    data = {"id": "n1", "remote_id": None}
    return reply(201, {"statusCode": 201, "message": "Created", "timestamp": "2026-01-01T00:00:00.000Z", "data": data})


def lost() -> StackOneError:
    """Make the failure of a connection that ended after the request was sent."""
    return ConnectionLostError("the connection was lost")


def refused() -> StackOneError:
    """Make the failure of a connection that was never made."""
    return ConnectError("no connection")


async def hang(request: Request, limits: TimeLimits) -> Response:
    """Never answer."""
    await asyncio.get_running_loop().create_future()
    raise AssertionError


def slowly(seconds: float, answer: Response) -> Callable[[Request, TimeLimits], Awaitable[Response]]:
    """Answer after so many seconds."""

    async def step(request: Request, limits: TimeLimits) -> Response:
        await asyncio.sleep(seconds)
        return answer

    return step


def serving(pages: Mapping[str | None, Response]) -> Callable[[Request, TimeLimits], Awaitable[Response]]:
    """Answer with the page of the cursor that is asked for."""

    async def step(request: Request, limits: TimeLimits) -> Response:
        return pages[dict(parse_qsl(request.query)).get("next")]

    return step


def client_of(transport: Transport, **options: Any) -> AsyncClient:
    """Make a client over a fake transport, on the running loop's time."""
    given: dict[str, Any] = {"clock": asyncio.get_running_loop().time, "random": lambda: 0.5, **options}
    return AsyncClient(KEY, given.pop("account_id", ACCOUNT), transport=transport, **given)


def engine_of(client: Any) -> Any:
    """Return the inside of a client."""
    return bound_executor_of(client).engine
