"""`get_many` of the blocking client."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stackone_lms.calls.operation import SyncExecutor, executor_of
from stackone_lms.errors import AuthenticationError, ClientClosedError, ConnectError
from stackone_lms.transport.base import Response, TransportError

from .server import ONCE, Server, blocking, ids, refuse


@pytest.mark.parametrize("ordered", [False, True])
def test_every_id_gets_one_outcome(ordered: bool) -> None:
    """As with the asynchronous client."""
    server = Server()
    with blocking(server) as of:
        outcomes = list(of.completions.get_many(ids(2000), ordered=ordered))
    assert sorted(o.id for o in outcomes) == sorted(ids(2000))
    assert all(o.unwrap().data.id == o.id for o in outcomes)
    assert set(server.fetched.values()) == {1}
    if ordered:
        assert [o.id for o in outcomes] == ids(2000)


@pytest.mark.parametrize(("latency", "count", "most"), [(0.0, 5000, 100), (0.004, 600, 70)])
def test_outcomes_cross_the_threads_in_batches(
    monkeypatch: pytest.MonkeyPatch, latency: float, count: int, most: int
) -> None:
    """There is a change of thread for hundreds of outcomes, or for those of ten milliseconds, not one for each."""
    server = Server(latency=lambda _, one: latency * (1 + int(one[3:]) % 7 / 7))
    hops = 0
    with blocking(server) as of:
        bridge = type(executor_of(of))
        run = bridge.run

        def counting(self: SyncExecutor, *args: Any) -> Any:
            nonlocal hops
            hops += 1
            return run(self, *args)

        monkeypatch.setattr(bridge, "run", counting)
        assert len(list(of.completions.get_many(ids(count), concurrency=8))) == count
    assert hops < most


def test_a_slow_answer_does_not_wait_for_a_batch_to_fill() -> None:
    """What is there is delivered, within about ten milliseconds."""
    with blocking(Server(latency=lambda _, one: 0.0 if one == "id-0" else 30.0)) as of:
        begun = time.perf_counter()
        outcomes = of.completions.get_many(ids(3))
        assert next(outcomes).id == "id-0"
        assert time.perf_counter() - begun < 5
        outcomes.close()


def test_generators_run_in_the_callers_thread() -> None:
    """The caller's generator is moved on in the thread that iterates, so it may use the client itself."""
    here = threading.get_ident()
    with blocking(Server()) as of:

        def source() -> Iterator[str]:
            for id in ids(50):
                assert threading.get_ident() == here
                yield of.completions.get(id).data.id or ""

        assert len(list(of.completions.get_many(source()))) == 50


def test_a_slow_generator_gets_its_outcomes_soon() -> None:
    """A generator that takes its time is not read hundreds of ids ahead before the first outcome."""
    read = 0

    def source() -> Iterator[str]:
        nonlocal read
        for id in ids(100):
            time.sleep(0.01)
            read += 1
            yield id

    with blocking(Server()) as of:
        iterator = of.completions.get_many(source())
        next(iterator)
        assert read < 10
        iterator.close()


def test_a_slow_consumer_stops_the_fetching() -> None:
    """No more than 512 outcomes, and the batch of 256 that has been brought over, are fetched ahead."""
    server = Server()
    with blocking(server) as of:
        iterator = of.completions.get_many(f"id-{n}" for n in range(100_000))
        next(iterator)
        time.sleep(0.2)
        assert server.gets <= 512 + 256
        iterator.close()


@pytest.mark.parametrize("how", ["close", "break", "garbage", "raise"])
def test_breaking_off_cancels_what_is_under_way(how: str) -> None:
    """Leaving the loop early ends the requests under way; the client can go on."""
    server = Server(latency=lambda _, one: 0.0 if one == "id-0" else 30.0)
    with blocking(server) as of:
        iterator = of.completions.get_many(ids(1000))
        if how == "break":
            for _ in iterator:
                break
            iterator.close()
        elif how == "raise":
            with pytest.raises(ZeroDivisionError):
                for _ in iterator:
                    raise ZeroDivisionError
            iterator.close()
        else:
            next(iterator)
            if how == "close":
                iterator.close()
            else:
                cycle: list[Any] = [iterator]
                cycle.append(cycle)
                del iterator, cycle
                gc.collect()
        assert of.completions.get("id-0").data.id == "id-0"
        deadline = time.monotonic() + 2
        while server.in_flight and time.monotonic() < deadline:
            time.sleep(0.01)
        assert server.in_flight == 0
        assert server.cancelled >= 15


