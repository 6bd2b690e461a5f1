"""A limit in a real Redis: its script, its connections, its failures."""

from __future__ import annotations

import asyncio
import pickle
import re
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from stackone_lms import APITimeoutError, AsyncClient, SyncClient
from stackone_lms.errors import ConfigurationError, SharedLimitError
from stackone_lms.sandbox import Sandbox
from stackone_lms.shared_limit import SharedLimit
from stackone_lms.shared_limit.redis_store import RedisStore
from stackone_lms.shared_limit.reservations import Demand, Lease, terms_of
from tests.bulk.server import Server, blocking, client, ids, refuse

from ..conftest import OwnLog
from .redis_server import RedisServer
from .windows import most_in_any
from .worker import Recorded, Stamps

redis = pytest.importorskip("redis")

TERMS = terms_of(100, 10.0)
LONGEST = 60.0
"""Seconds after which a test gives up; nothing here takes one."""


def connection_to(url: str) -> Any:
    return redis.Redis.from_url(url.partition("#")[0])


def key_of(url: str) -> str:
    return url.partition("#")[2]


@pytest.fixture
def reserve(url: str) -> Any:
    """Ask the script, as a store does; without a limiter."""
    connection = connection_to(url)
    store = RedisStore(
        lambda: connection,
        own=True,
        where="here",
        secret=None,
        key=key_of(url),
        terms=TERMS,
        clock=time.monotonic,
    )

    async def ask(need: int = 1, spare: int = 0, pause: int = 0, known: int = 0, ahead: int = 0) -> Lease:
        return await store.reserve(Demand(need, spare, pause, known, ahead))

    yield ask
    store.close()


Reserve = Callable[..., Awaitable[Lease]]


def state_of(url: str) -> list[int]:
    connection = connection_to(url)
    state = [int(number) for number in connection.get(key_of(url)).split()]
    connection.close()
    return state


def set_state(url: str, *numbers: int) -> None:
    connection = connection_to(url)
    connection.set(key_of(url), " ".join(map(str, numbers)))
    connection.close()


async def test_departures_are_a_step_apart_and_begin_a_little_in_the_past(reserve: Reserve, url: str) -> None:
    first = await reserve(need=3)
    second = await reserve(need=2)
    assert first.first == first.now - TERMS.slack
    assert second.first == first.first + 3 * TERMS.step
    assert (first.size, second.size, first.pause) == (3, 2, 0)
    assert first.earliest <= first.latest < time.monotonic()
    connection = connection_to(url)
    assert 0 < connection.pttl(key_of(url)) <= 60_000  # it does not stay for ever
    connection.close()


async def test_more_than_is_needed_is_given_only_where_nobody_has_to_wait_for_it(reserve: Reserve) -> None:
    free = TERMS.slack // TERMS.step + 1
    assert (await reserve(need=1, spare=64)).size == free
    assert (await reserve(need=1, spare=64)).size == 1
    assert (await reserve(need=5, spare=64)).size == 5


async def test_the_further_ahead_the_less_is_given_at_once(reserve: Reserve) -> None:
    """So that a hundred processes do not wait for each other's leases."""
    sizes = [(await reserve(need=8)).size for _ in range(12)]
    assert sizes[0] == 8
    assert sizes == sorted(sizes, reverse=True)
    assert 1 <= sizes[-1] < 4


async def test_a_pause_is_for_all_and_the_longest_counts(reserve: Reserve) -> None:
    before = await reserve(need=0, pause=5_000_000)
    assert (before.size, before.pause) == (0, 5_000_000)
    after = await reserve(need=1, pause=1_000_000)
    assert after.first == before.now + 5_000_000
    assert 4_000_000 < after.pause <= 5_000_000


async def test_a_clock_that_is_set_back_moves_the_queue_along(reserve: Reserve, url: str) -> None:
    lease = await reserve(need=1)
    hour = 3_600_000_000
    set_state(url, lease.now + hour + 700_000, lease.now + hour, lease.now + hour + 300_000)
    after = await reserve(need=1)
    assert after.first - after.now == 700_000
    assert after.pause == 300_000


async def test_a_queue_that_knows_less_than_its_users_lets_pass_what_they_hold(reserve: Reserve, url: str) -> None:
    lease = await reserve(need=8)
    known, ahead = lease.first + 8 * TERMS.step, lease.first + 8 * TERMS.step - lease.now
    normal = await reserve(need=1, known=known, ahead=ahead)
    assert normal.first == known
    set_state(url, lease.now - 10_000_000, lease.now - 10_000_000, 0)  # an old copy
    restored = await reserve(need=1, known=known, ahead=ahead)
    assert restored.first == restored.now + TERMS.horizon
    # Who knew it by a clock that was ahead does not hold up everybody.
    hour = 3_600_000_000
    set_state(url, lease.now, lease.now, 0)
    assert (await reserve(need=1, known=known + hour, ahead=ahead)).first < restored.first + hour / 2


