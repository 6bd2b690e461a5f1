"""`python -m benchmarks.export`: how fast lists become Parquet and JSONL, beside the obvious hand-written scripts.

A static server on another processor gives N completions, pages of 100, no quota. Each client runs alone in a process of
its own, on one processor: records a second by the clock and by CPU time, and the peak of memory; beside it the peak of
a run over a tenth of the records, since the export fetches first and writes Parquet then. The scripts write as they
fetch: no journal, no `fsync`, no checksums, nothing to resume. At last the CPU time of an incremental run after it: 50
records have changed, and are merged in.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import aiohttp

from . import data
from .memory import peak
from .worker import cpu

HERE = Path(__file__).parent
COMMAND = "python -m benchmarks.export"
PAGE = 100
OURS, SCRIPT = "stackone-lms export", "hand-written script"
INCREMENTAL = "stackone-lms export --incremental"
CHANGED = 50
FORMATS = ("parquet", "jsonl")

# The server


@cache
def _pieces(kind: int) -> list[bytes]:
    """Return a page in pieces that the ids go between; the values of each kind of page are different ones."""
    items: list[dict[str, Any]] = []
    for number in range(PAGE):
        n = kind * PAGE + number
        moment = f"2024-{n % 12 + 1:02}-{n % 28 + 1:02}T{n % 24:02}:{n * 7 % 60:02}:{n * 13 % 60:02}.{n % 1000:03}Z"
        varied = {
            "remote_id": f"8187e5da-dc77-475e-9949-{n * 0x9E3779B97F4A % 2**48:012x}",
            "user_id": f"c28xIQaWQ6dXNlci0{n * 31 % 4999}",
            "course_id": f"16873-ENG-COURSE-{n % 211}",
            "result": {"value": "Fail", "source_value": "FAILED"} if n % 9 == 0 else data.completion()["result"],
            "completed_at": moment,
            "updated_at": moment,
            "time_spent": f"PT{n % 3}H{n % 60}M",
            "score": {"percentage": n % 101, "raw_value": f"{n % 101} / 100"},
        }
        items.append({**data.completion("<id>"), **varied})
    return json.dumps({"next": "<next>", "data": items, "raw": None}).encode().split(b"<id>")


class _Pages(asyncio.Protocol):
    """Answers each request head with the page that its cursor names."""

    last = 0
    """Number of the last page."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._buffer, self._transport = b"", transport

    def data_received(self, received: bytes) -> None:
        self._buffer += received
        while b"\r\n\r\n" in self._buffer:
            head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
            path = head[: head.index(b" HTTP/")]
            _, given, rest = path.partition(b"next=")
            if b"updated_after" in path:
                self._transport.write(_changes(self.last))
            else:
                self._transport.write(_answer(int(rest.partition(b"&")[0]) if given else 0, self.last))


