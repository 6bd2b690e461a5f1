"""Cancelling a call, whatever it is doing: it ends at once, unchanged, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any, Literal

import anyio
import pytest

from stackone_lms import AsyncClient
from stackone_lms.engine.call import Engine
from stackone_lms.errors import APITimeoutError, StackOneError
from stackone_lms.options import RateLimit, RetryPolicy, Timeout

from . import FaultServer
from .sdk import HASTY, PATIENT, Carrier, assert_idle, client_for, engine_of

Phase = Literal["limiter", "slot", "pause", "connect", "tls", "headers", "body", "chunks", "backoff", "write"]
PHASES: tuple[Phase, ...] = (
    "limiter", "slot", "pause", "connect", "tls", "headers", "body", "chunks", "backoff", "write",
)  # fmt: skip
_SERVERS: dict[Phase, dict[str, Any]] = {
    "connect": {"accept": "hang"},
    "tls": {"accept": "stall", "scheme": "https"},
}
_FAULTS: dict[Phase, str] = {
    "headers": "never-answers",
    "body": "stall-body",
    "chunks": "stall-chunk",
    "backoff": "status-500",
    "slot": "never-answers",
    "write": "never-answers",
    "pause": "retry-after:1",
}
SLOW = RetryPolicy(base=50, cap=50, max_retry_after=60)


class Situation:
    """A call that is in a certain phase."""

    def __init__(self, client: AsyncClient, server: FaultServer, phase: Phase) -> None:
        self.client, self.server, self.phase = client, server, phase

    async def call(self) -> None:
        if self.phase == "write":
            await self.client.users.completions.create("u", learning_object_external_reference="x")
        else:
            await self.client.completions.get("x")

    async def reached(self) -> None:
        """Wait until the call is in its phase."""
        admission, server = engine_of(self.client).admission, self.server
        async with asyncio.timeout(5):
            while True:
                await asyncio.sleep(0.005)
                if self.phase in {"limiter", "slot"}:
                    ready = admission.waiting > 0
                elif self.phase in {"connect", "pause"}:
                    ready = True
                elif self.phase == "tls":
                    ready = server.total.connections > 0
                elif self.phase == "backoff":
                    ready = server.total.requests > 0 and admission.slots_used == 0
                else:
                    ready = server.total.in_flight > 0
                if ready:
                    await asyncio.sleep(0.03)
                    return


@asynccontextmanager
async def situation(carrier: Carrier, phase: Phase) -> AsyncGenerator[Situation]:
    options: dict[str, Any] = {"retry": SLOW, "timeout": PATIENT, "max_concurrency": 1 if phase == "slot" else 10}
    if phase == "limiter":
        options["rate_limit"] = RateLimit(1, per=50)
    async with (
        FaultServer(stall=120, **_SERVERS.get(phase, {})) as server,
        client_for(carrier, server.base_url(_FAULTS.get(phase, "ok"), 1), **options) as client,
    ):
        before: asyncio.Task[Any] | None = None
        if phase in {"slot", "pause"}:
            before = asyncio.create_task(client.completions.get("before"))
            while not server.total.requests or (phase == "pause" and engine_of(client).admission.slots_used):
                await asyncio.sleep(0)
        elif phase == "limiter":
            await client.completions.get("before")
        try:
            yield Situation(client, server, phase)
        finally:
            if before is not None:
                before.cancel()
                await asyncio.wait([before])


@asynccontextmanager
async def _once_reached(it: Situation, end: Callable[[], object]) -> AsyncGenerator[None]:
    """Call `end` when the call is in its phase, however long this machine takes to get there."""

    async def wait() -> None:
        await it.reached()
        end()

    waiting = asyncio.create_task(wait())
    try:
        yield
    finally:
        waiting.cancel()
        await asyncio.wait([waiting])


async def _settled(it: Situation) -> None:
    """Soon: no slot is taken by the call, nobody waits, and the server has seen the hang-up."""
    mine = 1 if it.phase == "slot" else 0
    async with asyncio.timeout(20):
        while it.server.total.in_flight > mine or engine_of(it.client).admission.slots_used > mine:
            await asyncio.sleep(0.001)
        if it.phase in {"headers", "body", "chunks", "write", "tls"}:
            while not it.server.total.hangups:
                await asyncio.sleep(0.001)
    assert engine_of(it.client).admission.waiting == 0


async def _works(it: Situation) -> None:
    """The same client goes on: the record that made trouble once is good now."""
    if it.phase in {"headers", "body", "chunks", "backoff"}:
        assert (await it.client.completions.get("x")).data.id == "x"
        assert_idle(it.client)


@pytest.mark.loop
@pytest.mark.parametrize("phase", PHASES)
async def test_task_cancel(carrier: Carrier, phase: Phase) -> None:
    """`CancelledError` comes out unchanged, with its message; the slot and the socket are given back."""
    async with situation(carrier, phase) as it:
        task = asyncio.create_task(it.call())
        await it.reached()
        assert not task.done()
        started = time.monotonic()
        task.cancel("by the test")
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        assert time.monotonic() - started < 4
        assert caught.value.args == ("by the test",)
        assert task.cancelled()
        await _settled(it)
        await _works(it)


@pytest.mark.parametrize("phase", PHASES)
async def test_asyncio_timeout(carrier: Carrier, phase: Phase) -> None:
    """The caller's own deadline is the caller's own `TimeoutError`, not one of the package."""
    async with situation(carrier, phase) as it:
        with pytest.raises(TimeoutError) as caught:
            async with asyncio.timeout(None) as limit, _once_reached(it, lambda: limit.reschedule(0)):
                await it.call()
        assert not isinstance(caught.value, StackOneError)
        await _settled(it)
        await _works(it)
        current = asyncio.current_task()
        assert current is not None
        assert current.cancelling() == 0


@pytest.mark.parametrize("phase", PHASES)
async def test_anyio_scope(carrier: Carrier, phase: Phase) -> None:
    """A cancel scope ends the call and lets the code behind it go on."""
    async with situation(carrier, phase) as it:
        async with _once_reached(it, lambda: scope.cancel()):  # noqa: PLW0108 (there is none yet)
            with anyio.CancelScope() as scope:
                await it.call()
                pytest.fail("the call ended by itself")
        assert scope.cancelled_caught
        await _settled(it)
        await _works(it)


async def test_a_task_group_that_fails_cancels_its_other_calls(carrier: Carrier) -> None:
    """The error that ended it is the only one in the group."""
    async with situation(carrier, "headers") as it:

        async def fail() -> None:
            await it.reached()
            raise ZeroDivisionError

        with pytest.raises(ExceptionGroup) as caught:
            async with asyncio.TaskGroup() as group:
                for _ in range(5):
                    group.create_task(it.call())
                group.create_task(fail())
        assert [type(error) for error in caught.value.exceptions] == [ZeroDivisionError]
        await _settled(it)


def _fire(core: Engine) -> None:
    """Make the deadline of every call pass in this very turn of the loop."""
    timer = core.deadlines
    for deadline in timer._deadlines:  # pyright: ignore[reportPrivateUsage]
        deadline.due = 0.0
    timer._look()  # pyright: ignore[reportPrivateUsage]


@pytest.mark.parametrize("first", ["deadline", "caller"])
@pytest.mark.parametrize("phase", ["headers", "slot", "backoff"])
async def test_a_cancellation_in_the_turn_of_a_deadline_wins(carrier: Carrier, phase: Phase, first: str) -> None:
    """Both want the task to end: the caller's wish must not be swallowed."""
    async with situation(carrier, phase) as it:
        task = asyncio.create_task(it.call())
        await it.reached()
        if first == "deadline":
            _fire(engine_of(it.client))
            task.cancel()
        else:
            task.cancel()
            _fire(engine_of(it.client))
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelled()


