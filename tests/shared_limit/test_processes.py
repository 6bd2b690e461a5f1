"""A limit in Redis, kept by several processes, whatever befalls them and Redis."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager

import pytest

from tests.soak import SOAK, rounds

from .redis_server import ENVIRONMENT, ROOT, RedisServer, slow_link
from .windows import most_in_any

pytestmark = [
    pytest.mark.rounds,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs the signals of POSIX"),
]

REQUESTS, PER = 100, 2.0
PROCESSES = rounds(4, 2)
WINDOWS = rounds(6, 1)
only_in_soak = pytest.mark.skipif(not SOAK, reason="takes seconds of real time: make thorough")


class Worker:
    """A process that sends all it may, and when it did."""

    def __init__(self, url: str, ahead: float) -> None:
        arguments = [sys.executable, "-m", "tests.shared_limit.worker", url, str(REQUESTS), str(PER), str(ahead)]
        self.process = subprocess.Popen(
            arguments,
            cwd=ROOT,
            env=ENVIRONMENT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.stamps: list[float] = []
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"
        self._reader = threading.Thread(target=self._read)

    def go(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        self.stamps.extend(float(line) for line in self.process.stdout if line.endswith("\n"))

    def end(self) -> None:
        self.process.send_signal(signal.SIGCONT)
        self.process.kill()
        self.process.wait()
        if self._reader.is_alive():
            self._reader.join(20)
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            stream.close()


@contextmanager
def working(*urls: str, ahead: Sequence[float] = ()) -> Generator[list[Worker]]:
    workers: list[Worker] = []
    try:
        for number, url in enumerate(urls):
            workers.append(Worker(url, ahead[number] if ahead else 0.0))
        for worker in workers:
            worker.go()
        yield workers
    finally:
        for worker in workers:
            worker.end()


def wait_for(workers: list[Worker], count: int) -> None:
    """Wait until they have sent so many more requests together."""
    before = sum(len(worker.stamps) for worker in workers)
    end = time.monotonic() + 90
    while sum(len(worker.stamps) for worker in workers) < before + count:
        assert time.monotonic() < end, "nobody is let go any more"
        assert all(worker.process.poll() is None for worker in workers)
        time.sleep(0.01)


def check(workers: list[Worker]) -> None:
    """Never more than the limit in any window, wherever it begins."""
    stamps = [moment for worker in workers for moment in worker.stamps]
    assert most_in_any(stamps, PER) <= REQUESTS


@pytest.mark.thorough
def test_processes_keep_the_limit_and_share_it(start_redis: Callable[..., RedisServer]) -> None:
    url = start_redis("--save", "").url
    with working(*[url] * PROCESSES) as workers:
        wait_for(workers, WINDOWS * REQUESTS)
    check(workers)
    each = [len(worker.stamps) for worker in workers]
    mean = sum(each) / len(each)
    if SOAK:
        assert all(abs(one - mean) <= 0.2 * mean for one in each), each
    else:
        assert min(each) > 0


@only_in_soak
def test_a_slow_link_and_other_clocks_do_not_matter(start_redis: Callable[..., RedisServer]) -> None:
    redis = start_redis("--save", "")
    with ExitStack() as stack:
        port = stack.enter_context(slow_link(redis.port, 0.15))
        slow = redis.url.replace(str(redis.port), str(port))
        workers = stack.enter_context(working(slow, redis.url, redis.url, redis.url, ahead=(0, 10, -10, 0)))
        wait_for(workers, REQUESTS)  # the first of them has to connect
        before = [len(worker.stamps) for worker in workers]
        wait_for(workers, WINDOWS * REQUESTS)
        each = [len(worker.stamps) - begun for worker, begun in zip(workers, before, strict=True)]
    check(workers)
    mean = sum(each) / len(each)
    assert abs(each[0] - mean) <= 0.3 * mean, each
    others = sum(each[1:]) / 3
    assert all(abs(one - others) <= 0.2 * others for one in each[1:]), each


@only_in_soak
def test_processes_that_are_killed_or_stopped(start_redis: Callable[..., RedisServer]) -> None:
    """What they held is lost to the limit; who is woken does not make up for it."""
    redis = start_redis("--save", "")
    with working(*[redis.url] * 4) as workers:
        killed, stopped, *others = workers
        wait_for(workers, REQUESTS)
        killed.process.kill()
        stopped.process.send_signal(signal.SIGSTOP)
        wait_for(others, 2 * REQUESTS)  # the others have all of it
        stopped.process.send_signal(signal.SIGCONT)
        sent = len(stopped.stamps)
        wait_for(others, REQUESTS)
        assert len(stopped.stamps) > sent
    check(workers)


@only_in_soak
@pytest.mark.parametrize("kept", ["nothing", "appendonly"])
def test_a_redis_that_is_killed_and_started_again(start_redis: Callable[..., RedisServer], kept: str) -> None:
    redis = start_redis("--save", "", "--appendonly", "yes" if kept == "appendonly" else "no")
    with working(*[redis.url] * 4) as workers:
        for _ in range(3):
            wait_for(workers, REQUESTS)
            redis.kill()
            redis.start()
        wait_for(workers, REQUESTS)
    check(workers)
