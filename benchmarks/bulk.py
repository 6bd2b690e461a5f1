"""`python -m benchmarks.bulk`: how much of a rate limit a bulk fetch uses, and what it costs in refusals.

Against a server that allows R requests a second (429 and Retry-After beyond), takes 20 ms to 2 s and fails one request
in a hundred: seconds to fetch N records over the ideal N / R, and the share of requests that were refused. Beside
`get_many`: plain aiohttp with gather and a semaphore, and the same with the retry rules of the official TypeScript SDK
(429 and 408, waits of 0.5 s * n^1.5 plus up to a second, Retry-After up to 60 s). Then a narrow server, which refuses
more than 8 requests at a time. Eight minutes; `--quick`: two. (`python -m benchmarks scale` measures how cost grows.)
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import multiprocessing
import random
import time
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp

from stackone_lms import AsyncClient, RateLimit
from stackone_lms.sandbox import Sandbox

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "bulk.json"
SPAWN = multiprocessing.get_context("spawn")


class Case(NamedTuple):
    """One server, and how much is asked of it."""

    name: str
    ids: int
    warm: int
    latency: tuple[float, float] = (0.02, 2.0)
    limit: tuple[int, float] | None = None
    faults: float = 0.0
    in_flight: int | None = None

    @property
    def rate(self) -> float:
        """Records a second at best."""
        if self.limit is not None:
            return self.limit[0] / self.limit[1]
        return (self.in_flight or 1) / (sum(self.latency) / 2)

    def shortened(self, share: float) -> Case:
        """Return the same with fewer ids."""
        return self._replace(ids=int(self.ids * share), warm=int(self.warm * share))


# Each takes about 200 seconds: the last answers of a fetch, which nothing follows, should weigh little.
LIMITED = [
    Case("16.7 requests a second", 3500, 200, limit=(1000, 60.0), faults=0.01),
    Case("50 requests a second", 10_500, 500, limit=(50, 1.0), faults=0.01),
    Case("200 requests a second", 42_000, 2000, limit=(200, 1.0), faults=0.01),
]
NARROW = Case("8 at a time", 3000, 300, latency=(0.2, 0.2), in_flight=8)
BESIDE = 0.4
"""The share of the ids that the other clients are given where a window of the limit is short."""


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
    records: list[str]

    def ids(self, count: int) -> Iterable[str]:
        """Yield so many ids, from the beginning again after the last: too far apart to be taken for duplicates."""
        return (self.records[n % len(self.records)] for n in range(count))


Tick = Callable[[bool], None]
"""Told of each record that is done with, and whether it came."""

Fetch = Callable[[Server, Case, Tick], Coroutine[Any, Any, None]]


async def ours(server: Server, case: Case, tick: Tick) -> None:
    """`get_many`, with the client-side limit set to the server's, and room for what is under way at 200 a second."""
    limit = None if case.limit is None else RateLimit(case.limit[0], per=case.limit[1])
    async with AsyncClient(server.key, server.account, base_url=server.url, rate_limit=limit, max_concurrency=500) as c:
        async for outcome in c.completions.get_many(server.ids(case.ids)):
            tick(outcome.error is None)


async def told(server: Server, case: Case, tick: Tick) -> None:
    """`get_many` with the concurrency that is right for the server."""
    async with AsyncClient(server.key, server.account, base_url=server.url, rate_limit=None) as c:
        async for outcome in c.completions.get_many(server.ids(case.ids), concurrency=case.in_flight):
            tick(outcome.error is None)


def _session(server: Server) -> aiohttp.ClientSession:
    authorization = aiohttp.encode_basic_auth(server.key, "")
    headers = {"Authorization": authorization, "x-account-id": server.account, "User-Agent": "benchmark"}
    return aiohttp.ClientSession(headers=headers, connector=aiohttp.TCPConnector(limit=0))


def _gate(case: Case) -> asyncio.Semaphore:
    # Twice what is under way at the rate of the limit, so that the semaphore is not what holds them back.
    return asyncio.Semaphore(math.ceil(2 * case.rate * sum(case.latency) / 2))


async def naive(server: Server, case: Case, tick: Tick) -> None:
    """Gather, a semaphore, and no retries: what a first script does. What is refused is lost."""
    gate = _gate(case)
    async with _session(server) as session:

        async def one(id: str) -> None:
            async with gate, session.get(f"{server.url}/unified/lms/completions/{id}") as response:
                await response.read()
                tick(response.status == 200)

        await asyncio.gather(*map(one, server.ids(case.ids)))


