"""Runs exports to several targets again and again, each time in a process of its own that a signal ends at a random
moment.

Arguments: a JSON object. Prints a JSON object a round. Forks from a process without threads, so that a round costs
milliseconds instead of the import of everything.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
import time
from importlib import import_module
from typing import Any

from stackone_lms import AsyncClient
from stackone_lms.export import export

OURS = (
    "stackone_lms.export.records.arrow",
    "stackone_lms.export.formats.csv",
    "stackone_lms.export.targets.sqlite",
    "stackone_lms.export.formats.parquet",
    "stackone_lms.export.targets.delta",
    "stackone_lms.transport.lean",
)


async def export_once(order: dict[str, Any], target: dict[str, str]) -> None:
    async with AsyncClient(order["key"], base_url=order["url"], rate_limit=None) as client:
        result = await export(
            client,
            order["resources"],
            target["path"],
            accounts=order["accounts"],
            format=target["format"],
            page_size=order["page_size"],
            commit_interval=0.0,
            raw=True,  # provider calls have no id: nothing but the journal keeps them from coming twice
        )
    assert result.ok, result


def round_of(order: dict[str, Any], target: dict[str, str], delay: float | None, number: int) -> tuple[int, float]:
    """Run an export, send it a signal after `delay`; return how it ended and how long it ran."""
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.close(2)
            os.open(os.devnull, os.O_WRONLY)
            asyncio.run(export_once(order, target))
            code = 0
        except KeyboardInterrupt:
            code = 130
        finally:
            os._exit(code)
    if delay is not None:
        time.sleep(delay)
        os.kill(child, number)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status), time.monotonic() - began


def main() -> None:
    order: dict[str, Any] = json.loads(sys.argv[1])
    dice = random.Random(order["seed"])
    for module in ("pandas", "pyarrow.parquet", "duckdb", "sqlite3", "deltalake", *OURS):
        import_module(module)
    took: dict[str, float] = {}
    for target in order["targets"]:
        code, took[target["path"]] = round_of(order, {**target, "path": target["undisturbed"]}, None, 0)
        assert code == 0, (code, target)
    deadline = time.monotonic() + order["seconds"]
    for number in range(order["rounds"]):
        if time.monotonic() > deadline:
            break
        target = order["targets"][number % len(order["targets"])]
        blow = signal.SIGINT if number % 7 == 6 else signal.SIGKILL
        code, _ = round_of(order, target, dice.uniform(0.0, 0.7) * took[target["path"]], blow)
        print(json.dumps({"round": number, "code": code, "path": target["path"]}), flush=True)
        sys.stdin.readline()
    for target in order["targets"]:
        code, _ = round_of(order, target, None, 0)
        print(json.dumps({"round": -1, "code": code, "path": target["path"]}), flush=True)


if __name__ == "__main__":
    main()