async def test_a_server_without_the_script_was_started_anew(reserve: Reserve, start_redis: Any, url: str) -> None:
    lease = await reserve(need=1)
    connection = connection_to(url)
    connection.script_flush()
    again = await reserve(need=1, known=lease.first + TERMS.step, ahead=TERMS.step - TERMS.slack)
    assert again.first >= again.now + TERMS.horizon
    connection.close()


async def test_what_else_is_under_the_key_is_left_alone(reserve: Reserve, url: str) -> None:
    connection = connection_to(url)
    for command in (("zadd", {"x": 1}), ("set", "something")):
        connection.delete(key_of(url))
        getattr(connection, command[0])(key_of(url), command[1])
        with pytest.raises(SharedLimitError, match="holds something else under the key 'key-") as caught:
            await reserve()
        assert not caught.value.retryable
    connection.delete(key_of(url))
    connection.close()


class FarRedis:
    """Answers after so many seconds each, on a clock of its own."""

    def __init__(self, *seconds: float) -> None:
        self.now, self._seconds = 100.0, list(seconds)

    def execute_command(self) -> None:
        raise NotImplementedError

    def ping(self) -> None:
        self.now += self._seconds.pop(0)

    def evalsha(self, *_: Any) -> list[int]:
        self.ping()
        return [1_000_000, 900_000, 1, 0]


async def test_a_long_way_to_redis_is_told_from_a_late_answer() -> None:
    """When Redis looked at its clock is known but for what an answer took longer than the shortest."""
    far = FarRedis(3.0, 0.2, 0.2, 0.5)  # the first has to connect
    store = RedisStore(lambda: far, own=False, where="", secret=None, key="", terms=TERMS, clock=lambda: far.now)
    lease = await store.reserve(Demand(1, 0, 0, 0, 0))
    assert (lease.earliest, lease.latest) == pytest.approx((103.3, 103.3))
    lease = await store.reserve(Demand(1, 0, 0, 0, 0))
    assert (lease.earliest, lease.latest) == pytest.approx((103.5, 103.8))
    assert (lease.now, lease.first, lease.size, lease.pause) == (1_000_000, 900_000, 1, 0)


# Clients


async def run_client(url: str, count: int, **options: Any) -> list[float]:
    """Fetch so many records; return when each request was let go."""
    stamps: list[float] = []
    limit = Recorded(SharedLimit.from_url(url, requests=40, per=0.5))
    async with client(Stamps(limit, stamps.append), rate_limit=limit, **options) as of:
        assert len([one async for one in of.completions.get_many(ids(count)) if one.ok]) == count
    return stamps


async def test_clients_keep_the_limit_together(url: str) -> None:
    stamps = await asyncio.gather(*(run_client(url, 25) for _ in range(4)))
    assert most_in_any([moment for each in stamps for moment in each], 0.5) <= 40


async def test_clients_whose_clocks_are_apart(url: str) -> None:
    """Clocks of clients measure how long things take, and nothing else."""
    ahead = [0.0, 10.0, -10.0]
    stamps = await asyncio.gather(
        *(run_client(url, 25, clock=lambda seconds=seconds: time.monotonic() + seconds) for seconds in ahead)
    )
    same = [moment - seconds for each, seconds in zip(stamps, ahead, strict=True) for moment in each]
    assert most_in_any(same, 0.5) <= 40


def test_the_blocking_client_and_threads(url: str) -> None:
    limit = SharedLimit.from_url(url, requests=40, per=0.5)
    with blocking(Server(), rate_limit=limit) as of:
        assert len([one for one in of.completions.get_many(ids(30)) if one.ok]) == 30
        assert of.completions.get("x").data.id == "x"


@pytest.mark.parametrize("kind", ["blocking", "asynchronous"])
async def test_a_connection_of_ones_own_stays_open(url: str, kind: str) -> None:
    import redis.asyncio

    made: Any = redis.Redis if kind == "blocking" else redis.asyncio.Redis
    connection = made.from_url(url.partition("#")[0])
    limit = SharedLimit.redis(connection, key=key_of(url), requests=100, per=10.0)
    for _ in range(2):
        async with client(Server(), rate_limit=limit) as of:
            await of.completions.get("x")
    answer = connection.ping()
    assert answer is True or await answer
    await connection.aclose() if kind == "asynchronous" else connection.close()
    assert re.fullmatch(r"SharedLimit\('a Redis#key-\d+', requests=100, per=10.0\)", repr(limit))
    with pytest.raises(TypeError, match="make it of the URL"):
        pickle.dumps(limit)


