"""`python -m benchmarks`: measures everything in interleaved rounds, prints tables, writes JSON and SVG charts."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from . import decoding, peers, scale, server, typescript

HERE = Path(__file__).parent
RESULTS = HERE / "results"
BASE = "aiohttp"
"""The peer that ratios are taken against: plain aiohttp, used the usual way."""

Rows = dict[str, dict[str, float]]


def one(task: dict[str, Any]) -> dict[str, float]:
    """Measure once, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.worker", json.dumps(task)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=HERE.parent, timeout=600)
    if done.returncode:
        raise RuntimeError(f"{task['peer']}: {done.stderr[-2000:]}")
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def rounds(tasks: dict[str, dict[str, Any]], number: int) -> Rows:
    """Measure all peers in turn, several times, and return the median of each figure."""
    seen: dict[str, list[dict[str, float]]] = {name: [] for name in tasks}
    for _ in range(number):
        for name, task in tasks.items():
            seen[name].append(typescript.run(task) if task["peer"] == typescript.NAME else one(task))
            print(".", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return {name: {k: statistics.median(run[k] for run in runs) for k in runs[0]} for name, runs in seen.items()}


def table(title: str, rows: Rows, base: str) -> None:
    """Print a table, cheapest first, with ratios to `base`."""
    print(f"\n{title}\n")
    print(f"| client | CPU us | x {base} | wall us | per second | p99 us | peak RSS MB |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name, row in sorted(rows.items(), key=lambda item: item[1]["cpu_us"]):
        ratio = row["cpu_us"] / rows[base]["cpu_us"] if base in rows else float("nan")
        print(
            f"| {name} | {row['cpu_us']:.1f} | {ratio:.2f} | {row['wall_us']:.1f} | {row['per_s']:,.0f} "
            f"| {row['p99_us']:,.0f} | {row['rss_mb']:.0f} |"
        )


def requests(url: str, scale: float, number: int) -> dict[str, Rows]:
    """Measure gets and pages of every peer."""
    names = [*peers.available(), *([typescript.NAME] if typescript.ready() else [])]
    slow = {"httpx + pydantic": 0.1, "niquests + msgspec": 0.3, typescript.NAME: 0.3}

    def tasks(kind: str, concurrency: int, calls: int) -> dict[str, dict[str, Any]]:
        return {
            name: {
                "kind": kind,
                "peer": name,
                "url": url,
                "concurrency": concurrency,
                "calls": max(64, int(calls * scale * slow.get(name, 1))),
                "pin": 0,
            }
            for name in names
        }

    found = {
        "get, concurrency 64": rounds(tasks("requests", 64, 8000), number),
        "get, concurrency 1": rounds(tasks("requests", 1, 2000), number),
        "page of 100, concurrency 1": rounds(tasks("pages", 1, 500), number),
        "page of 100, concurrency 8": rounds(tasks("pages", 8, 800), number),
    }
    for title, rows in found.items():
        table(title, rows, BASE)
    sync = {
        name: {"kind": "sync", "peer": name, "url": url, "calls": max(64, int(2000 * scale)), "pin": 0}
        for name in peers.SYNC
        if name != "httpx + pydantic" or "httpx + pydantic" in names
    }
    found["blocking get, one thread"] = rounds(sync, number)
    table("blocking get, one thread", found["blocking get, one thread"], "requests")
    return found


def machine() -> dict[str, Any]:
    """Return what the figures were taken on."""

    def installed(package: str) -> str | None:
        try:
            return version(package)
        except PackageNotFoundError:
            return None

    packages = ["aiohttp", "msgspec", "anyio", "httpx", "pydantic", "niquests", "pyreqwest", "requests"]
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "processors": os.cpu_count(),
        "packages": {package: installed(package) for package in packages},
    }


def main() -> None:
    """Run the parts that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("parts", nargs="*", choices=["requests", "decode", "scale", []], default=[])
    parser.add_argument("--quick", action="store_true", help="fewer calls and rounds: a minute, and rougher figures")
    parser.add_argument("--plain-server", action="store_true", help="use our own static server even if nginx is there")
    asked = parser.parse_args()
    parts = asked.parts or ["requests", "decode", "scale"]
    written = RESULTS / "results.json"
    results: dict[str, Any] = json.loads(written.read_text()) if asked.parts and written.exists() else {}
    results["machine"] = machine()
    if "decode" in parts:
        results["decode"] = decoding.run(quick=asked.quick)
    cpu = 1 if (os.cpu_count() or 1) > 1 else None
    if "requests" in parts:
        with server.running(cpu=cpu, plain=asked.plain_server) as (url, name):
            print(f"\nserver: {name} on loopback, client on processor 0", flush=True)
            results["server"] = name
            results["requests"] = requests(url, 0.25 if asked.quick else 0.6, 1 if asked.quick else 3)
    if "scale" in parts:
        with server.running(cpu=cpu, plain=True) as (url, _):  # it answers with the id that was asked for
            results["scale"] = scale.run(url, quick=asked.quick)
    RESULTS.mkdir(exist_ok=True)
    written.write_text(json.dumps(results, indent=1))
    print(f"\nwritten: {written}; charts: python -m benchmarks.charts")


if __name__ == "__main__":
    main()
