"""Every fault of the catalogue, met by the client: what it raises, how often it asks, and that it works on."""

from __future__ import annotations

import asyncio
import ssl
from collections import Counter
from typing import Any

import aiohttp
import pytest
from aiohttp.http_parser import HttpResponseParser

from stackone_lms import AsyncClient, errors
from stackone_lms.errors import APIStatusError, StackOneError

from . import CATALOGUE, ITEMS, Connection, Fault, FaultServer, Request
from .scripts import ok
from .sdk import (
    ATTEMPTS,
    HASTY,
    PATIENT,
    UNCONNECTED,
    Carrier,
    SkippingClock,
    assert_idle,
    assert_presentable,
    client_for,
)

SOME = 10
"""Items that are asked of a list without end."""
MAX_BODY = 1024 * 1024
SUBJECT = "subject"
"""The name under which a server has the fault of a test, so that the same client meets it and then does not."""
TICK = 0.02


class Switch:
    """A fault that can be switched off."""

    def __init__(self, fault: Fault) -> None:
        self.on = True
        self._fault = fault

    async def script(self, connection: Connection, request: Request) -> None:
        await (self._fault.script if self.on else ok)(connection, request)

    @property
    def fault(self) -> Fault:
        return Fault(SUBJECT, "-", "the fault of this test", "ok", None, self.script)


async def perform(client: AsyncClient, fault: Fault, server: FaultServer) -> None:
    """Make the calls that show the fault, and check what they return."""
    match fault.call:
        case "get":
            answer = await client.completions.get("x")
            assert answer.data.id == (None if fault.name in {"id-null", "id-missing"} else "x")
        case "sequence":
            for id in "abcd":
                answer = await client.completions.get(id)
                assert (answer.data.id, answer.data.remote_id) == (id, f"remote {id}")
                await server.idle()
                await asyncio.sleep(2 * TICK)
        case "list" | "list_some":
            found = await client.completions.list(max_empty_pages=300).collect(
                SOME if fault.call == "list_some" else None
            )
            assert {item.id for item in found} <= {*ITEMS, "5", None}
        case "write":
            await client.users.completions.create("u", learning_object_external_reference="x")


def asked(server: FaultServer) -> Counter[bytes]:
    """Count the requests of the fault, each by its first line."""
    return Counter(head.partition(b"\r\n")[0] for head in server.stats(SUBJECT).heads)


_PURE = HttpResponseParser.__module__ == "aiohttp.http_parser"
_PURE_ALSO = {
    "two-lengths": "ok",
    "status-line-http-9.9": "ok",
    **{fault.name: "ConnectionLostError" for fault in CATALOGUE if fault.name.startswith("not-http-")},
}
"""What aiohttp's parser in pure Python makes of some faults: it is more lenient, and waits for the end of a line."""


def is_expected(fault: Fault, error: StackOneError | None) -> bool:
    names = (fault.expect, *fault.also, _PURE_ALSO.get(fault.name, "") if _PURE else "")
    if error is None:
        return "ok" in names
    return any(isinstance(error, getattr(errors, name)) for name in names if name not in {"", "ok"})


def retries_of(fault: Fault) -> bool | int | None:
    return None if _PURE and fault.name in _PURE_ALSO else fault.retried


def tick_of(fault: Fault) -> float:
    """A trickle must not end while a loop that is held up puts off the limit of an attempt, three times at most."""
    return 5 * TICK if fault.name.startswith("trickle") else TICK


def options_for(fault: Fault) -> dict[str, Any]:
    return {"timeout": HASTY if fault.expect == "APITimeoutError" else PATIENT, "max_body": MAX_BODY}


async def outcome(client: AsyncClient, fault: Fault, server: FaultServer) -> StackOneError | None:
    try:
        await perform(client, fault, server)
    except StackOneError as error:
        return error
    return None


def _marked(fault: Fault) -> Any:
    """Mark what depends on the parser, and does not wait."""
    quick = fault.section in "-BCD" and fault.expect != "APITimeoutError"
    return pytest.param(fault, id=fault.name, marks=[pytest.mark.parser] if quick else [])