async def test_a_timeout_leaves_its_task_uncancelled(carrier: Carrier) -> None:
    """Deadlines cancel the task inside; nothing of that is left when the error comes out."""
    async with FaultServer(stall=120) as server:
        for timeout in (HASTY, Timeout(total=0.1), Timeout(attempt=0.1)):
            async with client_for(carrier, server.base_url("never-answers"), timeout=timeout) as client:
                with pytest.raises(APITimeoutError):
                    await client.completions.get("x")
                current = asyncio.current_task()
                assert current is not None
                assert current.cancelling() == 0
                await asyncio.sleep(0)


@pytest.mark.loop
async def test_many_cancellations_lose_no_slot(carrier: Carrier) -> None:
    """Ten slots, 200 calls cancelled at all moments: afterwards ten requests run side by side again."""
    async with (
        FaultServer(tick=0.005, stall=0.05) as server,
        client_for(carrier, server.base_url("narrow"), max_concurrency=10, retry=RetryPolicy(attempts=1)) as client,
    ):
        calls = [asyncio.create_task(client.completions.get(f"id-{n}")) for n in range(200)]
        for n, call in enumerate(calls):
            if n % 7 == 0:
                await asyncio.sleep(0.001)
            call.cancel()
        await asyncio.wait(calls)
        await server.idle()
        assert_idle(client)
    async with (
        FaultServer(stall=120) as server,
        client_for(carrier, server.base_url("never-answers"), max_concurrency=10) as client,
    ):
        calls = [asyncio.create_task(client.completions.get(f"id-{n}")) for n in range(30)]
        async with asyncio.timeout(30):
            while server.total.in_flight < 10:
                await asyncio.sleep(0.001)
        for _ in range(100):  # an eleventh would come within a few turns of the loop
            await asyncio.sleep(0)
        assert server.total.in_flight_peak == 10
        for call in calls:
            call.cancel()
        await asyncio.wait(calls)
        await server.idle()
        assert_idle(client)
