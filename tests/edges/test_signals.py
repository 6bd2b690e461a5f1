"""Processes that are stopped, and programs that are interrupted."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import Any

import pytest

from tests.faults.children import ended, program
from tests.transport.server import Peer, answer, serving

from ..soak import further

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there are no such signals here")

READ = 2.0
"""Seconds that the program waits for an answer."""
ASKING = f"""
    import sys
    from stackone_lms import RetryPolicy, SyncClient, Timeout

    url, transport = sys.argv[1:]
    limits, retry = Timeout(connect=60, read={READ}), RetryPolicy(attempts=1)
    with SyncClient("key", "a", base_url=url, transport=transport, timeout=limits, retry=retry) as client:
        made = client.users.completions.create("u", learning_object_external_reference="x")
        print("attempts", made.attempts)
"""
CREATED = b'{"statusCode":201,"message":"Created","timestamp":"2026-01-01T00:00:00.000Z","data":{"id":"n"}}'


@pytest.mark.thorough
@pytest.mark.parametrize("transport", ["lean", "aiohttp"])
async def test_an_answer_that_came_while_the_process_was_stopped_is_taken(transport: Any) -> None:
    """For longer than an answer may take; it was the process that was slow, not the server."""
    asked, stopped = asyncio.Event(), asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        asked.set()
        await stopped.wait()
        await peer.send(answer(CREATED, "201 Created"))
        await peer.wait_until_gone()

    async with serving(script) as server, program(ASKING, server.url, transport) as process:
        await asyncio.wait_for(asked.wait(), 60)
        os.kill(process.pid, signal.SIGSTOP)
        stopped.set()
        await asyncio.sleep(READ + 0.5)  # what is tested is that its clock went on
        assert not server.peers[0].gone.is_set()
        os.kill(process.pid, signal.SIGCONT)
        code, out, err = await ended(process, 60)
    assert (code, out) == (0, "attempts 1\n"), err


LOOKING_UP = """
    import os, socket, sys, time

    def hang(*_, **__):
        os.write(1, b"looking up\\n")
        time.sleep(120)

    socket.getaddrinfo = hang
    from stackone_lms.cli import main

    sys.exit(main())
"""


@pytest.mark.parametrize("number", [signal.SIGINT, *further(signal.SIGTERM)])
@pytest.mark.parametrize(
    "command", [("get", "users", "x"), *further((("list", "users"),))], ids=lambda command: command[0]
)
async def test_the_program_ends_while_a_name_server_never_answers(command: tuple[str, ...], number: int) -> None:
    options = ("--api-key", "k", "--account", "a", "--base-url", "https://nowhere.invalid")
    async with program(LOOKING_UP, *command, *options) as process:
        assert process.stdout is not None
        assert await asyncio.wait_for(process.stdout.readline(), 60) == b"looking up\n"
        process.send_signal(number)
        code, _, err = await ended(process, 30)
    assert (code, err.strip()) == (128 + number, "interrupted")
