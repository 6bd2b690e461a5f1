"""`python -m benchmarks.instructions`: instructions that a get costs, layer by layer, counted by callgrind.

Counts do not depend on how busy the machine is, nor on its speed: they settle differences that timings cannot.
They leave out the kernel. The server is another process and is not counted.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import importlib.metadata
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from . import data, peers, server

RECORD = Path(__file__).parent / "instructions.json"
MARK = "getloadavg"
"""A function of the C library that nothing else calls: callgrind writes down its counts when it is entered."""
CONCURRENCY = 64
GUARDED = ["aiohttp", "stackone-lms", "stackone-lms session"]
MARGIN = 1.05
QUERY: Any = {"raw": True, "fields": "id,result,score", "proxy": {"include": "x"}}


@contextlib.asynccontextmanager
async def encoding(url: str, pages: bool) -> AsyncIterator[peers.Call]:
    """Reading the arguments and writing path and query."""
    from stackone_lms.calls.operation import encode_id
    from stackone_lms.calls.query import encode_query

    async def call() -> Any:
        return encode_id(data.ID), encode_query(QUERY)

    yield call


@contextlib.asynccontextmanager
async def decoding(url: str, pages: bool) -> AsyncIterator[peers.Call]:
    """Decoding the answer into its model, bare of guards."""
    import msgspec

    from stackone_lms.models import CompletionResult

    decode, body = msgspec.json.Decoder(CompletionResult).decode, data.one()

    async def call() -> Any:
        return decode(body)

    yield call


@contextlib.asynccontextmanager
async def without_network(url: str, pages: bool) -> AsyncIterator[peers.Call]:
    """The whole call, with a transport that has the answer ready."""
    from stackone_lms import AsyncClient, RateLimit
    from stackone_lms.transport.base import Request, Response, TimeLimits, Transport

    reply = Response(200, {"content-type": "application/json"}, data.one())

    class Ready(Transport):
        async def send(self, request: Request, limits: TimeLimits) -> Response:
            return reply

    limit = RateLimit(10**9, per=60.0)
    async with AsyncClient(data.KEY, data.ACCOUNT, base_url=url, rate_limit=limit, transport=Ready()) as c:

        async def call() -> Any:
            return await c.completions.get(data.ID, **QUERY)

        yield call


@contextlib.asynccontextmanager
async def lean_alone(url: str, pages: bool) -> AsyncIterator[peers.Call]:
    """The lean transport: a request written, its answer read."""
    import time

    from stackone_lms.engine.deadlines import Deadline, DeadlineTimer
    from stackone_lms.transport.base import Request
    from stackone_lms.transport.lean import LeanTransport

    transport, timer = LeanTransport(url), DeadlineTimer(time.monotonic)
    await transport.open()
    query = "raw=true&fields=id%2Cresult%2Cscore&proxy%5Binclude%5D=x"

    async def call() -> Any:
        task: Any = asyncio.current_task()
        request = Request("GET", data.PATH, query, peers.HEADERS, None, 2**20)
        return await transport.send(request, Deadline(task, timer, float("inf")))

    try:
        yield call
    finally:
        await transport.close()


@contextlib.asynccontextmanager
async def bare(url: str, pages: bool) -> AsyncIterator[peers.Call]:
    """The least that asyncio can do: prepared bytes sent, an answer received and not parsed."""
    from urllib.parse import urlsplit

    sent = f"GET {data.PATH}?raw=true HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    idle: list[_Bare] = []
    host, port = str(urlsplit(url).hostname), int(urlsplit(url).port or 80)
    loop = asyncio.get_running_loop()

    async def call() -> Any:
        line = idle.pop() if idle else (await loop.create_connection(_Bare, host, port))[1]
        line.answer = loop.create_future()
        line.transport.write(sent)
        answer = await line.answer
        idle.append(line)
        return answer

    try:
        yield call
    finally:
        for line in idle:
            line.transport.close()


class _Bare(asyncio.BufferedProtocol):
    buffer = memoryview(bytearray(2**16))
    answer: asyncio.Future[int]
    transport: Any

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def get_buffer(self, sizehint: int) -> memoryview:
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.answer.set_result(nbytes)


LAYERS = {
    "bare asyncio": bare,
    "lean transport alone": lean_alone,
    "path and query": encoding,
    "decoding": decoding,
    "whole call without network": without_network,
}
MEASURED = {
    **LAYERS,
    "aiohttp": peers.ASYNC["aiohttp"],
    "aiohttp tuned + msgspec": peers.ASYNC["aiohttp tuned + msgspec"],
    "stackone-lms": peers.ASYNC["stackone-lms"],
    "stackone-lms session": peers.ASYNC["stackone-lms session"],
}


async def work(url: str, names: list[str], calls: int) -> None:
    """Make `calls` calls of each, between two marks, 64 at a time."""
    for name in names:
        async with MEASURED[name](url, False) as call:

            async def run(call: peers.Call = call) -> None:
                left = iter(range(calls))

                async def one_by_one() -> None:
                    for _ in left:
                        await call()

                await asyncio.gather(*[one_by_one() for _ in range(CONCURRENCY)])

            for _ in range(3):  # CPython goes on specializing its bytecode for some two thousand calls
                await run()
            gc.collect()
            gc.disable()  # when it runs is a matter of chance, and what it costs a matter of all that is alive
            os.getloadavg()
            await run()
            os.getloadavg()
            gc.enable()


def count(names: list[str], calls: int = 1000) -> dict[str, int]:
    """Return the instructions of a call for each of `names`.

    Raises:
        RuntimeError: valgrind failed.
    """
    with server.running() as (url, _), tempfile.TemporaryDirectory() as folder:
        options = ["--tool=callgrind", f"--dump-before={MARK}", f"--callgrind-out-file={folder}/out"]
        command = [sys.executable, "-m", "benchmarks.instructions", "--work", url, str(calls), *names]
        done = subprocess.run(
            ["valgrind", *options, *command],
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
            cwd=Path(__file__).parent.parent,
            env={**os.environ, "PYTHONHASHSEED": "0", "PYTHONMALLOC": "pymalloc"},
        )
        if done.returncode:
            raise RuntimeError(done.stderr[-2000:])
        # The first part ends at the first mark, so that every second one is what was between two marks.
        parts = [Path(folder, f"out.{2 * at + 2}").read_text("utf-8", "replace") for at in range(len(names))]
    found = [re.search(r"^(?:summary|totals): (\d+)", part, re.MULTILINE) for part in parts]
    return {name: int(match[1]) // calls for name, match in zip(names, found, strict=True) if match}


def versions() -> dict[str, str]:
    """Return what the counts depend on."""
    packages = {name: importlib.metadata.version(name) for name in ("aiohttp", "msgspec", "multidict", "yarl")}
    return {"python": platform.python_version(), "machine": platform.machine(), **packages}


def incomparable() -> str | None:
    """Return why counts cannot be compared with the recorded ones, None if they can."""
    if shutil.which("valgrind") is None:
        return "valgrind is not installed"
    recorded, here = json.loads(RECORD.read_text())["versions"], versions()
    different = [name for name, version in recorded.items() if here[name] != version]
    return f"recorded with {different[0]} {recorded[different[0]]}, here is {here[different[0]]}" if different else None


def guard() -> None:
    """Fail if a get has become dearer than recorded, in relation to one of plain aiohttp.

    Raises:
        SystemExit: It has, by more than 5 %.
    """
    reason = incomparable()
    if reason:
        print(f"instructions not counted: {reason}")
        return
    recorded = json.loads(RECORD.read_text())["instructions"]
    counts = count(GUARDED)
    was, now = (numbers["stackone-lms"] / numbers["aiohttp"] for numbers in (recorded, counts))
    print(f"instructions of a get: {now:.3f} of plain aiohttp's, recorded {was:.3f}")
    if now > was * MARGIN:
        raise SystemExit(f"a get costs {now / was:.2f} times what it did; see python -m benchmarks.instructions")


def main() -> None:
    """Count, print a table and write JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.instructions", description=__doc__)
    parser.add_argument("names", nargs="*", help="which to count", default=list(MEASURED))
    parser.add_argument("--guard", action="store_true", help="only tell whether a get has become dearer than recorded")
    parser.add_argument("--calls", type=int, default=1000)
    parser.add_argument("--work", nargs=2, metavar=("URL", "CALLS"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.work:
        asyncio.run(work(asked.work[0], asked.names, int(asked.work[1])))
        return
    if asked.guard:
        guard()
        return
    if shutil.which("valgrind") is None:
        raise SystemExit("this needs valgrind")
    counts = count(asked.names, asked.calls)
    print("\n| what | thousand instructions | x aiohttp |\n| --- | --- | --- |")
    for name, number in counts.items():
        print(f"| {name} | {number / 1000:.1f} | {number / counts.get('aiohttp', number):.3f} |")
    if asked.names == list(MEASURED):
        RECORD.write_text(json.dumps({"versions": versions(), "instructions": counts}, indent=1) + "\n")
        print(f"\nwritten: {RECORD}")


if __name__ == "__main__":
    main()
