"""Runs exports, one an order, each in a process of its own that can be killed at any moment.

Orders are JSON objects, one a line on stdin: `target`, `options` of the export, and `kill_after` seconds or null. For
each it prints the id of the process and then how that ended. Forks from a process without threads, so that a run costs
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

from stackone_lms import AsyncClient
from stackone_lms.export import export

NEEDED = (
    "deltalake",
    "obstore.store",
    "pandas",
    "pyarrow.parquet",
    "stackone_lms.export.formats.parquet",
    "stackone_lms.export.targets.delta",
    "stackone_lms.export.targets.store",
    "stackone_lms.transport.lean",
)


async def export_once(order: dict[str, Any]) -> None:
    async with AsyncClient(order["key"], base_url=order["url"], rate_limit=None) as client:
        result = await export(client, order["resources"], order["target"], **order["options"])
    assert result.ok, result


def start(order: dict[str, Any]) -> int:
    child = os.fork()
    if child:
        return child
    try:
        asyncio.run(export_once(order))
        os._exit(0)
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
    finally:
        os._exit(1)


def main() -> None:
    for module in NEEDED:
        import_module(module)
    for line in sys.stdin:
        order: dict[str, Any] = json.loads(line)
        began = time.monotonic()
        child = start(order)
        print(json.dumps(child), flush=True)
        if order["kill_after"] is not None:
            time.sleep(order["kill_after"])
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        print(json.dumps([os.waitstatus_to_exitcode(status), time.monotonic() - began]), flush=True)


if __name__ == "__main__":
    main()
