"""How cost and memory grow with the number of ids, and what a second process brings."""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

from . import data
from .memory import peak

SLICE = 1_000
"""Ids between two looks at the processor's clock."""


def run(url: str, *, quick: bool) -> dict[str, Any]:
    """Measure `get_many` over more and more ids, each run in a process of its own, and print a table.

    What an id costs is the lower quartile of slices of a thousand ids: others on the machine make some of them dearer.
    """
    sizes = [1_000, 10_000, 50_000] if quick else [1_000, 10_000, 100_000, 1_000_000]
    rows: dict[int, dict[str, float]] = {}
    print("\nget_many over N ids (results dropped as they come)\n")
    print("| ids | CPU us an id | per second | peak RSS above idle MB |")
    print("| --- | --- | --- | --- |", flush=True)
    for size in sizes:
        runs = [_child(url, size, 0) for _ in range(max(1, 20_000 // size))]
        costs = [cost for run in runs for cost in run["slices"]]
        figures = rows[size] = {
            "cpu_us": statistics.quantiles(costs, n=4)[0],
            "per_s": statistics.median(run["per_s"] for run in runs),
            "grown_mb": max(run["grown_mb"] for run in runs),
        }
        row = f"{figures['cpu_us']:.1f} | {figures['per_s']:,.0f} | {figures['grown_mb']:.1f}"
        print(f"| {size:,} | {row} |", flush=True)
    least, most = (pick(row["cpu_us"] for row in rows.values()) for pick in (min, max))
    print(f"\nfrom {least:.1f} to {most:.1f} us an id: {most / least - 1:.1%} apart", flush=True)
    found: dict[str, Any] = {"get_many": rows}
    if (os.cpu_count() or 1) > 1:
        found["processes"] = _two_processes(url, 10_000 if quick else 40_000)
    return found


def _command(url: str, size: int, cpu: int) -> list[str]:
    return [sys.executable, "-m", "benchmarks.scale", json.dumps({"url": url, "size": size, "pin": cpu})]


def _child(url: str, size: int, cpu: int) -> dict[str, Any]:
    root = Path(__file__).parents[1]
    done = subprocess.run(_command(url, size, cpu), capture_output=True, text=True, check=True, cwd=root)
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


def _two_processes(url: str, size: int) -> dict[str, float]:
    """Compare one process with two on two processors, each with half the ids.

    The server shares the processors here, so the ratio is taken of ids per second of the clients' own CPU time.
    """
    ratios = [_pair(url, size) for _ in range(3)]
    ratio = statistics.median(ratios)
    print(f"\ntwo processes on two processors do {ratio:.2f}x of one, per second of client CPU", flush=True)
    return {"ratio": ratio}


def _pair(url: str, size: int) -> float:
    alone = _child(url, size, 0)
    commands = [_command(url, size // 2, cpu) for cpu in (0, 1)]
    root = Path(__file__).parents[1]
    halves = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) for command in commands]
    results = [json.loads(half.communicate()[0]) for half in halves]
    together: float = sum(1e6 / half["cpu_us"] for half in results)
    return together * float(alone["cpu_us"]) / 1e6


async def _measure(url: str, size: int) -> dict[str, Any]:
    from stackone_lms import AsyncClient

    async with AsyncClient(data.KEY, data.ACCOUNT, base_url=url, rate_limit=None) as client:
        # CPython specializes its bytecode during the first two thousand calls or so.
        async for _ in client.completions.get_many((f"warm-{n}" for n in range(3_000)), concurrency=64):
            pass
        with peak() as most:
            idle = most()
            marks, began, good = [time.process_time()], time.perf_counter(), 0
            async for outcome in client.completions.get_many((f"id-{n}" for n in range(size)), concurrency=64):
                good += outcome.error is None
                if not good % SLICE:
                    marks.append(time.process_time())
            wall = time.perf_counter() - began
    if good != size:
        raise RuntimeError(f"{size - good} of {size} failed")
    return {
        "cpu_us": (marks[-1] - marks[0]) / size * 1e6,
        "slices": [(later - sooner) / SLICE * 1e6 for sooner, later in pairwise(marks)],
        "per_s": size / wall,
        "grown_mb": (most() - idle) / 2**20,
    }


def main() -> None:
    """Measure one size in this process; prints JSON."""
    task = json.loads(sys.argv[1])
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {task["pin"]})
    print(json.dumps(asyncio.run(_measure(task["url"], task["size"]))))


if __name__ == "__main__":
    main()