def test_one_client_on_several_loops_one_after_the_other(url: str) -> None:
    of = client(Server(), rate_limit=SharedLimit.from_url(url, requests=1000, per=10.0))
    for _ in range(3):
        assert asyncio.run(_get(of)) == "x"
    asyncio.run(of.aclose())


async def test_an_asynchronous_connection_belongs_to_one_loop() -> None:
    class OfAnotherLoop:
        """As redis-py's connections behave there."""

        async def execute_command(self) -> None:
            raise NotImplementedError

        async def ping(self) -> None:
            raise RuntimeError("Event loop is closed")

        evalsha = ping

    async with client(Server(), rate_limit=SharedLimit.redis(OfAnotherLoop()), timeout=LONGEST) as of:
        with pytest.raises(SharedLimitError, match=r"of another event loop \(Event loop is closed\): give the URL"):
            await of.completions.get("x")


async def _get(of: AsyncClient) -> str | None:
    return (await of.completions.get("x")).data.id


async def test_a_limit_is_used_by_clients_of_a_forked_child(url: str) -> None:
    code = f"""
import os, sys
from stackone_lms.shared_limit import SharedLimit
from tests.bulk.server import Server, blocking
limit = SharedLimit.from_url({url!r})
unused = blocking(Server(), rate_limit=limit)
with blocking(Server(), rate_limit=limit) as of:
    print(of.completions.get("parent").data.id, flush=True)
child = os.fork()
if not child:
    with unused as of:
        print(of.completions.get("child").data.id, flush=True)
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
"""
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", code]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=LONGEST)
    assert (done.stdout, done.stderr) == ("parent\nchild\n", "")


async def test_a_retry_after_holds_up_every_client(url: str) -> None:
    limit = SharedLimit.from_url(url, requests=100, per=10.0)
    told = Server(lambda _, n: refuse(429, headers={"Retry-After": "0.4"}) if n == 1 else None)
    async with client(told, rate_limit=limit) as of, client(Server(), rate_limit=limit) as other:
        await other.completions.get("before")
        task = asyncio.create_task(of.completions.get("x"))
        async with asyncio.timeout(LONGEST):
            while not told.fetched:
                await asyncio.sleep(0.001)
            while len(state_of(url)) != 3 or state_of(url)[2] == 0:
                await asyncio.sleep(0.001)
        await other.completions.get("after")
        assert state_of(url)[2] <= time.time() * 1e6
        await task


def test_it_pickles_and_shows_no_password(url: str) -> None:
    secret = f"redis://user:pass%20word@127.0.0.1:1/2?socket_timeout=3#{key_of(url)}"
    limit = SharedLimit.from_url(secret, requests=7, per=3.0)
    again = pickle.loads(pickle.dumps(limit))
    assert (again.requests, again.per) == (7, 3.0)
    for one in (limit, again, SharedLimit.redis(secret, requests=7, per=3.0)):
        assert repr(one) == f"SharedLimit('redis://127.0.0.1:1/2#{key_of(url)}', requests=7, per=3.0)"
        assert "pass" not in repr(vars(one)) + repr(vars(one._place))  # pyright: ignore[reportPrivateUsage]
    used = pickle.loads(pickle.dumps(SharedLimit.from_url(url)))
    with blocking(Server(), rate_limit=used) as of:
        of.completions.get("x")


# Outages


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + LONGEST
    while not true():
        assert time.monotonic() < end
        time.sleep(0.005)


async def test_calls_wait_while_redis_is_started_anew(start_redis: Any, caplog: pytest.LogCaptureFixture) -> None:
    server: RedisServer = start_redis("--save", "")
    limit = SharedLimit.redis(server.url, requests=100, per=1.0)
    async with client(Server(), rate_limit=limit, timeout=LONGEST) as of:
        await of.completions.get("before")
        server.kill()
        tasks = [asyncio.create_task(of.completions.get(id)) for id in ids(5)]
        async with asyncio.timeout(LONGEST):
            while "cannot be reached" not in caplog.text:
                await asyncio.sleep(0.005)
        await asyncio.to_thread(server.start)
        await asyncio.gather(*tasks)
        assert caplog.text.count("cannot be reached") == caplog.text.count("can be reached again") == 1


