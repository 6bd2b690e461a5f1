"""The sandbox as a server: life cycle, threads, latency, heartbeats, what it records."""

import ast
import asyncio
import gc
import inspect
import os
import re
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections import Counter
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import aiohttp
import pytest

import stackone_lms.sandbox
from stackone_lms.sandbox import Faults, Sandbox, SandboxOptions

from .client import Client, credentials
from .conftest import SMALL, Start


def run(script: str) -> str:
    # Debugging, asyncio tells of every slow step on stderr.
    env = {name: value for name, value in os.environ.items() if name != "PYTHONASYNCIODEBUG"}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60, env=env
    )
    assert done.stderr == ""
    return done.stdout


def test_importing_the_sandbox_does_not_import_aiohttp() -> None:
    script = "import sys, stackone_lms.sandbox as s; s.Sandbox(); print('aiohttp' in sys.modules)"
    assert run(script) == "False\n"


def test_sandbox_imports_nothing_else_of_the_package() -> None:
    """The client and the sandbox read the API document independently."""
    folder = Path(stackone_lms.sandbox.__file__).parent
    files = sorted(folder.glob("*.py"))
    assert len(files) > 10
    for file in files:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                assert node.level <= 1, file
                names = [node.module or ""] if node.level == 0 else []
            assert not [name for name in names if name.split(".")[0] in ("stackone_lms", "msgspec")], file


def test_options_are_those_of_the_constructor() -> None:
    parameters = inspect.signature(Sandbox).parameters
    assert set(parameters) == set(SandboxOptions.__annotations__)
    documented = set(re.findall(r"^ +(\w+): ", Sandbox.__doc__ or "", re.MULTILINE))
    assert set(parameters) <= documented
    assert set(Faults.__annotations__) == {"status", "rate", "retry_after"}


def test_url_exists_only_while_it_runs() -> None:
    sandbox = Sandbox()
    with pytest.raises(RuntimeError, match="does not run"):
        _ = sandbox.url
    assert repr(sandbox) == "<Sandbox not running>"


async def test_nothing_shows_the_key(api: Client) -> None:
    await api.get("users")
    assert repr(api.sandbox) == f"<Sandbox {api.sandbox.url}>"
    shown = repr(api.sandbox.requests)
    assert "/unified/lms/users" in shown
    assert "Basic" not in shown
    assert api.sandbox.account_ids[0] not in shown


async def test_sandbox_can_run_again_but_not_twice_at_a_time() -> None:
    sandbox = Sandbox(**SMALL)
    async with aiohttp.ClientSession() as session:
        async with sandbox:
            with pytest.raises(RuntimeError, match="runs already"):
                await sandbox.__aenter__()
            await Client(sandbox, session)("PUT", "content", json={"external_reference": "KEPT"})
        async with sandbox:
            assert (await Client(sandbox, session).get("content", "page_size=1")).json["total"] == 31


async def test_port_in_use_is_an_error_and_leaves_the_sandbox_usable(api: Client) -> None:
    port = int(api.sandbox.url.rsplit(":", 1)[1])
    other = Sandbox(port=port)
    with pytest.raises(OSError, match="address already in use"):
        await other.__aenter__()
    with pytest.raises(RuntimeError, match="does not run"):
        _ = other.url
    with pytest.raises(OSError, match="address already in use"):
        await other.__aenter__()
    with pytest.raises(OSError, match="address already in use"), Sandbox.in_thread(port=port):
        pass
    assert [thread for thread in threading.enumerate() if thread.name == "stackone-lms-sandbox"] == []


@pytest.mark.skipif(not socket.has_ipv6, reason="needs IPv6")
async def test_url_of_an_ipv6_host_is_bracketed() -> None:
    try:
        async with Sandbox(**SMALL, host="::1") as sandbox, aiohttp.ClientSession() as session:
            assert sandbox.url.startswith("http://[::1]:")
            assert (await Client(sandbox, session).get("users")).status == 200
    except OSError as error:
        pytest.skip(f"no IPv6 loopback: {error}")


@pytest.mark.parametrize(
    "options",
    [
        *({"api_key": ""}, {"delete_status": 201}, {"heartbeat_interval": 0.0}, {"latency": -1.0}),
        *({"latency": (2.0, 1.0)}, {"upsert_status": 202}, {"batch_delay": -1.0}, {"batch_delay": float("inf")}),
    ],
)
def test_options_that_make_no_sense_are_refused(options: SandboxOptions) -> None:
    with pytest.raises(ValueError, match=r"api_key|latency|batch_delay"):
        Sandbox(**options)


