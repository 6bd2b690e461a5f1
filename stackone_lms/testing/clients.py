"""The asynchronous client behind the fixture."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from ..base_client import bound_executor_of
from ..client import AsyncClient
from ..sandbox import Sandbox
from ..transport.aiohttp import AiohttpTransport
from ..transport.base import Request, Response, TimeLimits, Transport


class PerRequestTransport(Transport):
    """The default transport with a session for each request, so that nothing stays open between two.

    A client of it may be left behind when its event loop closes: a fixture cannot know which loop a test uses, and
    runs after it has closed.

    Args:
        origin: Scheme, host and port.
    """

    def __init__(self, origin: str) -> None:
        self._origin = origin

    async def send(self, request: Request, limits: TimeLimits) -> Response:
        """Send one request and read its answer."""
        transport = AiohttpTransport(self._origin)
        await transport.open()
        try:
            return await transport.send(request, limits)
        finally:
            await transport.close()


@contextmanager
def async_client(sandbox: Sandbox) -> Generator[AsyncClient]:
    """Make a client that is closed at the end, on whatever loop it was used."""
    client = AsyncClient(
        sandbox.api_key,
        sandbox.account_ids[0],
        base_url=sandbox.url,
        rate_limit=None,
        transport=PerRequestTransport(sandbox.url),
    )
    try:
        yield client
    finally:
        bound_executor_of(client).engine.close_unused()
