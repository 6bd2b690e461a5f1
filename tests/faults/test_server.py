"""The fault server counts, limits and cleans up as it says, seen by a client that is nothing but a socket."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from contextlib import AsyncExitStack
from urllib.parse import quote, urlsplit

import pytest

from . import CATALOGUE, Connection, Fault, FaultServer, Request
from .client import PATH, Client, body, connected, fetch, good
from .statuses import RATE, WIDTH


def named(name: str) -> Fault:
    return next(fault for fault in CATALOGUE if fault.name == name)


async def test_a_number_behind_the_name_limits_the_fault_to_the_first_requests_of_each_id() -> None:
    async with FaultServer() as server, connected(server) as client:
        seen: list[tuple[str, int]] = []
        for id in ("a", "b", "a", "a", "b", "a"):
            client.ask(f"/f/status-503@2{PATH}{id}")
            seen.append((id, (await client.answer())[0]))
        assert seen == [("a", 503), ("b", 503), ("a", 503), ("a", 200), ("b", 503), ("a", 200)]
        assert server.stats("status-503@2").requests == 6
        assert server.stats("status-503@2", "a").requests == 4
        assert server.stats("status-503@2", "a").connections == 1
        assert server.stats("status-503").requests == 0


@pytest.mark.parametrize("id", ["a b/c?d#e", "%2e%2e", "é世\U0001f600", "a+b;c:d"])
async def test_good_answers_hold_the_decoded_id(id: str) -> None:
    async with FaultServer() as server, connected(server) as client:
        client.ask(f"/f/ok{PATH}{quote(id, safe='')}")
        assert json.loads((await client.answer())[1])["data"]["id"] == id
        assert server.stats("ok", id).requests == 1
        assert server.total.suspicious == []


@pytest.mark.parametrize(
    ("target", "lines", "reason"),
    [
        (f"/f/ok{PATH}..", (), "raw dot segment"),
        (f"/f/ok{PATH}%2E%2e/x", (), "raw dot segment"),
        ("/f/ok/unified/lms/../accounts", (), "raw dot segment"),
        ("/f/ok/unified/lms/completions/a/b", (), "no such route"),
        (f"/f/ok{PATH}", (), "no such route"),
        (f"/f/ok{PATH}a\\b", (), "characters to be encoded"),
        (f"/f/ok{PATH}a%zz", (), "characters to be encoded"),
        (f"/f/ok{PATH}a#b", (), "fragment"),
        (f"/f/zebra{PATH}a", (), "no such fault"),
        (f"/f/ok{PATH}a", ("Cookie: a=b",), "cookie"),
        (f"/f/ok{PATH}a", ("Authorization: a", "authorization: b"), "header sent twice"),
        (f"http://evil{PATH}a", (), "not a path"),
    ],
)
async def test_what_a_correct_client_never_sends_is_suspicious(
    target: str, lines: tuple[str, ...], reason: str
) -> None:
    async with FaultServer() as server, connected(server) as client:
        client.ask(target, "GET", *lines)
        await client.answer()
        assert [text.partition(":")[0] for text in server.total.suspicious].count(reason) == 1


async def test_requests_are_kept_as_they_came_with_the_time_of_each() -> None:
    async with FaultServer() as server, connected(server) as client:
        before = time.monotonic()
        client.ask(f"/f/ok{PATH}x", "GET", "X-Thing:  a ")
        await client.answer()
        stats = server.stats("ok", "x")
        assert list(stats.heads) == [f"GET /f/ok{PATH}x HTTP/1.1\r\nHost: here\r\nX-Thing:  a \r\n\r\n".encode()]
        assert before <= stats.arrivals[0] <= time.monotonic()
        assert stats.bytes_sent == len(good(b"x"))


async def test_hang_ups_are_counted_only_while_an_answer_is_due() -> None:
    async with FaultServer() as server:
        async with connected(server) as client:
            client.ask(f"/f/ok{PATH}x")
            await client.answer()
        async with connected(server) as client:
            client.ask(f"/f/never-answers{PATH}x")
            while not server.stats("never-answers").in_flight:
                await asyncio.sleep(0)
        await server.idle()
        assert server.stats("never-answers").hangups == 1
        assert server.total.hangups == 1
        assert server.total.connections == 2


async def test_the_peak_of_requests_in_flight_and_a_server_that_takes_only_so_many() -> None:
    async with FaultServer(tick=10) as server, AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connected(server)) for _ in range(WIDTH + 1)]
        for n, client in enumerate(clients):
            client.ask(f"/f/narrow{PATH}{n}")
            while server.total.requests <= n:
                await asyncio.sleep(0)
        assert (await clients[WIDTH].answer())[0] == 429
        while server.total.in_flight > WIDTH:
            await asyncio.sleep(0)
        assert server.stats("narrow").in_flight_peak == WIDTH + 1
        assert server.stats("narrow", "0").in_flight_peak == 1


async def test_a_server_that_takes_only_so_many_a_second() -> None:
    async with FaultServer() as server, connected(server) as client:
        statuses: list[int] = []
        for n in range(50):
            client.ask(f"/f/rate-limited{PATH}{n}")
            statuses.append((await client.answer())[0])
        burst = int(RATE / 10)
        assert statuses[:burst] == [200] * burst
        assert 429 in statuses[burst:]


async def test_a_request_behind_the_end_of_the_connection_is_not_read() -> None:
    async with FaultServer() as server, connected(server) as client:
        client.ask(f"/f/fin-nothing{PATH}x")
        client.ask(f"/f/fin-nothing{PATH}y")
        await client.rest()
        assert server.total.requests == 1


async def test_a_flood_stops_when_the_client_leaves() -> None:
    async with FaultServer() as server:
        await fetch(server, "chunked-endless", most=2**20)
        await server.idle()
        stats = server.stats("chunked-endless")
        assert 2**20 <= stats.bytes_sent < 16 * 2**20
        assert stats.hangups == 1


@pytest.mark.parametrize(
    ("name", "commits"),
    [
        ("write-ok", 1),
        ("commit-then-cut", 1),
        ("commit-then-500", 1),
        ("commit-then-stall", 1),
        ("cut-before-commit", 0),
        ("write-429", 0),
    ],
)
async def test_effects_of_writes_are_counted(name: str, commits: int) -> None:
    async with FaultServer(stall=0.02) as server, connected(server) as client:
        client.ask(f"/f/{name}/unified/lms/users/u/completions", "POST", body='{"result": "Pass"}')
        await asyncio.wait([asyncio.ensure_future(client.rest(1))])
        assert server.stats(name).commits == commits
        assert server.total.suspicious == []


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("tls-good", None),
        ("tls-unknown-ca", "unable to get local issuer certificate"),
        ("tls-wrong-host", "IP address mismatch"),
        ("tls-expired", "certificate has expired"),
        ("tls-self-signed", "self-signed certificate"),
        ("https-to-http", "(?i)wrong version number|record layer failure|packet length too long"),
    ],
)
async def test_certificates(name: str, reason: str | None) -> None:
    async with FaultServer.of(named(name)) as server:
        assert server.url.startswith("https://")
        context = ssl.create_default_context(cadata=server.ca_pem)
        if reason is None:
            async with connected(server, context) as client:
                client.ask(f"{PATH}x")
                assert await client.answer() == (200, body(b"x"))
        else:
            with pytest.raises(ssl.SSLError, match=reason):
                async with connected(server, context):
                    pass
        assert server.total.connections == 1


async def test_plain_http_is_cut_off_at_a_tls_port() -> None:
    async with FaultServer.of(named("http-to-https")) as server, connected(server) as client:
        assert server.url.startswith("http://")
        client.ask(f"{PATH}x")
        assert b"HTTP" not in (await client.rest())[0]
        assert server.total.requests == 0


@pytest.mark.parametrize(
    ("name", "ending"), [("rst-on-accept", "rst"), ("fin-on-accept", "fin"), ("tls-rst", "rst"), ("tls-fin", "fin")]
)
async def test_connections_that_end_before_a_request(name: str, ending: str) -> None:
    async with FaultServer.of(named(name)) as server, connected(server) as client:
        if name.startswith("tls"):
            client.writer.write(b"\x16\x03\x01 as a ClientHello begins")
        assert await client.rest() == (b"", ending)
        assert server.total.connections == 1


async def test_a_refused_connection() -> None:
    async with FaultServer.of(named("refused")) as server:
        with pytest.raises(ConnectionRefusedError):
            async with connected(server):
                pass


async def test_a_connection_that_is_not_made() -> None:
    async with FaultServer.of(named("connect-hangs")) as server:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2), connected(server):
                pass
        assert server.total.connections == 0


async def test_a_connection_that_is_not_read_ends_with_the_client() -> None:
    async with FaultServer.of(named("tls-stall")) as server:
        assert server.url.startswith("https://")
        async with connected(server) as client:
            client.writer.write(b"\x16\x03\x01 as a ClientHello begins")
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(client.rest(), 0.05)
        async with asyncio.timeout(20):
            while not server.total.hangups:
                await asyncio.sleep(0.001)


@pytest.mark.parametrize("name", ["never-answers", "stall-body", "chunked-endless", "trickle-body", "late-answer"])
async def test_closing_ends_every_answer_and_connection_at_once(name: str) -> None:
    before = asyncio.all_tasks()
    async with FaultServer() as server:
        clients = [await asyncio.open_connection(*urlsplit(server.url).netloc.split(":")) for _ in range(5)]
        for reader, writer in clients:
            Client(reader, writer).ask(f"/f/{name}{PATH}x")
        while server.total.requests < len(clients):
            await asyncio.sleep(0)
        start = time.monotonic()
    assert time.monotonic() - start < 10
    assert asyncio.all_tasks() == before
    for _, writer in clients:
        writer.transport.abort()


async def test_a_bug_in_a_script_fails_the_test() -> None:
    async def broken(_connection: Connection, _request: Request) -> None:
        raise ZeroDivisionError

    fault = Fault("broken", "-", "a bug", "ok", False, broken)
    with pytest.raises(ZeroDivisionError):
        async with FaultServer(more=[fault]) as server:
            await fetch(server, "broken")