async def test_an_idle_connection_that_redis_has_closed_is_made_anew(url: str, own_log: OwnLog) -> None:
    connection = connection_to(url)
    async with client(Server(), rate_limit=SharedLimit.from_url(url, requests=100, per=10.0), timeout=LONGEST) as of:
        await of.completions.get("x")
        connection.client_kill_filter(_type="normal", skipme=True)
        await of.completions.get("x")
    connection.close()
    assert own_log() == []


@pytest.mark.parametrize("kind", ["async", "sync"])
async def test_an_outage_that_lasts_is_an_error_at_the_deadline(start_redis: Any, kind: str) -> None:
    server: RedisServer = start_redis("--save", "")
    server.kill()
    api = Server()
    begun = time.monotonic()
    with pytest.raises(SharedLimitError, match=r"at redis://127.0.0.1:\d+/0 cannot be reached: Error 111") as caught:
        if kind == "async":
            async with client(api, rate_limit=SharedLimit.redis(server.url), timeout=0.5) as of:
                await of.completions.get("x")
        else:
            with blocking(api, rate_limit=SharedLimit.redis(server.url), timeout=0.5) as one:
                await asyncio.to_thread(one.completions.get, "x")
    assert time.monotonic() - begun >= 0.5
    error = caught.value
    assert (error.retryable, error.attempts, error.operation, api.gets) == (True, 0, "completions.get", 0)
    assert pickle.loads(pickle.dumps(error)).message == error.message


async def test_a_redis_that_hangs_holds_up_neither_the_loop_nor_the_end(start_redis: Any) -> None:
    server: RedisServer = start_redis("--save", "")
    url = f"{server.url}?socket_timeout=30"
    async with client(Server(), rate_limit=SharedLimit.redis(url), timeout=0.5) as of:
        await of.completions.get("before")
        server.signal(signal.SIGSTOP)
        turns = 0

        async def tick() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(0)
                turns += 1

        ticking = asyncio.create_task(tick())
        with pytest.raises(APITimeoutError) as caught:
            await of.completions.get("x")
        ticking.cancel()
        assert caught.value.phase == "rate_limit"
        assert turns > 100  # blocked, it would be none
        begun = time.monotonic()
    assert time.monotonic() - begun < 15  # and not the 30 seconds that the connection may take


# What is no Redis


@pytest.fixture
def closing() -> Any:
    """A port that takes connections and closes them without a word."""
    listening = socket.create_server(("127.0.0.1", 0))

    def work() -> None:
        while True:
            try:
                listening.accept()[0].close()
            except OSError:
                return

    thread = Thread(target=work)
    thread.start()
    yield listening.getsockname()[1]
    listening.shutdown(socket.SHUT_RDWR)
    thread.join()
    listening.close()


async def failure(url: str, **options: Any) -> SharedLimitError:
    """What a call fails with, at once, and before anything was sent."""
    api = Server()
    limit = SharedLimit.redis(url, **options)
    async with client(api, rate_limit=limit, timeout=LONGEST) as of:
        with pytest.raises(SharedLimitError) as caught:
            await of.completions.get("x")
        assert of.stats().requests == 0
    assert api.gets == 0
    assert not caught.value.retryable
    assert caught.value.__cause__ is None
    return caught.value


async def test_an_http_server_is_no_redis() -> None:
    async with Sandbox() as sandbox:
        error = str(await failure(sandbox.url.replace("http://", "redis://")))
    assert "is no Redis, or wants TLS (rediss://): Protocol Error: " in error
    assert "HTTP/1" in error


async def test_a_port_that_closes_at_once_is_no_redis(closing: int) -> None:
    assert "ends connections without an answer: is it Redis" in str(await failure(f"redis://127.0.0.1:{closing}"))


async def test_a_wrong_password_is_told_and_not_shown(start_redis: Any) -> None:
    server: RedisServer = start_redis("--save", "", "--requirepass", "right-password")
    port = server.port
    for url in (f"redis://127.0.0.1:{port}", f"redis://:wrong-password@127.0.0.1:{port}"):
        error = await failure(url)
        assert "does not accept the user, the password" in str(error)
        told = traceback.TracebackException.from_exception(error, capture_locals=True)
        assert {"reserve", "_admit"} <= {frame.name for frame in told.stack}
        ours = [frame for frame in told.stack if "stackone_lms" in frame.filename]
        assert "wrong-password" not in repr([(frame.name, frame.locals) for frame in ours])
    limit = SharedLimit.redis(f"redis://:right-password@127.0.0.1:{port}")
    async with client(Server(), rate_limit=limit) as of:
        await of.completions.get("x")