async def typescript_rules(server: Server, case: Case, tick: Tick) -> None:
    """Gather, a semaphore, and the retry rules of the official TypeScript SDK."""
    gate = _gate(case)
    async with _session(server) as session:

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

        await asyncio.gather(*map(one, server.ids(case.ids)))


CLIENTS: dict[str, Fetch] = {
    "get_many": ours,
    "get_many, concurrency told": told,
    "gather, no retries": naive,
    "gather, retries of the TypeScript SDK": typescript_rules,
}


def measure(case: Case, name: str) -> dict[str, Any]:
    """Run one fetch against a new server; time and refusals are counted once `case.warm` records are done."""
    here, there = SPAWN.Pipe()
    process = SPAWN.Process(target=serve, args=(case, there))
    process.start()
    server = Server(*here.recv())
    done: list[bool] = []
    marks: list[tuple[float, int, int]] = []
    moments: list[float] = []

    def mark() -> None:
        here.send("counts")
        requests, statuses = here.recv()
        marks.append((time.monotonic(), requests, statuses.get(429, 0) + statuses.get(503, 0)))

    def tick(came: bool) -> None:
        done.append(came)
        if len(done) % (case.ids // 40) == 0:
            moments.append(time.monotonic() - started)
        if len(done) == case.warm:
            mark()

    started = time.monotonic()
    asyncio.run(CLIENTS[name](server, case, tick))
    mark()
    here.send("stop")
    process.join(10)
    (began, before, refused_before), (ended, after, refused_after) = marks
    seconds, ids, requests = ended - began, case.ids - case.warm, max(1, after - before)
    return {
        "seconds": seconds,
        "ids": ids,
        "fetched": sum(done) / case.ids,
        "requests": requests,
        "refused": (refused_after - refused_before) / requests,
        "refused_while_warming": refused_before,
        "x_ideal": seconds / (ids / case.rate),
        "of_capacity": ids / case.rate / seconds,
        "step": case.ids // 40,
        "moments": moments,
    }


Measured = dict[str, dict[str, Any]]


def together(tasks: list[tuple[Case, str]]) -> dict[str, Measured]:
    """Measure several at once, each client and each server in a process of its own: they wait most of the time."""
    with ProcessPoolExecutor(len(tasks), mp_context=SPAWN) as pool:
        running: list[tuple[Case, str, Future[dict[str, Any]]]] = [
            (case, name, pool.submit(measure, case, name)) for case, name in tasks
        ]
        found: dict[str, Measured] = {}
        for case, name, future in running:
            row = found.setdefault(case.name, {})[name] = future.result()
            figures = f"{row['x_ideal']:.3f} | {row['fetched']:.2%} | {row['refused']:.3%}"
            print(f"| {case.name} | {name} | {row['ids']:,} | {figures} |", flush=True)
    return found


def limited(*, quick: bool) -> dict[str, Measured]:
    """Measure all clients under rate limits."""
    cases = [case.shortened(0.15) for case in LIMITED] if quick else LIMITED
    others = [name for name in CLIENTS if name.startswith("gather")]
    # Those that take long and work little run beside each other.
    found = together([*((case, "get_many") for case in cases), *((cases[0], other) for other in others)])
    beside = [case.shortened(BESIDE) for case in cases[1:]]
    for name, rows in together([(case, other) for case in beside for other in others]).items():
        found[name].update(rows)
    return found


def narrow(*, quick: bool) -> dict[str, Any]:
    """Measure `get_many` against a narrow server, with and without being told how narrow it is."""
    case = NARROW.shortened(0.5) if quick else NARROW
    rows = together([(case, name) for name in ("get_many", "get_many, concurrency told")])[case.name]
    for name, row in rows.items():
        print(f"{case.name}, {name}: {row['of_capacity']:.1%} of what the server can do")
    return {"capacity": case.rate, "clients": rows}


PARTS = {"limited": limited, "narrow": narrow}


def main() -> None:
    """Measure the parts that the command line names, or all; print tables, write the results."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bulk", description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], default=[])
    parser.add_argument("--quick", action="store_true", help="fewer ids: two minutes, and rougher figures")
    asked = parser.parse_args()
    results: dict[str, Any] = json.loads(RESULTS.read_text()) if asked.parts and RESULTS.exists() else {}
    print("| server | client | ids | x ideal time | fetched | refused |\n| --- | --- | --- | --- | --- | --- |")
    for part in asked.parts or PARTS:
        results[part] = PARTS[part](quick=asked.quick)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=1))
    print(f"written: {RESULTS}; charts: python -m benchmarks.charts")


if __name__ == "__main__":
    main()
