"""Runs one export after the other, each in a process of its own; some are killed at a moment of the caller's choice.

Reads a JSON object a line, and answers each with one. Forks from a process without threads, so that a night costs
milliseconds instead of the import of everything.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from importlib import import_module
from typing import Any

from stackone_lms import AsyncClient, RetryPolicy
from stackone_lms.export import export
from stackone_lms.export.records.columns import Column, columns_of

from .killed import OURS

QUICK = RetryPolicy(attempts=2, base=0.001, cap=0.001, throttle_base=0.001, throttle_cap=0.001)


def be_an_older_version() -> None:
    """Have no column for the telephone numbers of users yet."""

    def older(model: Any, prefix: str = "") -> tuple[Column, ...]:
        return tuple(column for column in columns_of(model, prefix) if column.name != "phone_number")

    for name in ("stackone_lms.export.records.columns", "stackone_lms.export.targets.sqlite"):
        setattr(import_module(name), "columns_of", older)  # noqa: B010 (mypy: it is a function of the module)


async def night(order: dict[str, Any]) -> dict[str, Any]:
    """Export once; return what failed."""
    if order["older"]:
        be_an_older_version()
    async with AsyncClient("key", base_url=order["url"], rate_limit=None, retry=QUICK) as client:
        result = await export(
            client,
            order["resources"],
            order["target"],
            accounts=order["accounts"],
            format=order["format"],
            incremental=order["incremental"],
            page_size=10,
            commit_interval=0.05,
        )
    return {"failed": sorted({one.account_id for one in result.failures}), "seconds": result.seconds}


def forked(order: dict[str, Any]) -> dict[str, Any]:
    """Do it in a child; kill that after `order["kill"]` seconds, if there are any."""
    inward, outward = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(inward)
        try:
            os.write(outward, json.dumps(asyncio.run(night(order))).encode())
        except BaseException as error:
            os.write(outward, json.dumps({"error": repr(error)}).encode())
        finally:
            os._exit(0)
    os.close(outward)
    if order["kill"] is not None:
        time.sleep(order["kill"])
        os.kill(child, signal.SIGKILL)
    with os.fdopen(inward, "rb") as pipe:
        told = pipe.read()
    os.waitpid(child, 0)
    found: dict[str, Any] = json.loads(told) if told else {"killed": True}
    return found


def main() -> None:
    for module in ("pandas", "pyarrow.parquet", "duckdb", "sqlite3", "deltalake", *OURS):
        import_module(module)
    for line in sys.stdin:
        print(json.dumps(forked(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
