"""Each fault of the catalogue is what it says it is, byte for byte."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
from pathlib import Path
from urllib.parse import quote

import pytest

from . import CATALOGUE, ITEMS, EvilServer, Fault, FaultServer
from .client import GOOD_HEAD, PATH, Client, body, connected, fetch, good, understood
from .encodings import BOMB
from .pages import ODD_CURSORS
from .redirects import HOPS


def test_the_catalogue_is_broad_and_its_names_are_unique_path_segments() -> None:
    names = [fault.name for fault in CATALOGUE]
    assert len(set(names)) == len(names) > 300
    assert {fault.section for fault in CATALOGUE} == set("-ABCDEGW")
    assert [name for name in names if quote(name, safe=":") != name] == []


def test_every_expectation_names_an_error_class_of_the_package() -> None:
    source = Path(__file__).parents[2].joinpath("stackone_lms", "errors.py").read_text(encoding="utf-8")
    known = {"ok", *re.findall(r"^class (\w+)\(", source, re.MULTILINE)}
    assert {name for fault in CATALOGUE for name in (fault.expect, *fault.also)} - known == set()


_ANSWERED = [fault for fault in CATALOGUE if not fault.server]


@pytest.mark.parametrize("fault", _ANSWERED, ids=lambda fault: fault.name)
async def test_each_fault_differs_from_the_good_answer_unless_it_is_expected_to_do_no_harm(fault: Fault) -> None:
    """It is one answer to one request, of which nothing is left when the client has gone."""
    async with FaultServer(stall=0.05, tick=0.002) as server, connected(server) as client:
        whole = fault.call in {"list", "list_some", "write"}
        target = f"/f/{fault.name}{PATH.rstrip('/') if whole else PATH + 'x'}"
        if fault.call == "write":
            client.ask(f"/f/{fault.name}/unified/lms/users/u/completions", "POST", body="{}")
        else:
            client.ask(target, "GET", "authorization: Basic azo=")
        reading = asyncio.ensure_future(client.rest(400_000))
        while not server.total.requests:
            await asyncio.sleep(0)
        stats = server.stats(fault.name)
        while not reading.done() and (stats.in_flight or len(client.got) < stats.bytes_sent):
            await asyncio.sleep(0.001)
        client.writer.transport.abort()
        got, ending = await reading
        await server.idle()
        assert (stats.requests, stats.connections, stats.in_flight) == (1, 1, 0)
        assert stats.suspicious == []
        assert len(got) <= stats.bytes_sent
        if ending == "most":
            assert stats.bytes_sent < 16 * 2**20
        if fault.call in {"get", "sequence"}:
            if fault.expect == "ok" and not fault.also:
                assert understood(got)["data"].get("id") == (None if fault.name in {"id-null", "id-missing"} else "x")
            elif fault.expect != "ok":
                assert got != good(b"x")


@pytest.mark.parametrize(
    ("base", "expected", "ending"),
    [
        ("rst-nothing", b"", "rst"),
        ("fin-nothing", b"", "fin"),
        ("fin-status-line", b"HTTP/1.1 ", "fin"),
        ("rst-head", GOOD_HEAD % 93, "rst"),
        ("fin-body", good(b"x")[:160], "fin"),
        ("short-body-fin", GOOD_HEAD % 103 + body(b"x"), "fin"),
        ("stall-head", GOOD_HEAD % 93, "fin"),
        ("not-http-ssh", b"SSH-2.0-OpenSSH_9.6\r\n", "fin"),
        ("continue-for-ever", b"HTTP/1.1 100 Continue\r\n\r\n", "fin"),
        (
            "chunked-no-last-chunk",
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-request-id: request-of-the-fault-server\r\n"
            b"transfer-encoding: chunked\r\n\r\n5d\r\n" + body(b"x") + b"\r\n",
            "fin",
        ),
        (
            "two-lengths",
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-request-id: request-of-the-fault-server\r\n"
            b"content-length: 93\r\ncontent-length: 5\r\n\r\n" + body(b"x"),
            "fin",
        ),
        ("commit-then-cut", b"", "rst"),
    ],
)
async def test_bytes_on_the_wire(base: str, expected: bytes, ending: str) -> None:
    """The bytes are exactly these, and the connection ends so."""
    async with FaultServer(stall=0.05, tick=0.1) as server:
        assert await fetch(server, base) == (expected, ending)


@pytest.mark.parametrize(
    ("base", "line"),
    [
        ("retry-after:inf", b"retry-after: inf"),
        ("retry-after:superscript", b"retry-after: \xb2"),
        ("retry-after:5000-digits", b"retry-after: " + b"9" * 5000),
        ("retry-after:two", b"retry-after: 1\r\nretry-after: 2"),
        ("status-503", b"HTTP/1.1 503 Service Unavailable"),
        ("redirect-empty", b"location: "),
        ("header-folded", b"x-fold: a\r\n b"),
        ("length-plus", b"content-length: +93"),
        ("content-length-1e15", b"content-length: 1000000000000106"),
    ],
)
async def test_header_lines(base: str, line: bytes) -> None:
    """The head holds exactly this line."""
    async with FaultServer() as server, connected(server) as client:
        client.ask(f"/f/{base}{PATH}x")
        head = await client.reader.readuntil(b"\r\n\r\n")
        assert b"\r\n" + line + b"\r\n" in b"\r\n" + head


async def test_a_second_answer_comes_over_the_idle_connection() -> None:
    async with FaultServer(tick=0.03) as server, connected(server) as client:
        client.ask(f"/f/late-answer{PATH}x")
        first = json.loads((await client.answer())[1])
        await server.idle()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.reader.readexactly(1), 0.01)
        second = json.loads((await client.answer())[1])
        assert (first["data"]["id"], second["data"]["id"]) == ("x", "smuggled")


@pytest.mark.parametrize(("name", "ending"), [("stale-close", "fin"), ("stale-reset", "rst")])
async def test_a_kept_connection_ends_after_the_answer(name: str, ending: str) -> None:
    async with FaultServer(tick=0.02) as server:
        assert await fetch(server, name) == (good(b"x"), ending)
        assert server.total.hangups == 0


@pytest.mark.parametrize("end", ["fin", "rst"])
async def test_a_connection_is_dead_when_it_is_used_again(end: str) -> None:
    async with FaultServer() as server, connected(server) as client:
        client.ask(f"/f/stale-race-{end}{PATH}x")
        assert (await client.answer())[0] == 200
        client.ask(f"/f/stale-race-{end}{PATH}y")
        assert await client.rest() == (b"", end)


async def walk(client: Client, base: str, most: int = 20) -> tuple[list[str], list[int]]:
    """Read a list page by page; a page that fails is asked for again, once for each failure."""
    ids: list[str] = []
    statuses: list[int] = []
    cursor: str | None = ""
    while cursor is not None and len(statuses) < most:
        client.ask(f"/f/{base}{PATH.rstrip('/')}" + (f"?next={quote(cursor, safe='')}" if cursor else ""))
        status, body = await client.answer()
        statuses.append(status)
        if status == 200:
            found = json.loads(body)
            ids += [item["id"] for item in found["data"]]
            cursor = found.get("next") or None
    return ids, statuses


@pytest.mark.parametrize(
    ("base", "statuses"),
    [("ok", [200] * 3), ("page-fails-twice", [200, 503, 503, 200, 200]), ("status-503@1", [503, 200] * 3)],
)
async def test_a_list_has_three_pages_of_which_each_can_fail(base: str, statuses: list[int]) -> None:
    async with FaultServer() as server, connected(server) as client:
        assert await walk(client, base) == (list(ITEMS), statuses)
        assert server.stats(base, "page-1").requests == statuses.count(200) - 2 + (len(statuses) - 3) // (
            3 if base.endswith("@1") else 1
        )


@pytest.mark.parametrize("name", ODD_CURSORS)
async def test_a_cursor_must_come_back_exactly(name: str) -> None:
    async with FaultServer() as server, connected(server) as client:
        ids, statuses = await walk(client, f"cursor-{name}")
        assert (ids, statuses) == (list(ITEMS[:8]), [200, 200])
        client.ask(f"/f/cursor-{name}{PATH.rstrip('/')}?next={quote(ODD_CURSORS[name] + 'x')}")
        assert (await client.answer())[0] == 400


@pytest.mark.parametrize(
    ("name", "cursors"),
    [
        ("cursor-repeated", ["n-1"] * 6),
        ("cursor-cycle", ["n-1", "n-2", "n-3", "n-1", "n-2", "n-3"]),
        ("pages-endless", [f"n-{n}" for n in range(1, 7)]),
        ("pages-empty", [f"n-{n}" for n in range(1, 7)]),
    ],
)
async def test_lists_that_never_end(name: str, cursors: list[str]) -> None:
    async with FaultServer() as server, connected(server) as client:
        ids, _ = await walk(client, name, most=7)
        asked = [re.search(rb"next=(\S+)", head) for head in server.stats(name).heads]
        assert [match[1].decode() for match in asked if match] == cursors
        assert bool(ids) is (name != "pages-empty")


async def test_the_bomb_grows_a_thousandfold() -> None:
    async with FaultServer() as server, connected(server) as client:
        client.ask(f"/f/gzip-bomb{PATH}x")
        _, packed = await client.answer()
        assert BOMB < len(gzip.decompress(packed)) < BOMB + 100
        assert len(packed) < BOMB / 900


async def test_redirects_point_to_the_evil_server_which_counts_what_follows() -> None:
    async with EvilServer() as evil, FaultServer(evil_url=evil.url) as server:
        async with connected(server) as client:
            client.ask(f"/f/redirect-307{PATH}x")
            head = (await client.reader.readuntil(b"\r\n\r\n")).decode()
        assert f"location: {evil.url}/f/ok{PATH}x?token=in-the-query\r\n" in head
        assert evil.total.connections == 0
        assert (await fetch(evil, "ok", most=1))[0] == good(b"x")
        assert (evil.total.connections, evil.total.requests) == (1, 1)


async def test_thirty_hops_lead_to_a_good_answer() -> None:
    async with FaultServer() as server, connected(server) as client:
        target, hops = f"/f/redirect-hops{PATH}x", 0
        client.ask(target)
        while b" 302 " in (head := await client.reader.readuntil(b"\r\n\r\n")):
            await client.reader.readexactly(len(b"moved"))
            target, hops = head.partition(b"location: ")[2].partition(b"\r\n")[0].decode(), hops + 1
            client.ask(target)
        assert hops == HOPS
        assert head == GOOD_HEAD % len(body(b"x"))


async def test_the_huge_page_is_honest() -> None:
    async with FaultServer() as server, connected(server) as client:
        client.ask(f"/f/page-45mb{PATH.rstrip('/')}")
        _, whole = await client.answer()
        assert 44_000_000 < len(whole) < 46_000_000
        assert json.loads(whole)["data"][-1]["id"] == "last"
