"""`python -m benchmarks.streams`: what a row costs as an Arrow stream and in a Parquet export; memory over many lists.

The static server of `benchmarks.export` gives N completions to every account, pages of 100, no quota. Each measurement
runs alone in a process of its own, on one processor, in turn with the others, several times; CPU time counts, and the
least of it. `gather` reads many lists, and drops the batches: the memory that it adds must not grow with their number.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

from . import data
from .export import HERE, PAGE, ours, serving
from .memory import peak
from .worker import cpu

COMMAND = "python -m benchmarks.streams"


def read_all(url: str, records: int) -> int:
    """`scan().read_all()`: a table in memory."""
    from stackone_lms import SyncClient
    from stackone_lms.arrow import scan

    with SyncClient(data.KEY, base_url=url, rate_limit=None) as client:
        return scan("completions", [data.ACCOUNT], client=client).read_all().num_rows


def parquet(url: str, records: int) -> int:
    """`export` to Parquet."""
    with tempfile.TemporaryDirectory(dir=HERE) as folder:
        asyncio.run(ours(url, Path(folder), "parquet"))
    return records


def gather(url: str, lists: int) -> int:
    """`gather` over so many lists."""
    from stackone_lms import AsyncClient
    from stackone_lms.batches import Slice
    from stackone_lms.batches import gather as read

    async def main() -> int:
        slices = [Slice("completions", f"account-{n}") for n in range(lists)]
        client = AsyncClient(data.KEY, base_url=url, rate_limit=None)
        async with client, aclosing(read(client, slices)) as stream:
            return sum([batch.data.num_rows async for batch in stream])

    return asyncio.run(main())


KINDS: dict[str, Callable[[str, int], int]] = {"read_all": read_all, "parquet": parquet, "gather": gather}


def measure(task: dict[str, Any]) -> dict[str, float]:
    """Measure once in this process; what is imported comes first."""
    import pyarrow.parquet

    import stackone_lms.arrow
    import stackone_lms.export
    import stackone_lms.transport.lean

    assert pyarrow.parquet, stackone_lms
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {0})
    with peak() as most:
        idle, used = most(), cpu()
        rows = KINDS[task["kind"]](task["url"], task["size"])
        used = cpu() - used
    return {"rows": rows, "us": used / rows * 1e6, "grown_mb": (most() - idle) / 2**20}


def one(kind: str, size: int, url: str) -> dict[str, float]:
    """Measure once, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.streams", json.dumps({"kind": kind, "size": size, "url": url})]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=HERE.parent)
    if done.returncode:
        raise RuntimeError(f"{kind}: {done.stderr[-2000:]}")
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def main() -> None:
    """Measure and print two tables."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("task", nargs="?", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.task:
        print(json.dumps(measure(json.loads(asked.task))))
        return
    records = max(PAGE, asked.records // PAGE * PAGE)
    results: dict[str, Any] = {"command": COMMAND, "records": records, "rows": {}, "lists": {}}
    runs: dict[str, list[dict[str, float]]] = {"read_all": [], "parquet": []}
    with serving(records) as url:
        for _ in range(asked.rounds):
            for kind, found in runs.items():
                found.append(one(kind, records, url))
    print(f"{records:,} completions\n\n| | CPU us a row | memory added MB |\n| --- | --- | --- |")
    for kind, found in runs.items():
        best = results["rows"][kind] = min(found, key=lambda row: row["us"])
        print(f"| {kind} | {best['us']:.1f} | {best['grown_mb']:.0f} |")
    ratio = results["ratio"] = results["rows"]["read_all"]["us"] / results["rows"]["parquet"]["us"]
    print(f"\nread_all takes {ratio:.2f} of what the export takes a row\n")
    print("| lists | rows of each | CPU us a row | memory added MB |\n| --- | --- | --- | --- |", flush=True)
    for lists, rows in ((10, 2_000), (100, 2_000), (1_000, 200), (4_000, 100), (16, 20_000)):
        with serving(rows) as url:
            row = results["lists"][f"{lists}x{rows}"] = one("gather", lists, url)
        print(f"| {lists:,} | {rows:,} | {row['us']:.1f} | {row['grown_mb']:.0f} |", flush=True)
    (HERE / "results").mkdir(exist_ok=True)
    (HERE / "results" / "streams.json").write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
