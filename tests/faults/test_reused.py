"""Connections that are used again: dead ones, and ones with an answer on them that nobody asked for."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager, nullcontext, suppress

import pytest

from stackone_lms import AsyncClient
from stackone_lms.errors import ConnectionLostError, IdMismatchError, ProtocolError

from . import ITEMS, Connection, Fault, FaultServer, Request
from .messages import answer, dumps, item, page
from .scripts import Script, ok
from .sdk import Carrier, SkippingClock, assert_idle, assert_presentable, client_for

pytestmark = [pytest.mark.parser, pytest.mark.loop]

SMUGGLED = [f"smuggled-{n}" for n in range(4)]
TICK = 0.02


def fault(script: Script) -> Fault:
    return Fault("subject", "-", "the fault of this test", "ok", None, script)


async def warm_up(client: AsyncClient, server: FaultServer, count: int) -> None:
    """Fill the pool with that many connections."""
    await asyncio.gather(*(client.completions.get(f"warm-{n}") for n in range(count)))
    assert server.total.connections == count
    await server.idle()


@pytest.mark.parametrize("name", ["stale-race-fin", "stale-race-rst", "stale-many"])
async def test_a_pool_full_of_dead_connections_is_invisible(carrier: Carrier, name: str) -> None:
    """Every pooled connection dies when it is used: a retry does not go to the next dead one."""
    async with FaultServer() as server, client_for(carrier, server.base_url(name)) as client:
        await warm_up(client, server, 20)
        answers = await asyncio.gather(*(client.completions.get(f"id-{n}") for n in range(20)))
        assert [a.data.id for a in answers] == [f"id-{n}" for n in range(20)]
        assert max(a.attempts for a in answers) == 2
        assert_idle(client)


async def _all_closed(server: FaultServer) -> None:
    async with asyncio.timeout(20):
        while server.open:
            await asyncio.sleep(0.001)


@pytest.mark.parametrize("name", ["stale-close", "stale-reset"])
async def test_a_connection_that_ended_while_idle_is_not_used(carrier: Carrier, name: str) -> None:
    """The hang-up is seen before the request is written: no attempt is lost, and a POST goes through."""
    async with FaultServer(tick=TICK) as server, client_for(carrier, server.base_url(name)) as client:
        await warm_up(client, server, 3)
        await _all_closed(server)
        assert (await client.completions.get("x")).attempts == 1
        await _all_closed(server)
        created = await client.users.completions.create("u", learning_object_external_reference="x")
        assert created.attempts == 1
        assert server.total.commits == 1


async def test_a_post_that_met_a_dying_connection_is_not_repeated(carrier: Carrier) -> None:
    """The server may have worked on it before it hung up."""
    async with FaultServer() as server, client_for(carrier, server.base_url("stale-race-fin")) as client:
        await warm_up(client, server, 2)
        with pytest.raises(ConnectionLostError) as caught:
            await client.users.completions.create("u", learning_object_external_reference="x")
        assert caught.value.attempts == 1
        assert server.total.requests == 3
        assert_presentable(caught.value)


async def _late_page(connection: Connection, request: Request) -> None:
    """Send another page a tick after the last one."""
    await ok(connection, request)
    if request.cursor == "page-2":
        connection.done()
        await connection.wait(connection.settings.tick)
        await connection.send(answer(page(SMUGGLED, None)))


async def test_a_late_page_is_not_taken_for_the_next_list(carrier: Carrier) -> None:
    """A list has no id to check, so nothing may stand on the connection when it is asked for."""
    async with (
        FaultServer(tick=TICK, more=[fault(_late_page)]) as server,
        client_for(carrier, server.base_url("subject")) as client,
    ):
        for _ in range(3):
            found = await client.completions.list().collect()
            assert [i.id for i in found] == list(ITEMS)
            await asyncio.sleep(3 * TICK)
        assert server.total.connections == 3


_OTHER = answer(dumps({"statusCode": 201, "data": {"id": "smuggled"}}), 201)


def _late_write(split: int) -> Script:
    """Send the rest of another answer before the second, its first `split` bytes a tick after the first one."""

    async def script(connection: Connection, request: Request) -> None:
        if connection.requests == 1:
            await ok(connection, request)
            connection.done()
            await connection.wait(connection.settings.tick)
            await connection.send(_OTHER[:split])
        else:
            await connection.send(_OTHER[split:])
            await ok(connection, request)

    return script


@pytest.mark.parametrize("split", [len(_OTHER), len(_OTHER) - 5, 40])
async def test_a_late_answer_to_a_write_is_not_taken_for_the_next(carrier: Carrier, split: int) -> None:
    """Neither whole nor in part. Of one cut inside its head the connection may be used once more, in vain."""
    async with (
        FaultServer(tick=TICK, more=[fault(_late_write(split))]) as server,
        client_for(carrier, server.base_url("subject")) as client,
    ):
        await client.users.completions.create("u", learning_object_external_reference="x")
        await asyncio.sleep(3 * TICK)
        try:
            created = await client.users.completions.create("u", learning_object_external_reference="x")
        except ProtocolError:
            assert split == 40
        else:
            assert created.data is not None
            assert created.data.id == "made"
            assert server.total.connections == 2


def _early_write(split: int) -> Script:
    """Send the first `split` bytes of another answer together with the first one, and the rest before the second."""

    async def script(connection: Connection, request: Request) -> None:
        if connection.requests == 1:
            await connection.send(answer(dumps({"statusCode": 201, "data": {"id": "made"}}), 201) + _OTHER[:split])
        else:
            await connection.send(_OTHER[split:])
            await ok(connection, request)

    return script


@pytest.mark.parametrize("split", [len(_OTHER), len(_OTHER) - 5, 40, 3])
async def test_what_follows_an_answer_at_once_is_not_the_beginning_of_the_next(carrier: Carrier, split: int) -> None:
    """Bytes that the parser has taken in already are no longer in the socket: it has to be asked for them.

    aiohttp's documented methods do not show the beginning of an answer: there it is an error, and never a wrong answer.
    """
    async with (
        FaultServer(more=[fault(_early_write(split))]) as server,
        client_for(carrier, server.base_url("subject")) as client,
    ):
        unseen = False
        for attempt in range(2):
            unseen = carrier == "aiohttp" and split <= 40 and attempt == 1
            with pytest.raises(ProtocolError) if unseen else nullcontext():
                created = await client.users.completions.create("u", learning_object_external_reference="x")
                assert created.data is not None
                assert created.data.id == "made"
        if unseen:
            return
        assert (server.total.connections, server.total.requests) == (2, 2)


async def _one_behind(connection: Connection, request: Request) -> None:
    """Answer each request of a connection with what the one before asked for."""
    memory = connection.settings.memory
    before = memory[f"{id(connection)}"]
    memory[f"{id(connection)}"] = float(request.id or 0)
    await connection.send(answer(dumps({"data": item(f"{before:.0f}" if before else request.id), "raw": None})))


async def test_a_connection_that_is_one_answer_behind_never_gives_its_data_away(carrier: Carrier) -> None:
    """The id tells: the connection is dropped, and the record is asked for once more over a new one."""
    async with (
        FaultServer(more=[fault(_one_behind)]) as server,
        client_for(carrier, server.base_url("subject")) as client,
    ):
        assert (await client.completions.get("1")).attempts == 1
        second = await client.completions.get("2")
        assert (second.data.id, second.attempts) == ("2", 2)
        assert server.total.connections == 2


async def test_a_record_that_is_always_another_is_an_error_after_one_retry(carrier: Carrier) -> None:
    """Both ids are told; nothing is delivered, and each request had a connection of its own."""
    async with FaultServer() as server, client_for(carrier, server.base_url("id-other")) as client:
        with pytest.raises(IdMismatchError) as caught:
            await client.completions.get("x")
        assert (caught.value.expected, caught.value.received, caught.value.attempts) == ("x", "other", 2)
        assert server.total.connections == 2


@contextmanager
def _scripted(*answers: bytes) -> Generator[tuple[str, threading.Event, list[int]]]:
    """Serve connections in a thread: the first answer for the first request, the second right behind, unasked.

    Yields the URL, an event that is set when the second has been sent, and the number of requests of each connection.
    """
    sent = threading.Event()
    requests: list[int] = []
    body = b'{"data":{"id":"%s"}}'

    def serve(peer: socket.socket) -> None:
        with peer, suppress(ConnectionError):
            requests.append(0)
            mine = len(requests) - 1
            while data := peer.recv(65_536):
                requests[mine] += 1
                asked = data.partition(b" HTTP")[0].rpartition(b"/")[2]
                whole = body % asked
                peer.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(whole), whole))
                if not sent.is_set():
                    time.sleep(0.05)
                    peer.sendall(b"".join(answers))
                    sent.set()

    def listen() -> None:
        while True:
            try:
                peer, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(peer,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=listen, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}", sent, requests
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(5)


async def test_what_the_event_loop_has_not_read_yet_is_seen_too(carrier: Carrier) -> None:
    """The late answer is in the kernel when the next request is about to be written, in the same turn of the loop."""
    smuggled = dumps({"data": [item("smuggled")], "next": None})
    with _scripted(answer(smuggled)) as (url, sent, requests):
        clock = SkippingClock()
        async with client_for(carrier, url, clock=clock, sleep=clock.sleep) as client:
            assert (await client.completions.get("x")).data.id == "x"
            assert sent.wait(5)
            # No turn of the loop since the first answer, only since the second was sent.
            found = await client.completions.get("y")
            assert (found.data.id, found.attempts) == ("y", 1)
        assert requests == [1, 1]


async def test_cookies_are_neither_kept_nor_sent(carrier: Carrier) -> None:
    """Asked under a name, since cookie jars keep nothing for addresses."""
    async with FaultServer() as server:
        url = server.base_url("set-cookie").replace("127.0.0.1", "localhost")
        async with client_for(carrier, url) as client:
            for id in "abc":
                assert (await client.completions.get(id)).data.id == id
        assert server.total.requests == 3
        assert server.total.suspicious == []
        assert not any(b"\r\ncookie:" in head.lower() for head in server.total.heads)
