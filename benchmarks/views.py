"""What the first call on a fresh view costs more than one on a view that is kept.

`python -m benchmarks.views [PATH]` measures the package that is installed, and the checkout at PATH beside it in the
same run. Calls go to a transport that answers from memory; `with_options` itself is not counted.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from time import perf_counter_ns
from typing import Any

COUNT = 400
ROUNDS = 5
PAGE = b'{"data":[{"id":"1"}]}'
RECORD = b'{"data":{"id":"c1"}}'
CREATED = b'{"statusCode":201,"message":"m","timestamp":"2024-01-01T00:00:00Z","data":{"id":"n"}}'


async def _read(client: Any) -> None:
    await client.completions.get("c1")


async def _nested(client: Any) -> None:
    await client.users.completions.get("u", "c1")


async def _list(client: Any) -> None:
    await client.completions.list().first_page()


async def _write(client: Any) -> None:
    await client.users.completions.create("u", learning_object_external_reference="c")


CALLS = {"read": (_read, RECORD), "nested read": (_nested, RECORD), "list": (_list, PAGE), "write": (_write, CREATED)}


async def _measure() -> dict[str, tuple[float, float]]:
    from stackone_lms import AsyncClient
    from stackone_lms import transport as package

    response: Any = getattr(package, "Response", None) or getattr(package, "Reply")  # noqa: B009 (its former name)
    seam: Any = package.Transport

    class Memory(seam):  # type: ignore[misc]
        body = b""

        async def open(self) -> None:
            pass

        async def close(self) -> None:
            pass

        async def send(self, request: Any, limits: Any) -> Any:
            limits.progress()
            return response(201 if request.method == "POST" else 200, {"Content-Type": "application/json"}, self.body)

        exchange = send  # its former name

    found: dict[str, tuple[float, float]] = {}
    for name, (call, body) in CALLS.items():
        transport = Memory()
        transport.body = body
        client = AsyncClient("key", "account", transport=transport, rate_limit=None)
        kept = client.with_options(heartbeat=True)
        for _ in range(COUNT):
            await call(kept)
        of_kept: list[float] = []
        of_fresh: list[float] = []
        for _ in range(ROUNDS * COUNT):
            started = perf_counter_ns()
            await call(kept)
            of_kept.append(perf_counter_ns() - started)
            fresh = client.with_options(heartbeat=True)
            started = perf_counter_ns()
            await call(fresh)
            of_fresh.append(perf_counter_ns() - started)
        found[name] = (statistics.median(of_kept) / 1000, statistics.median(of_fresh) / 1000)
        await client.aclose()
    return found


def _run(checkout: Path) -> dict[str, list[float]]:
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    command = [sys.executable, str(Path(__file__).resolve()), "--measure"]
    output = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True, cwd=checkout).stdout
    return json.loads(output)  # type: ignore[no-any-return]


def main() -> None:
    """Print a table, in microseconds."""
    if "--measure" in sys.argv:
        print(json.dumps(asyncio.run(_measure())))
        return
    checkouts = [*map(Path, sys.argv[1:]), Path(__file__).resolve().parents[1]]
    print(f"Microseconds, medians of {ROUNDS * COUNT}")
    print(f"{'':12} {'call':12} {'kept view':>10} {'fresh view':>11} {'difference':>11}")
    for checkout in checkouts:
        for call, (kept, fresh) in _run(checkout.resolve()).items():
            print(f"{checkout.resolve().name:12.12} {call:12} {kept:10.1f} {fresh:11.1f} {fresh - kept:11.1f}")


if __name__ == "__main__":
    main()