def test_an_iterator_collected_on_the_loops_own_thread_cancels_its_tasks() -> None:
    """Garbage collection may happen in any thread, also in that of the loop, where nobody can wait."""
    server = Server(latency=lambda _, one: 0.0 if one == "id-0" else 30.0)
    with blocking(server) as of:
        iterator = of.completions.get_many(ids(100))
        next(iterator)
        held: list[Any] = [iterator]
        del iterator

        async def drop() -> None:
            held.clear()

        executor_of(of).run(drop)
        of.completions.get("id-0")
        assert server.in_flight == 0


def test_an_early_stop_is_raised_after_the_outcomes_that_are_ready() -> None:
    """A refused key raises, and ids that were brought over and not fetched are pending, too."""
    server = Server(lambda one, _: refuse(401) if one == "id-300" else None)
    rest = iter(ids(5000))
    done: list[str] = []
    with blocking(server) as of, pytest.raises(AuthenticationError) as caught:
        for outcome in of.completions.get_many(rest):
            done.append(outcome.id)
    assert sorted([*done, *caught.value.pending, *rest]) == sorted(ids(5000))


def test_an_outage_stops_the_fetch() -> None:
    """The same rule as with the asynchronous client."""
    server = Server(lambda _one, _n: TransportError(ConnectError("refused"), request_sent=False))
    rest = iter(ids(5000))
    with blocking(server, retry=ONCE) as of, pytest.raises(ConnectError) as caught:
        list(of.completions.get_many(rest))
    assert sorted([*caught.value.pending, *rest]) == sorted(ids(5000))
    assert server.gets < 600


def test_a_closed_client_says_so() -> None:
    """Before and during the iteration."""
    of = blocking(Server(latency=0.01))
    iterator = of.completions.get_many(ids(5000))
    next(iterator)
    of.close()
    with pytest.raises(ClientClosedError):
        list(iterator)
    with pytest.raises(ClientClosedError):
        next(of.completions.get_many(ids(5)))


def test_many_threads_share_a_client() -> None:
    """Fetches of several threads do not mix."""
    with blocking(Server(latency=0.0005)) as of:
        got: dict[int, list[str]] = {}

        def fetch(number: int) -> None:
            got[number] = [o.id for o in of.completions.get_many(f"{number}-{n}" for n in range(200))]

        threads = [threading.Thread(target=fetch, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
    for number in range(8):
        assert sorted(got[number]) == sorted(f"{number}-{n}" for n in range(200))


def test_transient_failures_have_their_second_try() -> None:
    """Also over the bridge."""
    server = Server(lambda _, n: refuse(500) if n == 1 else None)

    async def sleep(_: float) -> None:
        return None

    with blocking(server, retry=ONCE, sleep=sleep) as of:
        outcomes = list(of.completions.get_many(ids(150)))
    assert len(outcomes) == 150
    assert all(o.ok for o in outcomes)


def test_the_answer_of_get_is_the_result() -> None:
    """Results of a blocking fetch are those of a blocking get."""

    class Own(Server):
        def record(self, id: str) -> Response:
            return Response(200, {}, b'{"data":{"id":"%s","remote_id":"r"}}' % id.encode())

    with blocking(Own()) as of:
        (outcome,) = of.completions.get_many(["a"])
        assert outcome.unwrap() == of.completions.get("a")
        assert outcome.unwrap().data.remote_id == "r"


ENDINGS = """
import os, signal, sys, threading
from tests.bulk.server import Server, blocking, ids

server = Server(latency=lambda _, one: 0.0 if one == "id-0" else 30.0)
of = blocking(server)
iterator = of.completions.get_many(ids(1000))
next(iterator)
if sys.argv[1] == "interrupt":
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
    try:
        next(iterator)
    except KeyboardInterrupt:
        print("interrupted", server.in_flight, next(iterator, "over"), of.completions.get("id-0").data.id)
"""


@pytest.mark.parametrize(("how", "says"), [("interrupt", "interrupted 0 over id-0\n"), ("exit", "")])
def test_interrupts_and_exits_end_it_at_once(how: str, says: str) -> None:
    """Ctrl-C while waiting cancels the requests and leaves the client usable; a program that just ends, ends."""
    command = [sys.executable, "-W", "error", "-c", ENDINGS, how]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, check=False, cwd=root, capture_output=True, text=True, timeout=20)
    assert (done.stdout, done.stderr, done.returncode) == (says, "", 0)
