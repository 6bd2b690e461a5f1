"""Thousands of requests side by side, most of them in trouble, some of them cancelled: nothing mixes, nothing leaks."""

from __future__ import annotations

import asyncio
import gc
import logging
import time
from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Any

import psutil
import pytest

from stackone_lms import AsyncClient
from stackone_lms.errors import StackOneError
from stackone_lms.options import RetryPolicy, Timeout

from . import CATALOGUE, Connection, Fault, FaultServer, Request, Stats
from .scripts import ok
from .sdk import Carrier, assert_idle, client_for, engine_of

REQUESTS = 20_000
SECONDS = 30.0
"""After that no further request is begun: a slow machine does fewer."""
CONCURRENCY = 64
CANCELLED = 0.1
TROUBLE = (
    "rst-nothing", "fin-nothing", "rst-headers", "fin-body", "short-body-fin", "chunked-no-last-chunk", "chunk-overrun",
    "status-line-garbage", "two-lengths", "short-length", "two-answers", "extra-bytes", "late-answer", "late-400",
    "stale-close", "stale-reset", "stale-race-rst", "close-unsaid", "close-not", "set-cookie", "gzip", "gzip-corrupt",
    "gzip-cut", "html-200", "empty-200", "bad-utf-8", "json-cut", "id-other", "error-200", "deep-unknown",
    "redirect-302", "status-404", "status-429", "status-500", "html-502",
)  # fmt: skip
SLOW = ("stall-body", "never-answers", "heartbeats")
"""Met by one request in two hundred."""


def kind_of(number: int) -> str:
    """Return what the request of this number meets the first time."""
    if number % 200 == 0:
        return SLOW[number // 200 % len(SLOW)]
    return TROUBLE[number // 2 % len(TROUBLE)] if number % 2 else "ok"


_SCRIPTS = {fault.name: fault.script for fault in CATALOGUE}


class Mixed:
    """A fault that is another one for each id; for two of three ids only the first time."""

    def __init__(self) -> None:
        self._seen: set[int] = set()

    async def script(self, connection: Connection, request: Request) -> None:
        name, _, number = (request.id or "").rpartition(":")
        again = int(number) in self._seen
        self._seen.add(int(number))
        await (ok if again and int(number) % 3 else _SCRIPTS[name])(connection, request)

    @property
    def fault(self) -> Fault:
        return Fault("mixed", "-", "all kinds of trouble, by the id", "ok", None, self.script)


class Forgetful(FaultServer):
    """A server that does not count for each id, nor remember when requests came."""

    def stats(self, base: str, key: str | None = None) -> Stats:
        found = super().stats(base)
        found.arrivals.clear()
        self.total.arrivals.clear()
        return found


class Run:
    """What the workers share."""

    def __init__(self, client: AsyncClient) -> None:
        self.client = client
        self.begun = 0
        self.good = self.cancelled = 0
        self.errors: Counter[str] = Counter()
        self.until = time.monotonic() + SECONDS

    async def work(self, random: Random) -> None:
        while self.begun < REQUESTS and time.monotonic() < self.until:
            self.begun += 1
            id = f"{kind_of(self.begun)}:{self.begun}"
            if random.random() < CANCELLED:
                await self._cancel(id, random.random() * 0.01)
            else:
                await self._call(id)

    async def _call(self, id: str) -> None:
        try:
            data = (await self.client.completions.get(id)).data
        except StackOneError as error:
            self.errors[type(error).__name__] += 1
        else:
            assert (data.id, data.remote_id) == (id, f"remote {id}")
            self.good += 1

    async def _cancel(self, id: str, after: float) -> None:
        call = asyncio.create_task(self._call(id))
        await asyncio.sleep(after)
        call.cancel()
        await asyncio.wait([call])
        if call.cancelled():
            self.cancelled += 1
        else:
            call.result()


@pytest.mark.soak
@pytest.mark.timeout(120)
async def test_thousands_of_requests_in_trouble(
    carrier: Carrier, record_property: Callable[[str, object], None], caplog: pytest.LogCaptureFixture
) -> None:
    """No id gets another's record; no slot, task, connection, warning or memory is left over."""
    caplog.set_level(logging.WARNING)
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: complaints.append(context))
    tasks = asyncio.all_tasks()
    process = psutil.Process()
    retry = RetryPolicy(attempts=2, base=0.001, throttle_base=0.001, budget=10**9)
    timeout = Timeout(connect=5, read=1, attempt=5, total=30)
    async with Forgetful(stall=120, tick=0.001, more=[Mixed().fault]) as server:
        async with client_for(
            carrier, server.base_url("mixed"), retry=retry, timeout=timeout, max_concurrency=CONCURRENCY
        ) as client:
            run = Run(client)
            workers = [asyncio.create_task(run.work(Random(n))) for n in range(CONCURRENCY)]
            while run.begun < REQUESTS / 4 and not all(worker.done() for worker in workers):
                await asyncio.sleep(0.01)
            gc.collect()
            before = process.memory_info().rss
            await asyncio.gather(*workers)
            gc.collect()
            grown = process.memory_info().rss - before
            assert_idle(client)
            assert len(engine_of(client).deadlines) == 0
            await server.idle(10)
        async with asyncio.timeout(20):
            while server.open:
                await asyncio.sleep(0.001)
    gc.collect()
    record_property("requests", run.begun)
    assert run.begun == REQUESTS or run.begun > 2000
    assert run.good + run.cancelled + run.errors.total() == run.begun
    assert run.good > 0.5 * run.begun
    assert run.cancelled > 0.02 * run.begun
    assert len(run.errors) >= 8
    assert server.total.suspicious == []
    assert complaints == []
    assert asyncio.all_tasks() == tasks
    assert grown < 16 * 2**20
