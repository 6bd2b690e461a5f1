"""`python -m benchmarks.bulk`: how much of a rate limit a bulk fetch uses, and what it costs in refusals.

Against a server that allows R requests a second (429 and Retry-After beyond), takes its time, and fails now and then:
seconds to fetch N records over the ideal N / R, and the share of requests that were refused. Beside `get_many`: plain
aiohttp with gather and a semaphore, and aiohttp with the retry rules of the official TypeScript SDK (429 and 408, waits
of 0.5 s * n^1.5 plus up to a second, Retry-After up to 60 s).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import random
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp

from stackone_lms import AsyncClient, RateLimit, RetryPolicy, Timeout
from stackone_lms.sandbox import Sandbox

HERE = Path(__file__).parent


class Case(NamedTuple):
    """One server, and how much is asked of it."""

    name: str
    limit: tuple[int, float]
    latency: tuple[float, float]
    ids: int
    warm: int
    faults: float = 0.01
    in_flight: int | None = None


CASES = [
    Case("16.7/s (1000 a minute), 20 ms to 2 s", (1000, 60.0), (0.02, 2.0), 1500, 100),
    Case("50/s, 20 ms to 2 s", (50, 1.0), (0.02, 2.0), 2500, 500),
    Case("200/s, 20 ms to 200 ms", (200, 1.0), (0.02, 0.2), 6000, 1500),
]
NARROW = Case("8 in flight, else 503; 50 ms", (10**6, 1.0), (0.05, 0.05), 4000, 1000, faults=0.0, in_flight=8)


def serve(case: Case, pipe: Any) -> None:
    """Run the server of a case in a process of its own, until told to stop."""

    async def main() -> None:
        faults: Any = {"status": 502, "rate": case.faults} if case.faults else None
        async with Sandbox(
            rate_limit=case.limit,
            latency=case.latency,
            faults=faults,
            completions=10_000,
            accounts=1,
            max_in_flight=case.in_flight,
        ) as sandbox:
            pipe.send((sandbox.url, sandbox.api_key, sandbox.account_ids[0], sandbox.ids("completions")))
            while (asked := await asyncio.to_thread(pipe.recv)) != "stop":
                assert asked == "counts"
                pipe.send((sandbox.request_count, dict(sandbox.status_counts)))

    asyncio.run(main())


class Server(NamedTuple):
    """A running server."""

    url: str
    key: str
    account: str
    ids: list[str]


Tick = Callable[[bool], None]
"""Told of each record that is done with, and whether it came."""

Fetch = Callable[[Server, Case, list[str], Tick], Coroutine[Any, Any, None]]


async def ours(server: Server, case: Case, ids: list[str], tick: Tick) -> None:
    """`get_many`, with the client-side limit set to the server's and everything else at its default."""
    limit = RateLimit(case.limit[0], per=case.limit[1])
    async with AsyncClient(server.key, server.account, base_url=server.url, rate_limit=limit, max_concurrency=500) as c:
        async for outcome in c.completions.get_many(ids):
            tick(outcome.error is None)


async def ours_narrow(server: Server, case: Case, ids: list[str], tick: Tick) -> None:
    """`get_many` without a client-side limit: only the server's refusals tell."""
    retry, timeout = RetryPolicy(attempts=8), Timeout()
    async with AsyncClient(
        server.key, server.account, base_url=server.url, rate_limit=None, retry=retry, timeout=timeout
    ) as client:
        async for outcome in client.completions.get_many(ids):
            tick(outcome.error is None)


def _headers(server: Server) -> dict[str, str]:
    authorization = aiohttp.encode_basic_auth(server.key, "")
    return {"Authorization": authorization, "x-account-id": server.account, "User-Agent": "benchmark"}


