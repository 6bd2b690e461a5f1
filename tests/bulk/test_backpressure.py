"""Back-pressure, memory, breaking off, and stopping early."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from random import Random
from typing import Any

import pytest

from stackone_lms import RetryPolicy
from stackone_lms.errors import (
    AuthenticationError,
    ClientClosedError,
    ConnectError,
    InternalServerError,
    NotSupportedError,
    PreconditionFailedError,
    StackOneError,
    TLSError,
)
from stackone_lms.transport.base import Response, TransportError
from tests.fake.fakes import now, virtual
from tests.soak import further

from .server import ONCE, Server, client, ids, instantly, refuse


def endless() -> Iterator[str]:
    n = 0
    while True:
        yield f"id-{n}"
        n += 1


@pytest.mark.parametrize("ordered", [False, True])
@virtual
async def test_a_slow_consumer_stops_the_fetching(ordered: bool) -> None:
    """No more than 512 outcomes are fetched ahead of the one who takes them."""
    server = Server()
    async with (
        client(server, clock=now) as of,
        aclosing(of.completions.get_many(endless(), ordered=ordered)) as outcomes,
    ):
        await anext(outcomes)
        await asyncio.sleep(0.1)
        assert server.gets == 512 + 1
        for _ in range(400):
            await anext(outcomes)
        await asyncio.sleep(0.1)
        assert 401 < server.gets <= 512 + 401


@virtual
async def test_an_order_waits_for_its_head_within_bounds() -> None:
    """While the first id is slow, no more than 512 others are fetched."""
    go = asyncio.Event()

    class Slow(Server):
        async def send(self, request: Any, limits: Any) -> Response:
            if request.path.endswith("/id-0"):
                await go.wait()
            return await super().send(request, limits)

    server = Slow()
    async with client(server, clock=now) as of, aclosing(of.completions.get_many(endless(), ordered=True)) as outcomes:
        first = asyncio.ensure_future(anext(outcomes))
        await asyncio.sleep(0.1)
        assert server.gets == 511
        go.set()
        assert (await first).id == "id-0"
        assert [(await anext(outcomes)).id for _ in range(600)] == [f"id-{n}" for n in range(1, 601)]


@pytest.mark.parametrize("close", ["aclose", "break", "cancel"])
async def test_breaking_off_cancels_what_is_under_way(close: str) -> None:
    """Leaving the loop early ends the requests under way, and nobody complains of results never retrieved."""
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    server = Server(latency=lambda _, one: 0.0 if one == "id-0" else 30.0)
    async with client(server) as of:
        if close == "aclose":
            async with aclosing(of.completions.get_many(endless())) as outcomes:
                async for _ in outcomes:
                    break
        elif close == "break":
            async for _ in of.completions.get_many(endless()):
                break
        else:

            async def consume() -> None:
                async for _ in of.completions.get_many(endless()):
                    pass

            task = asyncio.create_task(consume())
            await asyncio.sleep(0.05)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        for _ in range(5):
            await asyncio.sleep(0)
        assert server.in_flight == 0
        assert server.cancelled >= 15
        assert of.stats().in_flight == of.stats().waiting == 0
        assert (await of.completions.get("id-0")).data.id == "id-0"
    gc.collect()
    await asyncio.sleep(0)
    assert not complaints
    assert len(asyncio.all_tasks()) == 1


@virtual
async def test_an_iterator_that_is_never_used_costs_nothing() -> None:
    """Calling `get_many` does nothing before the first outcome is asked for."""
    server = Server()
    async with client(server) as of:
        of.completions.get_many(endless())
        await asyncio.sleep(0.01)
    assert server.gets == 0


@pytest.mark.parametrize("every", [1_000, *further(5_000)])
async def test_memory_stays_flat(every: int) -> None:
    """Six times as many ids take no more memory."""
    server = Server()
    async with client(server) as of:
        peaks: list[int] = []
        outcomes = of.completions.get_many(f"id-{n}" for n in range(6 * every))
        tracemalloc.start()
        try:
            seen = 0
            async for _ in outcomes:
                seen += 1
                server.fetched.clear()
                if seen % every == 0:
                    peaks.append(tracemalloc.get_traced_memory()[1])
                    tracemalloc.reset_peak()
        finally:
            tracemalloc.stop()
    assert seen == 6 * every
    assert peaks[-1] < peaks[0] * 1.2
    assert peaks[-1] < 8 * 1024 * 1024


@virtual
async def test_tasks_are_workers_not_ids() -> None:
    """There is a task a worker, not a task an id."""
    async with client(Server(latency=0.002), clock=now) as of:
        most = 0
        async for _ in of.completions.get_many(ids(400), concurrency=7):
            most = max(most, len(asyncio.all_tasks()))
    assert most <= 7 + 1


def _unreachable(*_: Any) -> Exception:
    return TransportError(ConnectError("refused"), request_sent=False)


@pytest.mark.parametrize("ordered", [False, True])
async def test_an_outage_stops_the_fetch_and_says_what_is_missing(ordered: bool) -> None:
    """After 200 transient failures in a row the error is raised, and `pending` plus the rest of the ids is the rest."""
    up = True
    server = Server(lambda one, n: None if up else _unreachable())
    rest = iter(ids(3000))
    done: list[str] = []
    async with client(server, retry=ONCE) as of:
        with pytest.raises(ConnectError) as caught:
            async for outcome in of.completions.get_many(rest, ordered=ordered):
                done.append(outcome.id)
                assert outcome.ok
                up = len(done) < 1000
        stop = caught.value
        left = [*stop.pending, *rest]
        assert stop.retryable
        assert any(".pending" in note for note in stop.__notes__)
        assert 200 <= server.gets - len(done) <= 200 + 512
        assert sorted(done + left) == sorted(ids(3000))
        up = True
        again = [o.id async for o in of.completions.get_many(left)]
    assert sorted(done + again) == sorted(ids(3000))


async def test_failures_that_successes_interrupt_are_no_outage() -> None:
    """Only failures in a row count: with one success in a hundred the fetch goes on to its end."""
    count = 0

    def script(_id: str, _n: int) -> Response | None:
        nonlocal count
        count += 1
        return None if count % 100 == 0 else refuse(500)

    async with client(Server(script), retry=ONCE, sleep=instantly) as of:
        outcomes = [o async for o in of.completions.get_many(ids(1000))]
    assert len(outcomes) == 1000


async def test_a_silent_outage_stops_the_fetch_by_time() -> None:
    """Twenty failures in a row are enough when nothing has succeeded for five minutes."""
    now = 0.0

    def clock() -> float:
        return now

    def script(_id: str, _n: int) -> Response:
        nonlocal now
        now += 20.0
        return refuse(500)

    server = Server(script)
    async with client(server, retry=ONCE, clock=clock) as of:
        with pytest.raises(InternalServerError) as caught:
            [o async for o in of.completions.get_many(ids(100), concurrency=1)]
    assert server.gets == 20
    assert len(caught.value.pending) == 20


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (refuse(401), AuthenticationError),
        (refuse(412, errorCode="AccountIntegrationInactiveError"), PreconditionFailedError),
        (refuse(501), NotSupportedError),
        (TransportError(TLSError("unknown CA"), request_sent=False, max_retries=0), TLSError),
    ],
)
async def test_what_every_id_would_meet_stops_the_fetch(
    answer: Response | Exception, kind: type[StackOneError]
) -> None:
    """A refused key or account stops the fetch at once; outcomes that are ready come first, ids are not used up."""
    server = Server(lambda one, _: answer if one == "id-50" else None)
    rest = iter(ids(5000))
    done: list[str] = []
    async with client(server) as of:
        with pytest.raises(kind) as caught:
            async for outcome in of.completions.get_many(rest):
                done.append(outcome.id)
    assert "id-50" in caught.value.pending
    assert server.gets < 600
    assert sorted([*done, *caught.value.pending, *rest]) == sorted(ids(5000))


@virtual
async def test_closing_the_client_ends_the_fetch() -> None:
    """`aclose` during a fetch: ClientClosedError, with the ids that have no outcome."""
    server = Server(latency=0.01)
    of = client(server, clock=now)
    rest = iter(ids(5000))
    done: list[str] = []

    async def consume() -> None:
        async for outcome in of.completions.get_many(rest):
            done.append(outcome.id)

    task = asyncio.create_task(consume())
    await asyncio.sleep(0.03)
    await of.aclose()
    with pytest.raises(ClientClosedError) as caught:
        await asyncio.wait_for(task, 2)
    assert done
    assert sorted([*done, *caught.value.pending, *rest]) == sorted(ids(5000))


async def test_an_unforeseen_error_of_a_transport_reaches_the_consumer() -> None:
    """A bug below is raised where one iterates, not lost in a task."""

    class Broken(Server):
        async def send(self, request: Any, limits: Any) -> Response:
            raise ZeroDivisionError

    async with client(Broken()) as of:
        with pytest.raises(ZeroDivisionError):
            [o async for o in of.completions.get_many(ids(10))]


@virtual
async def test_two_fetches_at_once_do_not_disturb_each_other() -> None:
    """Fetches of one client share its limits and nothing else."""
    server = Server(latency=0.001)
    async with client(server, max_concurrency=10, clock=now) as of:

        async def fetch(prefix: str) -> list[str]:
            return [o.id async for o in of.completions.get_many(f"{prefix}-{n}" for n in range(300))]

        one, two = await asyncio.gather(fetch("one"), fetch("two"))
    assert sorted(one) == sorted(f"one-{n}" for n in range(300))
    assert sorted(two) == sorted(f"two-{n}" for n in range(300))
    assert server.peak == 10


@virtual
async def test_ids_fetched_inside_the_loop_over_others() -> None:
    """A fetch may be fed by another, a page at a time, and calls may be made while iterating."""
    async with client(Server(latency=0.0005), clock=now) as of:

        async def outer() -> AsyncIterator[str]:
            async for outcome in of.completions.get_many(ids(50)):
                yield f"{outcome.id}-detail"

        got = [o.id async for o in of.completions.get_many(outer())]
    assert sorted(got) == sorted(f"{id}-detail" for id in ids(50))


@virtual
async def test_those_who_sleep_before_a_retry_leave_their_places_to_others() -> None:
    """A server that takes as long to refuse as to answer is kept busy while many wait for their next attempt."""

    class Slow(Server):
        async def _answer(self, account: str, id: str, query: str) -> Response:
            if self.in_flight > 8:
                await asyncio.sleep(0.05)
                return refuse(503)
            return await super()._answer(account, id, query)

    done, begun, rate = 0, 0.0, 0.0
    retry = RetryPolicy(attempts=8, throttle_base=4.0)
    async with client(Slow(latency=0.05), retry=retry, clock=now, random=Random(1).random) as of:
        async for outcome in of.completions.get_many(ids(1500)):
            assert outcome.ok
            done += 1
            if done == 100:
                begun = now()
            if done == 1300:
                rate = 1200 / (now() - begun)
    assert rate >= 0.8 * 8 / 0.05
