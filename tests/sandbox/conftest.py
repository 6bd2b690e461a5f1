from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any, Protocol

import aiohttp
import pytest

from stackone_lms.sandbox import Sandbox

from .client import Client

SMALL: dict[str, Any] = {"users": 20, "courses": 8, "contents": 30, "assignments": 60, "completions": 120}


class Start(Protocol):
    async def __call__(self, **options: Any) -> Client: ...


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Start a small sandbox with the given options, and return a client of it."""
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession())

        async def run(**options: Any) -> Client:
            sandbox = await stack.enter_async_context(Sandbox(**{**SMALL, **options}))
            return Client(sandbox, session)

        yield run


@pytest.fixture
async def api(start: Start) -> Client:
    """A client of a small sandbox."""
    return await start()


@pytest.fixture
def fixed_clock() -> Callable[[], Any]:
    from datetime import UTC, datetime

    return lambda: datetime(2031, 2, 3, 4, 5, 6, 789_000, tzinfo=UTC)
