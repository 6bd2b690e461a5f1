"""`python -m benchmarks.delta`: what an export into a Delta table costs, beside one to Parquet, and what changes cost.

The static server of `benchmarks.export` gives N completions to an account, pages of 100, no quota. Each run is alone in
a process of its own, on one processor; CPU time, and the peak of memory. After the first run into the table 50 records
have changed, which stand all over the list; then nothing has, and the list is fetched whole again. At last there are
2,000 accounts with a page each: how many files the table has then.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

from . import data
from .export import CHANGED, HERE, PAGE, serving
from .memory import peak
from .worker import cpu

COMMAND = "python -m benchmarks.delta"
ACCOUNTS = 2_000


async def export(url: str, target: str, accounts: int, *, incremental: bool) -> tuple[int, int, int]:
    """Run an export; return how many records there are, are new, and have changed."""
    from stackone_lms import AsyncClient
    from stackone_lms.export import export

    ids = [data.ACCOUNT] if accounts == 1 else [f"account-{n}" for n in range(accounts)]
    async with AsyncClient(data.KEY, base_url=url, rate_limit=None) as client:
        result = await export(client, "completions", target, accounts=ids, incremental=incremental)
    if not result.ok:
        raise RuntimeError(str(result.failures[:3]))
    return result.records, sum(one.new for one in result.lists), sum(one.changed for one in result.lists)


def measure(task: dict[str, Any]) -> dict[str, float]:
    """Run one export in this process; what is imported comes first."""
    for name in (
        "pyarrow.parquet",
        "pyarrow.compute",
        "deltalake",
        "stackone_lms.export",
        "stackone_lms.transport.lean",
    ):
        import_module(name)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {0})
    with peak() as most:
        used = cpu()
        found = asyncio.run(export(task["url"], task["target"], task["accounts"], incremental=task["incremental"]))
        used = cpu() - used
    return {"cpu_s": used, "rss_mb": most() / 2**20, **dict(zip(("records", "new", "changed"), found, strict=True))}


def one(url: str, target: str, *, accounts: int = 1, incremental: bool = False) -> dict[str, float]:
    """Run one export, in a process of its own."""
    task = {"url": url, "target": target, "accounts": accounts, "incremental": incremental}
    command = [sys.executable, "-m", "benchmarks.delta", json.dumps(task)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=HERE.parent)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("task", nargs="?", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.task:
        print(json.dumps(measure(json.loads(asked.task))))
        return
    records = max(PAGE, asked.records // PAGE * PAGE)
    rows: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory(dir=HERE) as folder:
        parquet, table, many = (str(Path(folder, name)) for name in ("parquet", "table", "many"))

        def tell(name: str, row: dict[str, float]) -> None:
            rows[name] = row
            figures = " | ".join(f"{row[part]:,.0f}" for part in ("records", "new", "changed"))
            ratio = row["cpu_s"] / rows["Parquet"]["cpu_s"]
            print(f"| {name} | {figures} | {row['cpu_s']:.2f} | {ratio:.2f} | {row['rss_mb']:.0f} |", flush=True)

        print("| | records | new | changed | CPU s | x Parquet | peak RSS MB |")
        print("| --- | --- | --- | --- | --- | --- | --- |", flush=True)
        with serving(records) as url:
            tell("Parquet", one(url, parquet))
            tell("Delta", one(url, f"delta:{table}"))
            tell(f"Delta, {CHANGED} changes", one(url, f"delta:{table}", incremental=True))
            tell("Delta, whole again", one(url, f"delta:{table}"))
        with serving(PAGE) as url:
            tell(f"Delta, {ACCOUNTS:,} accounts", one(url, f"delta:{many}", accounts=ACCOUNTS))
        files = len(list(Path(many).glob("completions/*.parquet")))
    first = rows["Delta"]["cpu_s"]
    print(f"\nDelta costs {first / rows['Parquet']['cpu_s']:.2f} of Parquet; {CHANGED} changes cost")
    print(f"{rows[f'Delta, {CHANGED} changes']['cpu_s'] / first:.3f} of that; {ACCOUNTS:,} accounts make {files} files")
    (HERE / "results").mkdir(exist_ok=True)
    results = {"command": COMMAND, "records": records, "rows": rows, "files": files}
    (HERE / "results" / "delta.json").write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