async def test_a_user_who_may_not_is_told(start_redis: Any) -> None:
    server: RedisServer = start_redis("--save", "", "--user", "reader", "on", ">pw", "~*", "+ping", "+hello", "+client")
    error = str(await failure(f"redis://reader:pw@127.0.0.1:{server.port}"))
    assert "does not accept the user, the password, or what they may do: " in error


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    import trustme

    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    issued = authority.issue_cert("127.0.0.1")
    issued.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "server.pem"))
    return tmp_path


def with_tls(start_redis: Any, folder: Path) -> int:
    port = socket.create_server(("127.0.0.1", 0))
    number: int = port.getsockname()[1]
    port.close()
    pem, ca = str(folder / "server.pem"), str(folder / "ca.pem")
    files = ["--tls-cert-file", pem, "--tls-key-file", pem, "--tls-ca-cert-file", ca, "--tls-auth-clients", "no"]
    start_redis("--save", "", "--tls-port", str(number), *files)
    return number


async def test_tls_where_it_is_plain_and_plain_where_it_is_tls(start_redis: Any, certificate: Path) -> None:
    port = with_tls(start_redis, certificate)
    assert "TLS" in str(await failure(f"redis://127.0.0.1:{port}"))
    error = str(await failure(f"rediss://127.0.0.1:{port}"))  # by a CA that nobody knows
    assert "does not speak TLS as it should" in error
    assert "self" in error.lower() or "certificate" in error.lower()
    good = SharedLimit.redis(f"rediss://127.0.0.1:{port}?ssl_ca_certs={certificate / 'ca.pem'}")
    async with client(Server(), rate_limit=good) as of:
        await of.completions.get("x")


async def test_tls_of_a_server_without_it(url: str) -> None:
    address = url.partition("#")[0].replace("redis://", "rediss://")
    assert "does not speak TLS as it should (redis:// is without)" in str(
        await failure(f"{address}?socket_timeout=0.2")
    )


async def test_a_bulk_fetch_stops_at_a_limit_that_cannot_be_used(closing: int) -> None:
    async with client(Server(), rate_limit=SharedLimit.redis(f"redis://127.0.0.1:{closing}"), timeout=LONGEST) as of:
        with pytest.raises(SharedLimitError, match="is it Redis"):
            assert [one async for one in of.completions.get_many(ids(1000))] == []


# Before any I/O


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://example.com", "must look like redis://host:6379/0#key, rediss://"),
        ("redis://", "must look like"),
        ("redis://host:port", "must look like"),
        ("file://elsewhere/x", "must look like"),
        ("file:///x#key", "must look like"),
        ("file:///", "must look like"),
        ("", "must look like"),
        (None, "must look like"),
        ("redis://h?nonsense=1", r"does not take the URL of the limit, or its options \(redis://h\)"),
        ("redis://h?socket_timeout=soon", "does not take the URL"),
    ],
)
def test_what_is_no_place_for_a_limit(url: Any, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        SharedLimit.from_url(url)


def test_what_is_no_connection_and_no_key() -> None:
    with pytest.raises(ConfigurationError, match=r"takes a URL or a redis\.Redis, not int"):
        SharedLimit.redis(6379)
    with pytest.raises(ConfigurationError, match="must look like redis://"):
        SharedLimit.redis("file:///x")
    with pytest.raises(ConfigurationError, match="twice"):
        SharedLimit.redis("redis://h#a", key="b")
    with pytest.raises(ConfigurationError, match="key of a limit in Redis must be a text"):
        SharedLimit.redis("redis://h", key="")
    with pytest.raises(ConfigurationError, match="RateLimit: requests"):
        SharedLimit.redis("redis://h", requests=0)


def test_a_file_by_its_url(tmp_path: Path) -> None:
    limit = SharedLimit.from_url((tmp_path / "a limit").as_uri(), requests=10, per=1.0)
    assert repr(limit) == f"SharedLimit({str(tmp_path / 'a limit')!r}, requests=10, per=1.0)"
    with blocking(Server(), rate_limit=pickle.loads(pickle.dumps(limit))) as of:
        of.completions.get("x")
    assert (tmp_path / "a limit").exists()


def test_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(ConfigurationError, match=r"stackone-lms\[redis\]"):
        SharedLimit.redis("redis://localhost")


def test_redis_is_loaded_when_it_is_used(url: str) -> None:
    code = "import sys, stackone_lms.shared_limit; print('redis' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=LONGEST)
    assert done.stdout == "False\n"


def test_a_client_that_is_never_used_connects_to_nothing() -> None:
    with SyncClient("key", "account", rate_limit=SharedLimit.redis("redis://127.0.0.1:1")) as of:
        assert (of.stats().limit, of.stats().tokens) == (1000, None)
        assert of.stats().rate == pytest.approx(960.8 / 60, rel=1e-3)
