"""Prism, which is not ours: as a proxy it finds no violation, and as a mock it serves gets with its example ids."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from stackone_lms import AsyncClient, IdMismatchError, InternalServerError, SyncClient
from stackone_lms.sandbox import Sandbox

from ..docs.table import call_each_line
from .document import DOCUMENT

PRISM = Path(__file__).parent / "prism/node_modules/.bin/prism"

pytestmark = [
    pytest.mark.skipif(shutil.which("node") is None, reason="Node is not installed"),
    pytest.mark.skipif(not PRISM.exists(), reason="Prism is not installed: npm install in tests/contract/prism"),
]


@contextlib.contextmanager
def prism(*arguments: str) -> Generator[str]:
    """Run Prism, and yield its URL once it accepts connections."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [str(PRISM), arguments[0], "-h", "127.0.0.1", "-p", str(port), *arguments[1:]]
    environment = {**os.environ, "SCARF_ANALYTICS": "false", "NO_COLOR": "1"}
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment) as process:
        try:
            deadline = time.monotonic() + 30
            while time.monotonic() < deadline:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.2):
                    break
                time.sleep(0.1)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


@contextlib.contextmanager
def proxy(sandbox: Sandbox) -> Generator[SyncClient]:
    """Yield a client whose requests Prism checks on their way: with --errors a violation is an error answer."""
    with (
        prism("proxy", "--errors", str(DOCUMENT), sandbox.url) as url,
        SyncClient(sandbox.api_key, sandbox.account_ids[0], base_url=url) as client,
    ):
        yield client


def test_no_violation_in_any_operation() -> None:
    """Every operation, called as the page of operations shows it."""
    with Sandbox.in_thread() as sandbox, proxy(sandbox) as client:
        called = call_each_line(client, sandbox)
    assert len(called) == 28


def test_a_replacing_upsert_is_answered_201() -> None:
    """Prism takes 200, which the document does not have, for a violation."""
    with Sandbox.in_thread(contents=3) as sandbox, proxy(sandbox) as client:
        record = client.content.list().first_page().data[0]
        assert client.content.upsert(record).status == 201
    with Sandbox.in_thread(contents=3, upsert_status=200) as sandbox, proxy(sandbox) as client:
        record = client.content.list().first_page().data[0]
        with pytest.raises(InternalServerError) as caught:
            client.content.upsert(record)
    assert "VIOLATIONS" in caught.value.body["type"]


@pytest.fixture(scope="module")
def mock() -> Iterator[str]:
    """The URL of a server that answers with the examples of the document, whatever id it is asked for."""
    with prism("mock", str(DOCUMENT)) as url:
        yield url


GETS = ["assignments", "categories", "completions", "content", "courses", "skills", "users"]


@pytest.mark.parametrize("resource", GETS)
async def test_a_mock_with_example_ids_serves_gets_where_ids_are_not_compared(mock: str, resource: str) -> None:
    """By both clients, and by a view."""
    async with AsyncClient("key", "account", base_url=mock, verify_ids=False) as client:
        example = await getattr(client, resource).get("asked-for")
        assert example.data.id not in {None, "asked-for"}
        strict = client.with_options(verify_ids=True)
        assert (await getattr(strict, resource).get(example.data.id)).data.id == example.data.id
    assert await asyncio.to_thread(blocking_get, mock, resource) == example.data.id


def blocking_get(url: str, resource: str) -> str:
    with SyncClient("key", "account", base_url=url) as client:
        found: str = getattr(client.with_options(verify_ids=False), resource).get("asked-for").data.id
    return found


def test_the_example_of_a_plain_id_is_refused_where_ids_are_compared(mock: str) -> None:
    """It may be anybody's; what came is in the error."""
    with SyncClient("key", "account", base_url=mock) as client, pytest.raises(IdMismatchError) as caught:
        client.completions.get("999")
    assert caught.value.result.data.id == "123456"
    assert b'"123456"' in caught.value.body


def test_a_mock_serves_whatever_else_is_read(mock: str) -> None:
    with SyncClient("key", "account", base_url=mock, verify_ids=False) as client:
        assert client.users.completions.get("u", "c").data.id
        assert client.users.assignments.get("u", "a").data.id
        assert len(client.content.list().first_page().data) >= 1
        assert [outcome.ok for outcome in client.users.get_many(["a", "b"])] == [True, True]
