"""What `progress=` is told."""

from __future__ import annotations

import asyncio
import threading
from itertools import pairwise

import pytest

from stackone_lms import RateLimit
from stackone_lms.bulk.progress import Progress
from stackone_lms.transport.base import Response
from tests.fake.fakes import now, virtual

from .server import ONCE, Server, blocking, client, ids, instantly, refuse


async def test_the_last_report_counts_everything() -> None:
    """done, failed, total and retries are exact at the end, and done never shrinks."""
    reports: list[Progress] = []

    def script(id: str, n: int) -> Response | None:
        if id == "id-7":
            return refuse(404)
        return refuse(503) if id in {"id-1", "id-2"} and n == 1 else None

    server = Server(script, latency=0.002)
    async with client(server) as of:
        async for _ in of.completions.get_many(ids(100), progress=reports.append, concurrency=2):
            pass
    last = reports[-1]
    assert (last.done, last.failed, last.total, last.retries, last.throttled) == (100, 1, 100, 2, 2)
    assert last.eta == 0.0
    done = [report.done for report in reports]
    assert done == sorted(done)


@virtual
async def test_it_is_called_ten_times_a_second_at_most() -> None:
    """However fast the outcomes come."""
    times: list[float] = []
    async with client(Server(latency=0.03), clock=now) as of:
        async for _ in of.completions.get_many(ids(2000), progress=lambda _: times.append(now())):
            pass
    assert len(times) >= 5
    assert all(later - sooner >= 0.099 for sooner, later in pairwise(times[:-1]))


async def test_it_is_called_while_nothing_comes() -> None:
    """A bar goes on living while all requests are slow."""
    reports: list[Progress] = []
    async with client(Server(latency=1.2)) as of:
        async for _ in of.completions.get_many(ids(2), progress=reports.append):
            pass
    assert sum(report.done == 0 for report in reports) >= 2


async def test_the_total_is_known_when_the_ids_are() -> None:
    """A list tells its length at once, a generator when it has been read to its end."""
    for some, known in ((ids(1500), True), ((id for id in ids(1500)), False)):
        reports: list[Progress] = []
        async with client(Server(latency=0.005)) as of:
            async for _ in of.completions.get_many(some, progress=reports.append, concurrency=20):
                pass
        assert len(reports) > 2
        assert reports[0].total == (1500 if known else None)
        assert (reports[0].eta is None) == (not known)
        assert reports[-1].total == 1500


async def test_the_eta_minds_the_rate_and_the_quota() -> None:
    """It is what is left, at the rate seen lately and no faster than the client-side limit allows."""
    reports: list[Progress] = []
    async with client(Server(), rate_limit=RateLimit(100, per=1.0, burst=60)) as of:
        async for _ in of.completions.get_many(ids(80), progress=reports.append):
            pass
    first = next(report for report in reports if report.done < 80)
    assert first.eta is not None
    assert first.eta >= (80 - first.done) * 1.02 / 100 - 0.01
    slow: list[Progress] = []
    async with client(Server(latency=0.05)) as of:
        async for _ in of.completions.get_many(ids(60), progress=slow.append, concurrency=5):
            pass
    middle = slow[len(slow) // 2]
    assert 60 < middle.rate < 160
    assert middle.eta == pytest.approx((60 - middle.done) / middle.rate)


async def test_what_it_raises_ends_the_fetch() -> None:
    """An error of the callback reaches the one who iterates, and the requests under way are cancelled."""

    def broken(_: Progress) -> None:
        raise ZeroDivisionError

    server = Server(latency=lambda _, one: 0.15 if one == "id-0" else 30.0)
    async with client(server) as of:
        with pytest.raises(ZeroDivisionError):
            async for _ in of.completions.get_many(ids(100), progress=broken):
                pass
        await asyncio.sleep(0)
        assert server.in_flight == 0


def test_the_blocking_client_calls_it_in_the_thread_that_iterates() -> None:
    """Never on the loop, so it may take its time, and may use the client."""
    here = threading.get_ident()
    reports: list[Progress] = []
    with blocking(Server(latency=0.3)) as of:

        def report(progress: Progress) -> None:
            assert threading.get_ident() == here
            assert of.stats().requests > 0
            reports.append(progress)

        assert len(list(of.completions.get_many(ids(40), progress=report))) == 40
    assert (reports[-1].done, reports[-1].total) == (40, 40)


def test_what_it_raises_ends_a_blocking_fetch_too() -> None:
    """And the client can go on."""

    def broken(_: Progress) -> None:
        raise ZeroDivisionError

    server = Server(latency=lambda _, one: 30.0 if one.startswith("id-") and one != "id-0" else 0.15)
    with blocking(server) as of:
        with pytest.raises(ZeroDivisionError):
            list(of.completions.get_many(ids(100), progress=broken))
        assert server.in_flight == 0
        assert of.completions.get("after").data.id == "after"


async def test_second_tries_are_not_counted_twice() -> None:
    """Each id is done once, also if it needed a second try."""
    reports: list[Progress] = []
    server = Server(lambda _, n: refuse(500) if n == 1 else None)
    async with client(server, retry=ONCE, sleep=instantly) as of:
        async for _ in of.completions.get_many(ids(50), progress=reports.append):
            pass
    assert (reports[-1].done, reports[-1].failed) == (50, 0)
