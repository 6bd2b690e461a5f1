"""CPU time of a pass through a shared limit: `python -m benchmarks.shared_limit`.

It starts a redis-server of its own. 64 tasks pass as fast as they can: through a limit so wide that nobody waits, and
through one that is always used up, where every pass is waited for. Then, of a limit of 1000 a minute: how many requests
a minute it allows in the long run, and how many at once.
"""

from __future__ import annotations

import argparse
import asyncio
import socket
import subprocess
import tempfile
import time

from stackone_lms.engine.rate_limit import Limiter
from stackone_lms.options import RateLimit
from stackone_lms.shared_limit import SharedLimit

TASKS = 64


async def cost(limiter: Limiter, passes: int) -> tuple[float, float]:
    """Return the microseconds of CPU, of this process, and of time that a pass takes."""

    async def work() -> None:
        for _ in range(passes // TASKS):
            await limiter.acquire()

    await limiter.acquire()
    cpu, began = time.process_time(), time.perf_counter()
    await asyncio.gather(*(work() for _ in range(TASKS)))
    cpu, wall = time.process_time() - cpu, time.perf_counter() - began
    limiter.close()
    return cpu / passes * 1e6, wall / passes * 1e6


async def at_once(limiter: Limiter) -> int:
    """Return how many of many calls pass without waiting for the limit."""
    calls = [asyncio.create_task(limiter.acquire()) for _ in range(300)]
    passed, before = 0, -2
    while passed < 1 or passed - before > 1:  # one at a time, they waited
        await asyncio.sleep(0.05)
        passed, before = sum(call.done() for call in calls), passed
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    limiter.close()
    return before


def redis_url(folder: str) -> tuple[str, subprocess.Popen[str]]:
    """Start a redis-server."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
    options = ["--port", str(port), "--save", "", "--dir", folder]
    server = subprocess.Popen(["redis-server", *options], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    if not any("Ready to accept" in line for line in server.stdout):
        raise RuntimeError("redis-server does not start")
    return f"redis://127.0.0.1:{port}/0", server


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--passes", type=int, default=32_000)
    passes = parser.parse_args().passes
    with tempfile.TemporaryDirectory() as folder:
        url, server = redis_url(folder)
        try:
            limits: dict[str, tuple[RateLimit | SharedLimit, int]] = {
                "in the process, nobody waits": (RateLimit(1_000_000_000, burst=1_000_000_000), passes),
                "in the process, always used up": (RateLimit(500, per=1.0, burst=1), 2_000),
                "in Redis, nobody waits": (SharedLimit.redis(url, key="wide", requests=1_000_000_000), passes),
                "in Redis, always used up": (SharedLimit.redis(url, key="narrow", requests=500, per=1.0), 2_000),
                "in a file, nobody waits": (SharedLimit.sqlite(f"{folder}/wide", requests=1_000_000_000), 2_000),
            }
            print("| limit | CPU us a pass | us a pass |\n| --- | --- | --- |")
            for name, (limit, count) in limits.items():
                clock, sleep = time.monotonic, asyncio.sleep
                if isinstance(limit, RateLimit):
                    limiter = Limiter(limit, clock=clock, sleep=sleep)
                else:
                    limiter = limit.limiter(clock=clock, sleep=sleep)
                cpu, wall = asyncio.run(cost(limiter, count))
                print(f"| {name} | {cpu:.1f} | {wall:.1f} |")
            print("\n| limit of 1000 a minute | a minute | at once |\n| --- | --- | --- |")
            shared = {"in a file": SharedLimit.sqlite(f"{folder}/real"), "in Redis": SharedLimit.redis(url, key="real")}
            for name, limit in shared.items():
                limiter = limit.limiter(clock=time.monotonic, sleep=asyncio.sleep)
                print(f"| {name} | {(limiter.rate or 0) * 60:.0f} | {asyncio.run(at_once(limiter))} |")
        finally:
            server.kill()
            server.communicate()


if __name__ == "__main__":
    main()
