"""Answers without end or measure: refused at the cap, in flat memory, with the connection closed."""

from __future__ import annotations

import json

import pytest

from stackone_lms import errors

from . import FaultServer
from .children import run
from .sdk import ATTEMPTS, LEAN_FIRST, Carrier, client_for

MIB = 2**20
CAP = 8 * MIB
ENDLESS = (
    "chunked-endless",
    "eof-body-endless",
    "body-1gib",
    "gzip-bomb",
    "page-45mb",
    "headers-100k",
    "header-1mib",
    "header-endless",
    "headers-endless",
    "trailers-endless",
    "error-64mib",
    "gzip-members",
    "deep",
    "deep-unknown",
)

_MEASURE = """
import asyncio, json, resource, sys
from tests.faults import CATALOGUE, FaultServer
from tests.faults.sdk import assert_presentable, client_for
from tests.faults.test_catalogue_client import outcome

carrier, cap, *names = sys.argv[1:]

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

async def main():
    grown = {}
    faults = {fault.name: fault for fault in CATALOGUE}
    async with FaultServer(stall=120) as server:
        for name in ["ok", *names]:
            faults[name].script  # a missing name is an error
            async with client_for(carrier, server.base_url(name), max_body=int(cap)) as client:
                before = peak()
                error = await outcome(client, faults[name], server)
                grown[name] = (peak() - before, type(error).__name__, server.stats(name).bytes_sent)
            await server.idle(5)
    print(json.dumps(grown))

asyncio.run(main())
"""


@LEAN_FIRST
async def test_memory_stays_flat(carrier: Carrier) -> None:
    """No answer costs more than the cap and a little, and the server is not read much further than the cap."""
    finished = await run(_MEASURE, carrier, str(CAP), *ENDLESS, within=60)
    assert finished.err == ""
    grown = json.loads(finished.out)
    assert set(grown) == {"ok", *ENDLESS}
    assert grown["ok"][1] == "NoneType"
    for name, (peak, _, sent) in grown.items():
        assert peak < CAP + 30 * MIB, (name, peak)
        # The kernel holds up to about 8 MiB that nobody reads.
        assert sent < ATTEMPTS * (CAP + 8 * MIB), (name, sent)
    assert sum(peak for peak, _, _ in grown.values()) < 2 * CAP + 60 * MIB


@pytest.mark.parametrize("size", [100_000, 1_000_000])
@pytest.mark.parametrize("name", ["chunked-endless", "body-1gib", "gzip-bomb"])
async def test_the_cap_is_the_clients_own(carrier: Carrier, name: str, size: int) -> None:
    """`max_body` counts decompressed bytes, and the message names it."""
    async with (
        FaultServer(stall=120) as server,
        client_for(carrier, server.base_url(name), max_body=size) as client,
    ):
        with pytest.raises(errors.ResponseTooLargeError, match=rf"{size} bytes \(max_body\)") as caught:
            await client.completions.get("x")
        assert caught.value.attempts == 1
        await server.idle()
        assert server.total.requests == 1


@pytest.mark.parametrize("room", [0, 1])
async def test_the_cap_is_exact(carrier: Carrier, room: int) -> None:
    """A body as large as the cap passes, one byte more does not; with and without a declared length."""
    async with FaultServer() as server:
        async with client_for(carrier, server.base_url("ok")) as client:
            size = len((await client.completions.get("x")).body)
        for name in ("ok", "chunked", "eof-body", "gzip"):
            async with client_for(carrier, server.base_url(name), max_body=size - room) as client:
                if room:
                    with pytest.raises(errors.ResponseTooLargeError):
                        await client.completions.get("x")
                else:
                    assert (await client.completions.get("x")).data.id == "x"


async def test_a_declared_length_is_refused_before_the_body_comes(carrier: Carrier) -> None:
    """The server falls silent after the head; nobody waits for the rest."""
    async with FaultServer(stall=120) as server, client_for(carrier, server.base_url("content-length-1e15")) as client:
        with pytest.raises(errors.ResponseTooLargeError):
            await client.completions.get("x")
        await server.idle()
        assert server.total.hangups == 1


async def test_of_a_huge_error_body_the_beginning_is_read(carrier: Carrier) -> None:
    """64 KiB tell enough about what went wrong; the status counts."""
    async with FaultServer(stall=120) as server, client_for(carrier, server.base_url("error-64mib")) as client:
        with pytest.raises(errors.NotFoundError) as caught:
            await client.completions.get("x")
        assert caught.value.body == "x" * 65_536
        await server.idle()
        assert server.total.bytes_sent < 16 * MIB
