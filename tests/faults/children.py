"""Programs that run in a process of their own."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import textwrap
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
_ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONASYNCIODEBUG"}
"""Debugging, asyncio tells of every slow step on stderr, which is to stay empty."""

REFUSES_THREADS = (3, 12) <= sys.version_info[:3] < (3, 12, 3)
"""These Pythons start no threads any more once the main thread has ended."""


class Finished(NamedTuple):
    """How a program ended."""

    code: int
    out: str
    err: str
    seconds: float
    """How long it ran, from start to end."""


@asynccontextmanager
async def program(source: str, *arguments: str) -> AsyncGenerator[asyncio.subprocess.Process]:
    """Start Python source in a new process, which is killed in the end if it still runs."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        textwrap.dedent(source),
        *arguments,
        cwd=ROOT,
        env={**_ENVIRONMENT, "PYTHONPATH": str(ROOT)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            if sys.platform == "win32":
                process.kill()
            else:
                os.killpg(process.pid, signal.SIGKILL)  # those it has forked, too
            await process.communicate()


async def ended(process: asyncio.subprocess.Process, within: float) -> tuple[int, str, str]:
    """Wait for the end of a program; return its exit code and what it printed. Raises TimeoutError."""
    out, err = await asyncio.wait_for(process.communicate(), within)
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def run(source: str, *arguments: str, within: float = 30.0) -> Finished:
    """Run Python source in a new process. Raises TimeoutError if it does not end by itself."""
    started = time.monotonic()
    async with program(source, *arguments) as process:
        code, out, err = await ended(process, within)
    return Finished(code, out, err, time.monotonic() - started)
