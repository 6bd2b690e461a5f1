"""Connections that look alive and lead nowhere, and answers that came while nobody could read them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

from stackone_lms import AsyncClient, RetryPolicy, Timeout
from stackone_lms.errors import APITimeoutError
from tests.faults.sdk import SkippingClock
from tests.transport.server import Peer, answer, serving

pytestmark = pytest.mark.loop

TRANSPORTS = pytest.mark.parametrize("transport", ["lean", "aiohttp"])


class _Blackhole:
    """A server whose connections of now can be made to swallow everything, while new ones work."""

    def __init__(self) -> None:
        self.dead: set[int] = set()
        self.met = asyncio.Barrier(10)

    async def script(self, peer: Peer) -> None:
        await peer.request()
        await self.met.wait()  # so that each request gets a connection of its own
        await peer.send(answer())
        while await peer.request():
            if id(peer) not in self.dead:
                await peer.send(answer())


async def _ten_dead_ones(client: AsyncClient, hole: _Blackhole, peers: list[Peer]) -> None:
    await asyncio.gather(*(client.users.get("x") for _ in range(10)))
    hole.dead = {id(peer) for peer in peers}
    assert len(hole.dead) == 10
    hole.met = asyncio.Barrier(1)


@TRANSPORTS
@pytest.mark.parametrize("timeout", [Timeout(read=1), Timeout(attempt=1)], ids=["read", "attempt"])
async def test_a_retry_after_a_timeout_takes_a_new_connection(transport: Any, timeout: Timeout) -> None:
    hole, retry = _Blackhole(), RetryPolicy(base=0.001, cap=0.001)
    async with (
        serving(hole.script) as server,
        AsyncClient("key", "a", base_url=server.url, transport=transport, retry=retry) as client,
    ):
        await _ten_dead_ones(client, hole, server.peers)
        brief = client.with_options(timeout=timeout)
        assert (await brief.users.get("x")).attempts == 2


@TRANSPORTS
async def test_the_next_call_after_a_timeout_does_not_take_one_that_is_idle_for_longer(transport: Any) -> None:
    hole, retry = _Blackhole(), RetryPolicy(attempts=1)
    async with (
        serving(hole.script) as server,
        AsyncClient("key", "a", base_url=server.url, transport=transport, retry=retry) as client,
    ):
        await _ten_dead_ones(client, hole, server.peers)
        brief = client.with_options(timeout=Timeout(read=1))
        with pytest.raises(APITimeoutError):
            await brief.users.get("x")
        for _ in range(3):
            await brief.users.get("x")
        assert len(server.peers) == 11


@TRANSPORTS
async def test_an_answer_that_came_while_the_loop_was_blocked_is_taken(
    transport: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with a consumer that computes: the time limit has passed, and the answer is in the socket."""
    sent, loop, skipping = asyncio.Event(), asyncio.get_running_loop(), SkippingClock()
    clock: Callable[[], float] = time.monotonic
    block: Callable[[float], None] = time.sleep
    limit = 0.5
    if isinstance(loop, asyncio.BaseEventLoop):  # uvloop has a clock of its own
        clock, block, limit = skipping, skipping.jump, 30.0
        monkeypatch.setattr(loop, "time", clock)

    async def script(peer: Peer) -> None:
        while await peer.request():
            sent.set()
            await peer.send(answer())

    limits, retry = Timeout(connect=limit, read=limit, attempt=1000, total=1000), RetryPolicy(attempts=1)
    options: dict[str, Any] = {"transport": transport, "timeout": limits, "retry": retry, "clock": clock}
    async with serving(script) as server, AsyncClient("key", "a", base_url=server.url, **options) as client:
        for _ in range(3):  # the first makes a connection, too
            sent.clear()
            call = asyncio.create_task(client.users.get("x"))
            await asyncio.sleep(0)
            block(2 * limit)
            await asyncio.wait_for(sent.wait(), 20)
            block(2 * limit)
            assert (await call).attempts == 1
