"""A sandbox in a thread, and a client of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from stackone_lms import AsyncClient, RetryPolicy
from stackone_lms.sandbox import Sandbox


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox.in_thread(accounts=2, users=20, courses=8, contents=6, assignments=40, completions=330) as running:
        yield running


@pytest.fixture
async def client(sandbox: Sandbox) -> AsyncIterator[AsyncClient]:
    quick = RetryPolicy(attempts=2, base=0.01, cap=0.01, throttle_base=0.01, throttle_cap=0.01)
    async with AsyncClient(sandbox.api_key, base_url=sandbox.url, rate_limit=None, retry=quick) as made:
        yield made