async def test_requests_are_recorded_as_they_came(api: Client) -> None:
    headers = {"X-Mixed-Case": "Yes", "Content-Type": "application/json"}
    await api("PATCH", "content/a%2Fb%20c", "x=%5B1%5D&y", data=b'{"a": 1}', headers=headers)
    (request,) = api.sandbox.requests
    assert (request.method, request.path, request.query) == ("PATCH", "/unified/lms/content/a%2Fb%20c", "x=%5B1%5D&y")
    assert (request.headers["x-mixed-case"], request.body, request.status) == ("Yes", b'{"a": 1}', 404)
    assert request.headers["x-account-id"] == api.sandbox.account_ids[0]


async def test_history_is_bounded_and_counters_are_not(start: Start) -> None:
    api = await start(history=3)
    for path in ("users", "skills", "nothing", "courses", "content"):
        await api.get(path)
    assert [request.path.rsplit("/", 1)[1] for request in api.sandbox.requests] == ["nothing", "courses", "content"]
    assert api.sandbox.request_count == 5
    assert api.sandbox.status_counts == Counter({200: 4, 404: 1})


async def test_a_failure_of_one_account_leaves_the_others_alone(start: Start) -> None:
    api = await start(accounts=2)
    api.sandbox.fail_next(403, times=2, account_id=api.sandbox.account_ids[1])
    statuses = [(await api("GET", "users", account=account)).status for account in (0, 1, 0, 1, 1)]
    assert statuses == [200, 403, 200, 403, 200]


async def test_reset_goes_back_to_the_start(start: Start) -> None:
    api = await start(rate_limit=(3, 60.0))
    before = (await api.get("content", "page_size=1")).body
    await api("PUT", "content", json={"external_reference": "NEW"})
    assert (await api.get("content", "page_size=1")).body != before
    assert (await api.get("content", "page_size=1")).status == 429
    api.sandbox.fail_next(500, times=10)
    api.sandbox.reset()
    assert not api.sandbox.requests
    assert (api.sandbox.request_count, api.sandbox.status_counts) == (0, Counter())
    assert (await api.get("content", "page_size=1")).body == before


def request_head(sandbox: Sandbox, method: str, path: str, **headers: str) -> bytes:
    sent = {"Host": "x", "User-Agent": "x", **credentials(sandbox), **headers}
    lines = [f"{method} /unified/lms/{path} HTTP/1.1", *(f"{name}: {value}" for name, value in sent.items())]
    return "\r\n".join([*lines, "", ""]).encode()


async def send(sandbox: Sandbox, method: str, path: str, **headers: str) -> bytes:
    """Send a request on a bare socket, and return all that comes back."""
    host, port = sandbox.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(request_head(sandbox, method, path, **headers))
        return await asyncio.wait_for(reader.read(), timeout=10)
    finally:
        writer.close()
        await writer.wait_closed()


async def test_latency_is_drawn_between_its_bounds(start: Start) -> None:
    api = await start(latency=(0.1, 0.15))
    await api.get("users")
    began = time.perf_counter()
    await api.get("users")
    assert time.perf_counter() - began >= 0.1


async def test_heartbeats_fill_the_wait_with_newlines(start: Start) -> None:
    api = await start(latency=0.3, heartbeat_interval=0.05)
    reply = await api("GET", "users", headers={"Prefer": "respond-async, Heartbeat"})
    assert reply.headers["Preference-Applied"] == "heartbeat"
    assert reply.headers["Transfer-Encoding"] == "chunked"
    newlines = len(reply.body) - len(reply.body.lstrip(b"\n"))
    assert newlines in (5, 6)
    assert len(reply.data) == 20
    assert reply.body.lstrip(b"\n") == (await api.get("users")).body


async def test_heartbeats_arrive_while_the_answer_is_awaited(start: Start) -> None:
    api = await start(latency=2.0, heartbeat_interval=0.05)
    headers = {**credentials(api.sandbox), "Prefer": "heartbeat"}
    async with api.session.get(f"{api.sandbox.url}/unified/lms/users", headers=headers) as answer:
        assert await asyncio.wait_for(answer.content.readexactly(1), timeout=1.5) == b"\n"


async def test_quick_answers_need_no_newlines(start: Start) -> None:
    for api in (await start(), await start(latency=0.01)):
        reply = await api("GET", "users", headers={"Prefer": "heartbeat"})
        assert reply.headers["Preference-Applied"] == "heartbeat"
        assert reply.body.startswith(b"{")
        assert "Preference-Applied" not in (await api.get("users")).headers


async def test_writes_get_heartbeats_and_an_empty_answer_none(start: Start) -> None:
    api = await start(latency=0.12, heartbeat_interval=0.05, delete_status=204)
    prefer = {"Prefer": "heartbeat"}
    made = await api("PUT", "content", json={"external_reference": "NEW"}, headers=prefer)
    assert (made.status, made.body[:2]) == (201, b"\n\n")
    record = (await api.get("completions")).data[0]
    path = f"users/{record['user_id']}/completions/{record['id']}"
    bare = await send(api.sandbox, "DELETE", path, Prefer="heartbeat", Connection="close")
    assert bare.startswith(b"HTTP/1.1 204")
    assert bare.endswith(b"\r\n\r\n")