def _changes(last: int) -> bytes:
    """Answer with one page: records from all over the list, as they are now."""
    step = max(1, (last + 1) * PAGE // CHANGED)
    items = [{**data.completion(f"{n * step:08d}"), "updated_at": "2025-06-01T00:00:00Z"} for n in range(CHANGED)]
    return _response(json.dumps({"next": None, "data": items, "raw": None}).encode())


def _answer(number: int, last: int) -> bytes:
    first, *rest = _pieces(number % 97)
    body = first + b"".join(b"%08d%b" % (number * PAGE + place, piece) for place, piece in enumerate(rest))
    body = body.replace(b'"<next>"', b"null" if number == last else b'"%d"' % (number + 1), 1)
    return _response(body)


def _response(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


def serve(records: int, pipe: Any) -> None:
    """Run the server; tells its port through the pipe."""
    _pin(1)
    _Pages.last = records // PAGE - 1

    async def main() -> None:
        server = await asyncio.get_running_loop().create_server(_Pages, "127.0.0.1", 0)
        pipe.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(main())


@contextmanager
def serving(records: int) -> Iterator[str]:
    """Give the address of a server of so many completions."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    server = context.Process(target=serve, args=(records, there), daemon=True)
    server.start()
    try:
        yield f"http://127.0.0.1:{here.recv()}"
    finally:
        server.terminate()
        server.join(10)


def _pin(processor: int) -> None:
    if hasattr(os, "sched_setaffinity") and (os.cpu_count() or 1) > 1:
        os.sched_setaffinity(0, {processor})


# The clients


async def ours(url: str, folder: Path, form: str) -> None:
    """What `stackone-lms export completions` does."""
    from stackone_lms import AsyncClient
    from stackone_lms.export import export

    async with AsyncClient(data.KEY, base_url=url, rate_limit=None) as client:
        result = await export(client, "completions", folder, accounts=[data.ACCOUNT], format=form)
    if not result.ok:
        raise RuntimeError(str(result.failures))


async def changes(url: str, folder: Path, form: str) -> None:
    """What `stackone-lms export completions --incremental` does."""
    from stackone_lms import AsyncClient
    from stackone_lms.export import export

    async with AsyncClient(data.KEY, base_url=url, rate_limit=None) as client:
        result = await export(client, "completions", folder, accounts=[data.ACCOUNT], format=form, incremental=True)
    (found,) = result.lists
    if found.error is not None or found.changed != CHANGED:
        raise RuntimeError(str(found))


async def _pages(url: str) -> AsyncIterator[list[dict[str, Any]]]:
    headers = {"Authorization": aiohttp.encode_basic_auth(data.KEY, ""), "x-account-id": data.ACCOUNT}
    query = {"page_size": str(PAGE)}
    async with aiohttp.ClientSession(headers=headers) as session:
        while True:
            async with session.get(url + data.LIST, params=query) as response:
                response.raise_for_status()
                page = json.loads(await response.read())
            yield page["data"]
            if not page["next"]:
                return
            query["next"] = page["next"]


_MOMENTS = ("completed_at", "created_at", "updated_at")


async def script_parquet(url: str, folder: Path, form: str) -> None:
    """aiohttp, json, pyarrow: 10,000 records a row group, zstd, date-times as timestamps."""
    import pyarrow as pa
    from pyarrow import parquet

    writer: Any = None
    rows: list[dict[str, Any]] = []

    def write() -> None:
        nonlocal writer
        for row in rows:
            for name in _MOMENTS:
                row[name] = datetime.fromisoformat(row[name])
        table = pa.Table.from_pylist(rows, schema=None if writer is None else writer.schema)
        writer = writer or parquet.ParquetWriter(folder / "completions.parquet", table.schema, compression="zstd")
        writer.write_table(table)
        rows.clear()

    async for page in _pages(url):
        rows += page
        if len(rows) >= 10_000:
            write()
    if rows:
        write()
    writer.close()


async def script_jsonl(url: str, folder: Path, form: str) -> None:
    """aiohttp, json: one line a record."""
    with (folder / "completions.jsonl").open("w") as file:
        async for page in _pages(url):
            for record in page:
                file.write(json.dumps(record) + "\n")


Client = Callable[[str, Path, str], Coroutine[Any, Any, None]]
CLIENTS: dict[tuple[str, str], Client] = {
    (OURS, "parquet"): ours,
    (SCRIPT, "parquet"): script_parquet,
    (OURS, "jsonl"): ours,
    (SCRIPT, "jsonl"): script_jsonl,
}
AFTERWARDS: dict[tuple[str, str], Client] = {(INCREMENTAL, form): changes for form in FORMATS}
"""What is measured in a folder that was exported to."""


def measure(task: dict[str, Any]) -> dict[str, float]:
    """Run one client in this process."""
    _pin(0)
    client, records = {**CLIENTS, **AFTERWARDS}[task["client"], task["format"]], task["records"]
    if client is changes:
        asyncio.run(ours(task["url"], Path(task["folder"]), task["format"]))
    with peak() as most:
        used, began = cpu(), time.perf_counter()
        asyncio.run(client(task["url"], Path(task["folder"]), task["format"]))
        wall, used = time.perf_counter() - began, cpu() - used
    return {
        "wall_s": wall,
        "cpu_s": used,
        "per_s": records / wall,
        "per_cpu_s": records / used,
        "rss_mb": most() / 2**20,
    }


def one(client: str, form: str, records: int, url: str) -> dict[str, float]:
    """Measure once, in a process of its own, and count what was written."""
    with tempfile.TemporaryDirectory(dir=HERE) as folder:
        task = {"client": client, "format": form, "records": records, "url": url, "folder": folder}
        command = [sys.executable, "-m", "benchmarks.export", json.dumps(task)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=HERE.parent)
        if done.returncode:
            raise RuntimeError(f"{client}, {form}: {done.stderr[-2000:]}")
        written = sum(map(_count, Path(folder).rglob(f"*.{form}")))
        if written != records:
            raise RuntimeError(f"{client}, {form}: {written} of {records} records")
        figures: dict[str, float] = json.loads(done.stdout)
        return figures


def _count(path: Path) -> int:
    if path.suffix == ".jsonl":
        with path.open("rb") as lines:
            return sum(1 for _ in lines)
    from pyarrow import parquet

    return int(parquet.read_metadata(path).num_rows)


# The picture


def draw(results: dict[str, Any]) -> None:
    """Draw records a second of CPU time, and the peak of memory."""
    from matplotlib import pyplot as plt

    from . import charts

    names = [(form, client) for form in reversed(FORMATS) for client in (SCRIPT, OURS)]
    labels = [f"{client}\n{form}" for form, client in names]
    rows = [results["runs"][form][client] for form, client in names]
    figure, panels = plt.subplots(1, 2, figsize=(7.6, 2.9), sharey=True)
    panels_of = [("per_cpu_s", "records a CPU second"), ("rss_mb", "peak RSS, MB")]
    for axes, (figure_name, unit) in zip(panels, panels_of, strict=True):
        colours = [charts.OURS if client == OURS else charts.THEIRS for _, client in names]
        values = [row[figure_name] for row in rows]
        drawn = axes.barh(labels, values, color=colours, height=0.62)
        axes.bar_label(drawn, [f"{value:,.0f}" for value in values], padding=4, color=charts.INK)
        axes.set_xlim(0, max(values) * 1.3)
        axes.set_xlabel(unit)
        axes.locator_params(axis="x", nbins=4)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        axes.spines[["top", "right"]].set_visible(False)
    count = f"{results['records']:,} completions to a file: {COMMAND}"
    figure.suptitle(count, x=0.01, ha="left", fontsize=11, color=charts.INK)
    charts.save(figure, "export")


# The whole


def main() -> None:
    """Measure all clients and print a table."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--quick", action="store_true", help="100,000 records")
    parser.add_argument("task", nargs="?", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.task:
        print(json.dumps(measure(json.loads(asked.task))))
        return
    records = 100_000 if asked.quick else max(PAGE, asked.records // PAGE * PAGE)
    results: dict[str, Any] = {"command": COMMAND, "records": records, "python": platform.python_version(), "runs": {}}
    print(f"{records:,} completions, pages of {PAGE}\n")
    print("| format | client | records/s | records/CPU s | peak RSS MB | of a tenth of the records |")
    print("| --- | --- | --- | --- | --- | --- |", flush=True)
    tenth = max(PAGE, records // 10 // PAGE * PAGE)
    with serving(records) as url, serving(tenth) as url_of_tenth:
        for client, form in CLIENTS:
            row = results["runs"].setdefault(form, {})[client] = one(client, form, records, url)
            row["rss_of_tenth_mb"] = one(client, form, tenth, url_of_tenth)["rss_mb"]
            speed = f"{row['per_s']:,.0f} | {row['per_cpu_s']:,.0f}"
            print(f"| {form} | {client} | {speed} | {row['rss_mb']:.0f} | {row['rss_of_tenth_mb']:.0f} |", flush=True)
        print(f"\n| format | {CHANGED} changes | CPU s | peak RSS MB |\n| --- | --- | --- | --- |", flush=True)
        for client, form in AFTERWARDS:
            row = results["runs"][form][client] = one(client, form, records, url)
            print(f"| {form} | {client} | {row['cpu_s']:.2f} | {row['rss_mb']:.0f} |", flush=True)
    (HERE / "results").mkdir(exist_ok=True)
    (HERE / "results" / "export.json").write_text(json.dumps(results, indent=1) + "\n")
    draw(results)


if __name__ == "__main__":
    main()
