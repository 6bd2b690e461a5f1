"""One rate limit for several processes, in a file."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, cast

import pytest
from pyrate_limiter import InMemoryBucket

from stackone_lms import AsyncClient
from stackone_lms.engine.rate_limit import RateLimitBackend
from stackone_lms.errors import ClientClosedError, ConfigurationError
from stackone_lms.shared_limit import SharedLimit
from tests.bulk.server import Server, blocking, client, ids, refuse

from .windows import most_in_any

WORKER = """
import asyncio, sys, time
from pathlib import Path
from stackone_lms.shared_limit import SharedLimit
from tests.bulk.server import Server, client, ids

file, requests, per, count = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
times = []

class Clock(Server):
    async def send(self, request, limits):
        times.append(time.time())
        return await super().send(request, limits)

async def main():
    async with client(Clock(), rate_limit=SharedLimit.sqlite(file, requests=requests, per=per)) as of:
        sys.stdin.readline()
        assert len([o async for o in of.completions.get_many(ids(count)) if o.ok]) == count

print("ready", flush=True)
asyncio.run(main())
print(*times)
"""


def stamps(file: Path) -> list[float]:
    """When requests were let go, by the log."""
    with closing(sqlite3.connect(file)) as log:
        return [moment / 1000 for (moment,) in log.execute("SELECT item_timestamp FROM stackone_lms ORDER BY 1")]


def check(times: list[float], log: list[float], requests: int, per: float) -> None:
    """Never more than the limit in any window of the log, and nothing sent before it was let go."""
    assert len(times) == len(log)
    assert most_in_any(log, per) <= requests
    # The log counts whole milliseconds, cut off.
    assert all(sent >= logged for sent, logged in zip(sorted(times), log, strict=True))


def test_two_processes_keep_one_limit_in_a_file(tmp_path: Path) -> None:
    """Together they send no more than the limit allows in any window, and together nearly as much."""
    requests, per, count = 40, 0.8, 80
    file = tmp_path / "limit.sqlite"
    command = [sys.executable, "-c", WORKER, str(file), str(requests), str(per), str(count)]
    root = Path(__file__).parents[2]
    workers = [
        subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    try:
        for worker in workers:
            assert worker.stdout is not None
            assert worker.stdout.readline() == "ready\n"
        begun = time.monotonic()
        answers = _finish(workers)
        seconds = time.monotonic() - begun
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    assert [worker.returncode for worker in workers] == [0, 0]
    times = [float(word) for answer in answers for word in answer.split()]
    assert len(times) == 2 * count
    check(times, stamps(file), requests, per)
    assert seconds > (2 * count / requests - 1) * per
    assert seconds < 2 * count / requests * per * 4  # with room for a slow machine


def _finish(workers: list[subprocess.Popen[str]]) -> list[str]:
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.flush()
    return [worker.communicate(timeout=30)[0] for worker in workers]


def test_the_log_outlives_the_process(tmp_path: Path) -> None:
    """A new client of the same file counts what the last one has sent."""
    file = tmp_path / "limit.sqlite"
    for _ in range(3):
        with blocking(Server(), rate_limit=SharedLimit.sqlite(file, requests=3, per=0.5)) as of:
            assert len(list(of.completions.get_many(ids(3)))) == 3
    log = stamps(file)
    assert len(log) == 9
    assert most_in_any(log, 0.5) <= 3


def test_a_tenth_may_go_at_once(tmp_path: Path) -> None:
    """The requests of a window are spread over it."""
    file = tmp_path / "limit.sqlite"
    with blocking(Server(), rate_limit=SharedLimit.sqlite(file, requests=40, per=0.8)) as of:
        assert len(list(of.completions.get_many(ids(20)))) == 20
    assert most_in_any(stamps(file), 0.07) <= 4


async def test_two_clients_in_one_process_share_it(tmp_path: Path) -> None:
    """One SharedLimit may serve several clients of a process."""
    limit = SharedLimit.sqlite(tmp_path / "limit.sqlite", requests=10, per=0.5)
    times: list[float] = []

    class Clock(Server):
        async def send(self, request: Any, limits: Any) -> Any:
            times.append(time.time())
            return await super().send(request, limits)

    async def fetch() -> None:
        async with client(Clock(), rate_limit=limit) as of:
            async for outcome in of.completions.get_many(ids(15)):
                assert outcome.ok

    await asyncio.gather(fetch(), fetch())
    assert len(times) == 30
    check(times, stamps(tmp_path / "limit.sqlite"), 10, 0.5)
    assert isinstance(limit, RateLimitBackend)


async def test_pauses_and_stats_work_as_with_a_limit_of_ones_own(tmp_path: Path) -> None:
    """A Retry-After is obeyed, and stats show the limit of all processes."""
    server = Server(lambda one, n: refuse(429, headers={"Retry-After": "0.2"}) if (one, n) == ("a", 1) else None)
    limit = SharedLimit.sqlite(tmp_path / "limit.sqlite", requests=100, per=10.0)
    async with client(server, rate_limit=limit) as of:
        begun = time.monotonic()
        task = asyncio.create_task(_get(of, "a"))
        while of.stats().paused_for == 0:
            await asyncio.sleep(0.001)
        await of.with_options(account_id="another-account").completions.get("b")
        assert time.monotonic() - begun >= 0.2
        await task
        stats = of.stats()
    assert (stats.limit, stats.per, stats.tokens) == (100, 10.0, None)
    assert stats.rate == pytest.approx(100 / 10.1)


async def test_a_cancelled_call_leaves_the_others_their_turn(tmp_path: Path) -> None:
    """Cancelling calls that wait for the shared limit blocks nobody."""
    limit = SharedLimit.sqlite(tmp_path / "limit.sqlite", requests=3, per=0.3)
    async with client(Server(), rate_limit=limit) as of:

        async def get(id: str) -> None:
            await of.completions.get(id)

        tasks = [asyncio.create_task(get(id)) for id in ids(8)]
        await asyncio.sleep(0.05)
        for task in tasks[4:]:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert results[:4] == [None] * 4
        assert all(isinstance(result, asyncio.CancelledError) for result in results[4:])
        assert of.stats().waiting == 0


async def _get(of: AsyncClient, id: str) -> None:
    await of.completions.get(id)


async def test_requests_are_stamped_under_the_lock() -> None:
    """The time of a request is read while no other process can be let go, or the log would not be in order."""
    held = 0
    stamps: list[int] = []

    class Watched(InMemoryBucket):
        def now(self) -> Any:
            stamps.append(held)
            return cast("Any", super()).now()

        @contextmanager
        def limiter_lock(self) -> Generator[None]:
            nonlocal held
            held += 1
            try:
                yield
            finally:
                held -= 1

    async with client(Server(), rate_limit=SharedLimit(Watched, requests=100, per=10.0)) as of:
        await asyncio.gather(*(of.completions.get(id) for id in ids(5)))
    assert stamps == [1] * 5


class SlowToOpen:
    """Makes buckets, but not before it is told to; counts those that were opened and closed."""

    def __init__(self) -> None:
        self.asked = self.opened = self.closed = 0
        self.go = threading.Event()
        self.limit = SharedLimit(self._open, requests=100, per=10.0)

    def _open(self, rates: Any) -> InMemoryBucket:
        self.asked += 1
        assert self.go.wait(20)
        bucket = InMemoryBucket(rates)
        bucket.close = self._count  # type: ignore[method-assign]
        self.opened += 1
        return bucket

    def _count(self) -> None:
        self.closed += 1


async def until(true: Callable[[], bool]) -> None:
    """Wait for a thread, for 20 seconds at most."""
    async with asyncio.timeout(20):
        while not true():
            await asyncio.sleep(0.002)


async def test_closing_while_a_thread_opens_the_file_leaves_nothing_open() -> None:
    """The thread closes what it has opened, as soon as it has."""
    slow = SlowToOpen()
    of = client(Server(), rate_limit=slow.limit)
    task = asyncio.create_task(_get(of, "a"))
    await until(lambda: slow.asked == 1)
    await of.aclose()
    with pytest.raises(ClientClosedError):
        await task
    assert (slow.opened, slow.closed) == (0, 0)
    slow.go.set()
    await until(lambda: slow.closed == 1)
    assert (slow.asked, slow.opened) == (1, 1)


async def test_a_call_that_is_cancelled_while_it_opens_the_file_leaves_it_to_the_next() -> None:
    """It is not opened twice, and closed with the client."""
    slow = SlowToOpen()
    async with client(Server(), rate_limit=slow.limit) as of:
        first = asyncio.create_task(_get(of, "a"))
        await until(lambda: slow.asked == 1)
        first.cancel()
        second = asyncio.create_task(_get(of, "b"))
        await asyncio.sleep(0.05)
        slow.go.set()
        await second
        assert first.cancelled()
        assert (slow.asked, slow.opened, slow.closed) == (1, 1, 0)
    assert (slow.opened, slow.closed) == (1, 1)


async def test_a_pause_that_begins_while_it_asks_is_kept() -> None:
    """Whoever has got his place in the file waits for the end of the pause all the same."""
    slow = SlowToOpen()
    limiter = slow.limit.limiter(clock=time.monotonic, sleep=asyncio.sleep)
    task = asyncio.create_task(limiter.acquire())
    await until(lambda: slow.asked == 1)
    limiter.pause(0.3)
    begun = time.monotonic()
    slow.go.set()
    await task
    assert time.monotonic() - begun >= 0.3
    assert limiter.paused_for == 0
    limiter.close()
    assert slow.closed == 1


@pytest.mark.parametrize("options", [{"requests": 0}, {"requests": 1.5}, {"per": 0}, {"per": float("inf")}])
def test_its_numbers_are_checked(tmp_path: Path, options: dict[str, Any]) -> None:
    """As those of RateLimit are."""
    with pytest.raises(ConfigurationError, match="RateLimit"):
        SharedLimit.sqlite(tmp_path / "limit.sqlite", **options)


@pytest.mark.parametrize("missing", ["pyrate_limiter", "filelock"])
def test_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    """Without the extra, a sentence that names it."""
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ConfigurationError, match=r"stackone-lms\[shared-limit\]"):
        SharedLimit.sqlite(tmp_path / "limit.sqlite")


def test_it_is_imported_only_when_used() -> None:
    """The client does not import pyrate-limiter, nor does the module itself."""
    code = "import sys, stackone_lms.client, stackone_lms.shared_limit; print('pyrate_limiter' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "False\n"


def test_other_things_are_no_limit() -> None:
    """rate_limit takes a RateLimit, a shared one, requests a minute, or None."""
    other: Any = "5 a minute"
    with pytest.raises(ConfigurationError, match="rate_limit"):
        blocking(Server(), rate_limit=other)


async def test_a_clock_set_back_does_not_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was let go at times that are still to come is not counted; within the window it is."""
    limit = SharedLimit.sqlite(tmp_path / "limit", requests=10, per=60.0)
    clock, ahead, slept = time.time_ns, 3600, list[float]()
    monkeypatch.setattr("pyrate_limiter.buckets.sqlite_bucket.time_ns", lambda: clock() + ahead * 1_000_000_000)

    async def sleep(seconds: float) -> None:
        nonlocal ahead
        slept.append(seconds)
        ahead += round(seconds) + 1

    async with client(Server(), rate_limit=limit, sleep=sleep) as of:
        assert len([o async for o in of.completions.get_many(ids(10)) if o.ok]) == 10
        ahead -= 3600
        slept.clear()
        assert len([o async for o in of.completions.get_many(ids(10)) if o.ok]) == 10
        assert 0 < sum(slept) <= 61  # no more than ten requests that were let go before would cause
        ahead -= 30
        slept.clear()
        assert (await of.completions.get("x")).data.id == "x"
        assert 30 <= sum(slept) <= 100  # set back by less than the window, times to come do count