async def test_errors_keep_their_status_after_heartbeats_unless_told_otherwise(start: Start) -> None:
    options = {"latency": 0.12, "heartbeat_interval": 0.05}
    honest, late = await start(**options), await start(**options, heartbeat_status=200)
    for api, status in ((honest, 404), (late, 200)):
        reply = await api("GET", "users/none", headers={"Prefer": "heartbeat"})
        assert (reply.status, reply.json["statusCode"]) == (status, 404)
    assert (await late.get("users/none")).status == 404


async def test_abandoned_requests_free_their_place(start: Start) -> None:
    api = await start(max_in_flight=1, latency=(30.0, 30.0))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(api.get("users"), timeout=0.2)
    await asyncio.sleep(0.1)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(api.get("users"), timeout=0.2)
    assert api.sandbox.status_counts == Counter({200: 2})


async def test_stopping_does_not_wait_for_slow_answers() -> None:
    async with aiohttp.ClientSession() as session:
        sandbox = await Sandbox(**SMALL, latency=60.0).__aenter__()
        waiting = asyncio.create_task(Client(sandbox, session).get("users"))
        await asyncio.sleep(0.1)
        began = time.perf_counter()
        await sandbox.__aexit__(None, None, None)
        assert time.perf_counter() - began < 30.0
        with pytest.raises(aiohttp.ClientError):
            await waiting


def fetch(sandbox: Sandbox, path: str) -> bytes:
    request = Request(f"{sandbox.url}/unified/lms/{path}", headers=credentials(sandbox))
    with urlopen(request, timeout=10) as answer:
        body: bytes = answer.read()
        return body


def test_in_thread_serves_blocking_code_and_stops() -> None:
    with Sandbox.in_thread(**SMALL) as sandbox:
        id = sandbox.ids("completions")[5]
        assert id.encode() in fetch(sandbox, f"completions/{id}")
        assert [request.method for request in sandbox.requests] == ["GET"]
        sandbox.reset()
        assert sandbox.request_count == 0
        address = sandbox.url.removeprefix("http://").split(":")
    assert [thread for thread in threading.enumerate() if thread.name == "stackone-lms-sandbox"] == []
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((address[0], int(address[1])), timeout=5)


def test_in_thread_is_entered_once() -> None:
    thread = Sandbox.in_thread(**SMALL)
    with thread:
        pass
    with pytest.raises(RuntimeError, match="once"):
        thread.__enter__()


def test_in_thread_stops_quickly_with_an_open_connection_and_a_slow_answer() -> None:
    with Sandbox.in_thread(**SMALL, latency=60.0) as sandbox:
        host, port = sandbox.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=5) as idle:
            idle.sendall(request_head(sandbox, "GET", "users"))
            time.sleep(0.1)
            began = time.perf_counter()
            sandbox_thread = [t for t in threading.enumerate() if t.name == "stackone-lms-sandbox"]
    assert len(sandbox_thread) == 1
    assert not sandbox_thread[0].is_alive()
    assert time.perf_counter() - began < 30.0


def test_program_that_never_stops_its_sandbox_ends_all_the_same() -> None:
    script = (
        "from stackone_lms.sandbox import Sandbox\n"
        "held = Sandbox.in_thread(users=2, completions=3)\n"
        "print(held.__enter__().url.startswith('http://127.0.0.1:'))\n"
    )
    assert run(script) == "True\n"


@pytest.mark.thorough
async def test_thousands_of_gets_are_quick(start: Start) -> None:
    """An order of magnitude above what was measured, so that a busy machine passes."""
    api = await start(completions=2000)
    ids = api.sandbox.ids("completions")
    await api.get(f"completions/{ids[0]}")

    async def worker(part: list[str]) -> None:
        for id in part:
            assert (await api.get(f"completions/{id}")).status == 200

    began = time.process_time()
    await asyncio.gather(*(worker(ids[n::20]) for n in range(20)))
    assert (time.process_time() - began) / len(ids) < 0.005


@pytest.mark.parametrize("turns", range(6))
async def test_a_connection_that_comes_as_it_stops_is_closed(turns: int) -> None:
    """Accepted but not yet served: asyncio would forget the socket."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        async with Sandbox(**SMALL) as sandbox:
            address = urlsplit(sandbox.url)
            late = [socket.create_connection((address.hostname, address.port)) for _ in range(3)]
            for _ in range(turns):
                await asyncio.sleep(0)
        for sock in late:
            with sock:
                sock.settimeout(5)
                with suppress(ConnectionResetError):
                    assert sock.recv(1) == b""
        gc.collect()
    assert [str(warning.message) for warning in caught] == []
