"""One measurement in a process of its own: `python -m benchmarks.worker JSON`; prints JSON."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import statistics
import sys
import time
from typing import Any

from . import peers


def cpu() -> float:
    """Return the CPU seconds of this process, all its threads."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def measure_async(name: str, url: str, *, pages: bool, calls: int, concurrency: int) -> dict[str, Any]:
    """Measure an asynchronous peer with a fixed number of workers."""
    async with peers.ASYNC[name](url, pages) as call:
        left = 0
        latencies: list[float] = []

        async def work() -> None:
            nonlocal left
            while left > 0:
                left -= 1
                began = time.perf_counter()
                await call()
                latencies.append(time.perf_counter() - began)

        async def run(number: int) -> tuple[float, float]:
            nonlocal left
            left = number
            latencies.clear()
            used, began = cpu(), time.perf_counter()
            await asyncio.gather(*[work() for _ in range(concurrency)])
            return time.perf_counter() - began, cpu() - used

        await run(max(calls // 10, concurrency * 2))
        wall, used = await run(calls)
    return report(calls, wall, used, latencies)


def measure_sync(name: str, url: str, *, calls: int) -> dict[str, Any]:
    """Measure a blocking peer, one call after the other."""
    with peers.SYNC[name](url) as call:
        for _ in range(calls // 10 + 1):
            call()
        latencies: list[float] = []
        used, start = cpu(), time.perf_counter()
        for _ in range(calls):
            began = time.perf_counter()
            call()
            latencies.append(time.perf_counter() - began)
        wall, used = time.perf_counter() - start, cpu() - used
    return report(calls, wall, used, latencies)


def report(calls: int, wall: float, used: float, latencies: list[float]) -> dict[str, Any]:
    """Return the figures of one run."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return {
        "calls": calls,
        "cpu_us": used / calls * 1e6,
        "wall_us": wall / calls * 1e6,
        "per_s": calls / wall,
        "p99_us": statistics.quantiles(latencies, n=100)[98] * 1e6,
        "rss_mb": peak / 2**20,
    }


def main() -> None:
    """Run what the argument asks for."""
    task = json.loads(sys.argv[1])
    if task.get("pin") is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {task["pin"]})
    if task["kind"] == "sync":
        figures = measure_sync(task["peer"], task["url"], calls=task["calls"])
    else:
        pages = task["kind"] == "pages"
        figures = asyncio.run(
            measure_async(task["peer"], task["url"], pages=pages, calls=task["calls"], concurrency=task["concurrency"])
        )
    print(json.dumps(figures), flush=True)
    os._exit(0)  # the threads of pyreqwest crash some interpreters at their end


if __name__ == "__main__":
    main()
