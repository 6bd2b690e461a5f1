"""Memory stays flat: how much is exported does not matter."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from ..soak import further

ROOT = Path(__file__).parents[2]
PAGE = 100

PROGRAM = """
import asyncio, json, re, sys
from pathlib import Path
from stackone_lms import AsyncClient
from stackone_lms.export import export

async def main(url, target, options, *accounts):
    async with AsyncClient("key", base_url=url, rate_limit=None) as client:
        for account in accounts:
            result = await export(client, "completions", target, accounts=[account], **json.loads(options))
            peak = re.search(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text())
            print(result.records, int(peak[1]) // 1024)

asyncio.run(main(*sys.argv[1:]))
"""

RECORD = json.dumps(
    {
        "id": "@",
        "remote_id": "8187e5da-dc77-475e-9949-af0f1fa4e4e3",
        "unified_custom_fields": {"site": "Plovdiv", "attempt": 2},
        "result": {"value": "Pass", "source_value": "PASSED"},
        "completed_at": "2026-03-21T14:00:00.000Z",
        "updated_at": "2026-03-21T14:00:03.900Z",
        "learning_object_type": {"value": "course", "source_value": "CURRICULUM"},
        "learning_object_id": "c28xIQaWQ6Y291cnNlLTE",
        "user_id": "c28xIQaWQ6dXNlci0x",
        "certificate_url": "https://example.com/certificates/" + "1" * 300,
        "score": {"percentage": 87.5, "raw_value": "87.5 / 100"},
    }
).encode()


CALL = json.dumps({"url": "https://example.com", "body": "".join(f"{n:x}" for n in range(230_000))}).encode()
"""A provider's answer of 1 MB."""


class Pages(asyncio.Protocol):
    """Answers with pages of completions; an account has as many as its id says."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport, self._received = transport, b""

    def data_received(self, data: bytes) -> None:
        self._received += data
        while b"\r\n\r\n" in self._received:
            head, _, self._received = self._received.partition(b"\r\n\r\n")
            self._transport.write(answer(head))


def answer(head: bytes) -> bytes:
    asked = re.search(rb"next=(\d+)", head)
    start = int(asked[1]) if asked else 0
    account = re.search(rb"x-account-id: (\d+)", head, re.IGNORECASE)
    assert account is not None
    end = start + PAGE
    following = b'"%d"' % end if end < int(account[1]) else b"null"
    records = b",".join(RECORD.replace(b"@", b"c%d" % n) for n in range(start, end))
    calls = CALL if b"raw=true" in head else b"null"
    body = b'{"next":%b,"data":[%b],"raw":[%b]}' % (following, records, calls)
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


@pytest.fixture
def url() -> Iterator[str]:
    ready, address = threading.Event(), [""]
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        server = await loop.create_server(Pages, "127.0.0.1", 0)
        address[0] = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        ready.set()
        async with server:
            with pytest.raises(asyncio.CancelledError):
                await server.serve_forever()

    task = loop.create_task(serve())
    thread = threading.Thread(target=loop.run_until_complete, args=(task,))
    thread.start()
    assert ready.wait(10)
    yield address[0]
    loop.call_soon_threadsafe(task.cancel)
    thread.join(10)
    loop.close()


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of its memory in /proc")
@pytest.mark.parametrize(
    ("format", "most"), [("jsonl", 110), *further(("parquet", 250), ("duckdb", 500), ("delta", 300))]
)
def test_memory_does_not_grow_with_the_records(format: str, most: int, url: str, tmp_path: Path) -> None:
    """80,000 records more need little more: eight bytes for each, to see that none comes twice.

    Kept, they would need 60 MB even as JSON; measured are 1 to 5, as allocators go.
    """
    in_tables = format in ("duckdb", "delta")
    target = f"{format}:{tmp_path / 'lms'}" if in_tables else str(tmp_path)
    options = {} if in_tables else {"format": format}
    (few, peak_of_few), (many, peak_of_many) = exported(url, target, options, "40000", "120000")
    assert (few, many) == (40_000, 120_000)
    # DuckDB takes the memory that it may before it writes to disk.
    assert format == "duckdb" or peak_of_many - peak_of_few < 20
    assert peak_of_many < most


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of its memory in /proc")
def test_memory_does_not_grow_with_the_size_of_what_providers_answer(url: str, tmp_path: Path) -> None:
    """A GB of it, written and then merged."""
    options = {"format": "parquet", "raw": True, "incremental": True}
    (first, _), (second, peak) = exported(url, str(tmp_path), options, "90000", "90000")
    assert (first, second) == (90_000, 90_000)
    assert peak < 330


def exported(url: str, target: str, options: Mapping[str, object], *accounts: str) -> list[tuple[int, int]]:
    """Export accounts, one after the other, in one process; return records and peak of memory (MB) of each."""
    command = [sys.executable, "-c", PROGRAM, url, target, json.dumps(options), *accounts]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", timeout=800, check=False)
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    return [(int(records), int(peak)) for records, peak in lines]