@pytest.mark.parametrize("fault", [_marked(f) for f in CATALOGUE if not f.server])
async def test_a_fault_of_an_answer(carrier: Carrier, fault: Fault) -> None:
    """The right class after the right number of requests; then the same client works, over another connection."""
    switch, clock = Switch(fault), SkippingClock()
    async with (
        FaultServer(stall=120, tick=tick_of(fault), more=[switch.fault]) as evil,
        FaultServer(stall=120, tick=tick_of(fault), more=[switch.fault], evil_url=evil.url) as server,
        client_for(carrier, server.base_url(SUBJECT), clock=clock, sleep=clock.sleep, **options_for(fault)) as client,
    ):
        error = await outcome(client, fault, server)
        requests = asked(server)
        assert is_expected(fault, error), repr(error)
        most = max(requests.values())
        retries = retries_of(fault)
        if isinstance(retries, bool):
            assert most == (ATTEMPTS if retries else 1), requests
        elif retries is not None and error is not None:
            assert most == 1 + retries, requests
        assert most <= ATTEMPTS
        if fault.call != "sequence":  # on a connection that was reset a request may not arrive
            assert len(clock.slept) == requests.total() - len(requests)
        if error is not None:
            assert_presentable(error)
            assert error.attempts == (0 if isinstance(error, errors.PaginationError) else most)
        await server.idle()
        assert_idle(client)

        switch.on = False
        before = server.total.connections
        answer = await client.completions.get("afterwards")
        assert answer.data.id == "afterwards"
        if error is not None:
            assert answer.attempts == 1
        if error is not None and not isinstance(error, APIStatusError | errors.PaginationError):
            assert server.total.connections == before + 1
        assert evil.total.connections == 0
        assert server.total.suspicious == []


_FOR_SESSIONS = [
    f for f in CATALOGUE if f.section in "BCD" and not f.server and not {"ok", "APITimeoutError"} & {f.expect, *f.also}
]


@pytest.mark.parametrize("fault", _FOR_SESSIONS, ids=lambda fault: fault.name)
async def test_a_fault_of_an_answer_to_a_session_of_the_callers_own(fault: Fault) -> None:
    """A session that was not made by the client changes neither the class nor the count."""
    switch, clock = Switch(fault), SkippingClock()
    async with (
        FaultServer(stall=120, tick=tick_of(fault), more=[switch.fault]) as server,
        aiohttp.ClientSession() as session,
        client_for(
            None,
            server.base_url(SUBJECT),
            session=session,
            clock=clock,
            sleep=clock.sleep,
            **options_for(fault),
        ) as client,
    ):
        error = await outcome(client, fault, server)
        assert is_expected(fault, error), repr(error)
        most = max(asked(server).values())
        if error is not None:
            assert_presentable(error)
            assert most == error.attempts
        if isinstance(retries := retries_of(fault), bool):
            assert most == (ATTEMPTS if retries else 1)
        await server.idle()


_LIMITS = {"connect-hangs": UNCONNECTED, "tls-stall": UNCONNECTED, "never-reads": HASTY}


@pytest.mark.loop
@pytest.mark.parametrize("fault", [f for f in CATALOGUE if f.server], ids=lambda fault: fault.name)
async def test_a_fault_of_connecting(carrier: Carrier, fault: Fault) -> None:
    """The right class after the right number of attempts, and no slot is lost."""
    clock = SkippingClock()
    async with FaultServer.of(fault, stall=120) as server:
        context = ssl.create_default_context(cadata=server.ca_pem)
        timeout = _LIMITS.get(fault.name, PATIENT)
        async with client_for(
            carrier,
            server.base_url(fault.name),
            context=context if server.url.startswith("https") else None,
            timeout=timeout,
            clock=clock,
            sleep=clock.sleep,
        ) as client:
            error = await outcome(client, fault, server)
            assert is_expected(fault, error), repr(error)
            attempts = 1 + len(clock.slept)
            if fault.retried is not None:
                assert attempts == (ATTEMPTS if fault.retried else 1)
            if server.total.connections:
                assert server.total.connections == attempts
            if error is not None:
                assert_presentable(error)
                assert error.attempts == attempts
            assert_idle(client)
        if fault.name != "https-to-http":
            assert server.total.suspicious == []