async def naive(server: Server, case: Case, ids: list[str], tick: Tick) -> None:
    """Gather, a semaphore of 50, and no retries: what a first script does. What is refused is lost."""
    gate = asyncio.Semaphore(50)
    async with aiohttp.ClientSession(headers=_headers(server)) as session:

        async def one(id: str) -> None:
            async with gate, session.get(f"{server.url}/unified/lms/completions/{id}") as response:
                await response.read()
                tick(response.status == 200)

        await asyncio.gather(*map(one, ids))


async def typescript_rules(server: Server, case: Case, ids: list[str], tick: Tick) -> None:
    """Gather, a semaphore of 50, and the retry rules of the official TypeScript SDK."""
    gate = asyncio.Semaphore(50)
    async with aiohttp.ClientSession(headers=_headers(server)) as session:

        async def one(id: str) -> None:
            async with gate:
                for attempt in range(200):
                    async with session.get(f"{server.url}/unified/lms/completions/{id}") as response:
                        await response.read()
                        if response.status not in {408, 429}:
                            return tick(response.status == 200)
                        asked = response.headers.get("Retry-After")
                    own = 0.5 * attempt**1.5 + random.random()
                    await asyncio.sleep(min(60.0, float(asked) if asked else own))
            return tick(False)

        await asyncio.gather(*map(one, ids))


def measure(case: Case, fetch: Fetch, *, share: float) -> dict[str, float]:
    """Run one fetch against a new server; time and refusals are counted once `case.warm` records are done."""
    here, there = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(case, there), daemon=True)
    process.start()
    server = Server(*here.recv())
    count, warm = int(case.ids * share), int(case.warm * share)
    done: list[bool] = []
    marks: list[tuple[float, int, int]] = []

    def mark() -> None:
        here.send("counts")
        requests, statuses = here.recv()
        marks.append((time.monotonic(), requests, statuses.get(429, 0) + statuses.get(503, 0)))

    def tick(came: bool) -> None:
        done.append(came)
        if len(done) == warm:
            mark()

    async def run() -> dict[str, float]:
        await fetch(server, case, server.ids[:count], tick)
        mark()
        (began, before, refused_before), (ended, after, refused_after) = marks
        requests = max(1, after - before)
        return {
            "seconds": ended - began,
            "good": sum(done),
            "all": count,
            "ids": count - warm,
            "requests": requests,
            "refused": (refused_after - refused_before) / requests,
        }

    figures = asyncio.run(run())
    here.send("stop")
    process.join(10)
    return figures


def main() -> None:
    """Measure all cases and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bulk", description=__doc__)
    parser.add_argument("--share", type=float, default=1.0, help="of the ids, for a quicker and rougher run")
    asked = parser.parse_args()
    results: dict[str, Any] = {}
    print("| server | client | x ideal time | fetched | refused |\n| --- | --- | --- | --- | --- |", flush=True)
    clients: dict[str, Fetch] = {
        "get_many": ours,
        "gather, no retries": naive,
        "gather, TypeScript rules": typescript_rules,
    }
    for case in CASES:
        ideal_rate = case.limit[0] / case.limit[1]
        for name, fetch in clients.items():
            row = measure(case, fetch, share=asked.share)
            row["x_ideal"] = row["seconds"] / (row["ids"] / ideal_rate)
            results.setdefault(case.name, {})[name] = row
            fetched = f"{row['good']:.0f} of {row['all']:.0f}"
            print(f"| {case.name} | {name} | {row['x_ideal']:.3f} | {fetched} | {row['refused']:.2%} |", flush=True)
    row = measure(NARROW, ours_narrow, share=asked.share)
    capacity = (NARROW.in_flight or 1) / NARROW.latency[0]
    row["of_capacity"] = row["ids"] / row["seconds"] / capacity
    results[NARROW.name] = {"get_many": row}
    share = f"{row['of_capacity']:.1%} of capacity"
    print(f"| {NARROW.name} | get_many | {share} | {row['good']:.0f} | {row['refused']:.2%} |")
    (HERE / "results").mkdir(exist_ok=True)
    (HERE / "results" / "bulk.json").write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
