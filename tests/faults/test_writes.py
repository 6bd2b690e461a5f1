"""Writes whose effect may have happened: never twice, unless twice is the same as once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from stackone_lms import AsyncClient
from stackone_lms.errors import APITimeoutError, ConnectionLostError, InternalServerError, StackOneError

from . import FaultServer
from .sdk import ATTEMPTS, HASTY, LEAN_FIRST, Carrier, SkippingClock, assert_presentable, client_for

Call = Callable[[AsyncClient], Coroutine[Any, Any, Any]]

pytestmark = pytest.mark.filterwarnings("ignore:.* left the StackOne API:DeprecationWarning")

ONCE: dict[str, Call] = {
    "create completion": lambda c: c.users.completions.create("u", learning_object_external_reference="x"),
    "create assignment": lambda c: c.users.assignments.create("u", learning_object_external_reference="x"),
    "create collection": lambda c: c.collections.create(title="x"),
    "update content": lambda c: c.content.update("x", external_reference="x"),
    "update collection": lambda c: c.collections.update("x", title="x"),
}
"""What has another effect when it is sent twice."""
AGAIN: dict[str, Call] = {
    "upsert content": lambda c: c.content.upsert(external_reference="x"),
    "upsert course": lambda c: c.courses.upsert(external_reference="x"),
    "batch content": lambda c: c.content.batch_upsert([{"external_reference": "x"}]),
    "batch courses": lambda c: c.courses.batch_upsert([{"external_reference": "x"}]),
    "delete completion": lambda c: c.users.completions.delete("u", "x"),
}
"""What is keyed by `external_reference`, or gone after the first time."""
AFTER_THE_DEED = (
    "commit-then-cut",
    "commit-then-fin",
    "commit-then-cut-body",
    "commit-then-500",
    "commit-then-502",
    "commit-then-503",
    "commit-then-408",
    "commit-then-stall",
)


def hurried(carrier: Carrier, url: str) -> AsyncClient:
    clock = SkippingClock()
    return client_for(carrier, url, timeout=HASTY, clock=clock, sleep=clock.sleep)


@pytest.mark.parametrize("name", [*AFTER_THE_DEED, "commit-then-garbage"])
async def test_a_write_that_may_have_happened_is_not_sent_again(carrier: Carrier, name: str) -> None:
    """One request and one effect each; the error says that it was one attempt."""
    async with FaultServer(stall=120) as server, hurried(carrier, server.base_url(name)) as client:
        for count, call in enumerate(ONCE.values(), 1):
            with pytest.raises(StackOneError) as caught:
                await call(client)
            assert caught.value.attempts == 1
            assert (server.total.requests, server.total.commits) == (count, count)
            assert_presentable(caught.value)
        assert server.total.suspicious == []


@pytest.mark.parametrize("name", AFTER_THE_DEED)
async def test_what_may_be_done_twice_is_sent_until_it_is_answered(carrier: Carrier, name: str) -> None:
    """An upsert, a batch of upserts and a delete go on after any failure that may pass."""
    async with FaultServer(stall=120) as server, hurried(carrier, server.base_url(name, 2)) as client:
        for count, call in enumerate(AGAIN.values(), 1):
            # The keys of the counters are the paths' last ids, so those of collections are shared.
            before = server.total.requests
            await call(client)
            assert server.total.commits == server.total.requests <= count * ATTEMPTS
            assert server.total.requests >= before + 1
        assert server.total.requests > len(AGAIN)
        assert server.total.suspicious == []


@pytest.mark.parametrize("name", ["commit-then-500", "rst-nothing"])
@pytest.mark.parametrize("call", AGAIN)
async def test_a_repeatable_write_is_sent_as_often_as_a_read(carrier: Carrier, name: str, call: str) -> None:
    async with FaultServer(stall=120) as server, hurried(carrier, server.base_url(name)) as client:
        with pytest.raises((InternalServerError, ConnectionLostError)) as caught:
            await AGAIN[call](client)
        assert caught.value.attempts == server.total.requests == ATTEMPTS


_UNKEYED: dict[str, Call] = {
    "content": lambda c: c.content.upsert({"title": "no reference"}),
    "batch": lambda c: c.content.batch_upsert([{"external_reference": "x"}, {"title": "no reference"}]),
    "course": lambda c: c.courses.upsert(title="no reference"),
}


@pytest.mark.parametrize("call", _UNKEYED)
async def test_an_upsert_without_its_reference_is_a_creation(carrier: Carrier, call: str) -> None:
    """Nothing would tell the server that the second is the first again: it is sent once, or not at all."""
    async with FaultServer() as server, hurried(carrier, server.base_url("commit-then-500")) as client:
        with pytest.raises(StackOneError):
            await _UNKEYED[call](client)
        assert server.total.commits <= 1


@pytest.mark.parametrize("call", [*ONCE, *AGAIN])
async def test_a_write_that_was_turned_away_is_sent_again(carrier: Carrier, call: str) -> None:
    """A 429 comes before anything is done."""
    async with FaultServer() as server, hurried(carrier, server.base_url("write-429")) as client:
        with pytest.raises(StackOneError):
            await {**ONCE, **AGAIN}[call](client)
        assert (server.total.requests, server.total.commits) == (ATTEMPTS, 0)


@pytest.mark.parametrize("call", [*ONCE, *AGAIN])
async def test_a_write_that_is_refused_is_not(carrier: Carrier, call: str) -> None:
    async with FaultServer() as server, hurried(carrier, server.base_url("write-400")) as client:
        with pytest.raises(StackOneError) as caught:
            await {**ONCE, **AGAIN}[call](client)
        assert (server.total.requests, server.total.commits, caught.value.attempts) == (1, 0, 1)


@pytest.mark.parametrize("call", [*ONCE, *AGAIN])
async def test_a_write_that_goes_well_has_one_effect(carrier: Carrier, call: str) -> None:
    async with FaultServer() as server, hurried(carrier, server.base_url("write-ok")) as client:
        await {**ONCE, **AGAIN}[call](client)
        assert (server.total.requests, server.total.commits) == (1, 1)
        assert server.total.suspicious == []


@LEAN_FIRST
async def test_a_large_write_that_the_server_does_not_read_ends_in_time(carrier: Carrier) -> None:
    """The limit of an attempt holds while the body is being sent, too."""
    async with FaultServer(accept="stall", stall=120) as server, hurried(carrier, server.url) as client:
        with pytest.raises(APITimeoutError) as caught:
            await client.content.batch_upsert([{"external_reference": "x" * 1000}] * 9_000)
        assert_presentable(caught.value)
        assert 1 <= caught.value.attempts <= ATTEMPTS
        await client.aclose()
        async with asyncio.timeout(20):
            while server.total.hangups < server.total.connections:
                await asyncio.sleep(0.001)
