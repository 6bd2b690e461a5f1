"""A server in memory, for tests that count requests, break answers, or look at what is under way."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qs, unquote

from stackone_lms import AsyncClient, RetryPolicy, SyncClient
from stackone_lms.transport.base import Request, Response, TimeLimits, Transport

Script = Callable[[str, int], Response | Exception | None]
"""Says what the n-th request for an id (from 1) is answered; None: its record."""


def refuse(status: int, *, headers: Mapping[str, str] | None = None, **body: Any) -> Response:
    """An error answer."""
    content = {"statusCode": status, "message": f"status {status}", "timestamp": "2026-01-01T00:00:00.000Z", **body}
    return Response(status, headers or {}, json.dumps(content).encode())


class Server(Transport):
    """Answers gets of completions by id, and lists of `records`.

    Args:
        script: What is answered.
        latency: Seconds before an answer; a function of the account and the id, or a number.
        capacity: Requests at a time; one more is answered 503.
        refusal: Seconds before that.
        records: The ids that lists show, in their order.
        total: Whether lists tell their size.
    """

    def __init__(
        self,
        script: Script | None = None,
        *,
        latency: float | Callable[[str, str], float] = 0.0,
        capacity: int | None = None,
        refusal: float = 0.001,
        records: Sequence[str] = (),
        total: bool = False,
    ) -> None:
        self.script, self.latency, self.capacity, self.refusal = script, latency, capacity, refusal
        self.records, self.total = records, total
        self.fetched: Counter[str] = Counter()
        self.answered: Counter[int] = Counter()
        self.by_account: Counter[str] = Counter()
        self.pages = self.refusing = self.in_flight = self.peak = self.closed = 0
        self.cancelled = 0

    @property
    def gets(self) -> int:
        """How many requests for single records came."""
        return sum(self.fetched.values())

    async def send(self, request: Request, limits: TimeLimits) -> Response:
        """Answer."""
        account = str(request.headers["x-account-id"])
        self.by_account[account] += 1
        id = unquote(request.path.rsplit("/", 1)[1])
        self.in_flight += 1
        self.peak = max(self.peak, self.in_flight)
        limits.progress()
        try:
            reply = await self._answer(account, id, request.query)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.in_flight -= 1
        self.answered[reply.status] += 1
        return reply

    async def _answer(self, account: str, id: str, query: str) -> Response:
        if self.capacity is not None and self.in_flight - self.refusing > self.capacity:
            self.refusing += 1
            try:
                await asyncio.sleep(self.refusal)
            finally:
                self.refusing -= 1
            return refuse(503)
        latency = self.latency if isinstance(self.latency, float | int) else self.latency(account, id)
        await asyncio.sleep(latency)
        if id == "completions":
            return self._page(account, query)
        self.fetched[id] += 1
        reply = None if self.script is None else self.script(id, self.fetched[id])
        if isinstance(reply, Exception):
            raise reply
        return reply or self.record(id)

    def record(self, id: str) -> Response:
        """The answer with a record."""
        return Response(200, {"x-request-id": f"r-{id}"}, b'{"data":{"id":%s}}' % json.dumps(id).encode())

    def _page(self, account: str, query: str) -> Response:
        self.pages += 1
        reply = None if self.script is None else self.script(f"page {account}", self.pages)
        if isinstance(reply, Exception):
            raise reply
        if reply is not None:
            return reply
        asked = parse_qs(query)
        start, size = int(asked.get("next", ["0"])[0]), int(asked.get("page_size", ["25"])[0])
        page: dict[str, Any] = {
            "data": [{"id": id, "remote_id": f"remote {id}"} for id in self.records[start : start + size]],
            "next": str(start + size) if start + size < len(self.records) else None,
        }
        if self.total:
            page["total"] = len(self.records)
        return Response(200, {}, json.dumps(page).encode())

    async def close(self) -> None:
        """Count how often it was closed."""
        self.closed += 1


QUICK = RetryPolicy(attempts=3, base=0.0, throttle_base=0.0, budget=1_000_000)
"""Retries at once."""
ONCE = RetryPolicy(attempts=1)


def client(server: Server, **options: Any) -> AsyncClient:
    """An asynchronous client of a server, without a rate limit."""
    return AsyncClient("key-of-the-test", "account-of-the-test", **_options(server, options))


def blocking(server: Server, **options: Any) -> SyncClient:
    """A blocking client of a server, without a rate limit."""
    return SyncClient("key-of-the-test", "account-of-the-test", **_options(server, options))


def _options(server: Server, options: dict[str, Any]) -> dict[str, Any]:
    return {"transport": server, "rate_limit": None, "retry": QUICK, **options}


async def instantly(_: float) -> None:
    """Sleep for no time."""
    await asyncio.sleep(0)


def ids(count: int) -> list[str]:
    """So many ids."""
    return [f"id-{n}" for n in range(count)]
