"""A sandbox that is only read, and clients of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from stackone_lms import AsyncClient, RetryPolicy, SyncClient
from stackone_lms.sandbox import Sandbox

QUICK = RetryPolicy(attempts=2, base=0.01, cap=0.01, throttle_base=0.01, throttle_cap=0.01)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    sizes = {"users": 12, "courses": 8, "contents": 6, "assignments": 30, "completions": 75}
    with Sandbox.in_thread(accounts=2, odd_values=True, **sizes) as running:  # type: ignore[arg-type]
        yield running


@pytest.fixture
def client(sandbox: Sandbox) -> Iterator[SyncClient]:
    with SyncClient(sandbox.api_key, base_url=sandbox.url, rate_limit=None, retry=QUICK) as made:
        yield made


@pytest.fixture
async def aio(sandbox: Sandbox) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(sandbox.api_key, base_url=sandbox.url, rate_limit=None, retry=QUICK) as made:
        yield made
