"""`SyncClient`: the same calls, from any thread."""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
import threading
import time
import types
import warnings
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import suppress
from typing import Any
from urllib.parse import unquote

import pytest

from stackone_lms import RateLimit, RetryPolicy, SyncClient, Timeout
from stackone_lms.calls.operation import executor_of
from stackone_lms.errors import (
    APITimeoutError,
    ClientClosedError,
    InvalidArgumentError,
    NotFoundError,
    StackOneError,
)
from stackone_lms.transport import Request, Response, TimeLimits
from tests.fake.fakes import ACCOUNT, KEY, FakeTransport, engine_of, error, hang, page, record, slowly


def portal_threads() -> int:
    return sum(thread.name == "stackone_lms" for thread in threading.enumerate())


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    before = portal_threads()
    yield
    gc.collect()
    assert portal_threads() == before


def make(transport: FakeTransport, **options: Any) -> SyncClient:
    given: dict[str, Any] = {"rate_limit": None, **options}
    return SyncClient(KEY, ACCOUNT, transport=transport, **given)


async def echo(request: Request, limits: TimeLimits) -> Response:
    """Answer with the record that was asked for, in an order of its own."""
    id = unquote(request.path.rpartition("/")[2])
    await asyncio.sleep(hash(id) % 5 / 1000)
    return record(id)


def test_a_call_returns_its_answer_or_raises_its_error() -> None:
    with make(FakeTransport(record(), error(404, "gone"), record())) as client:
        answer = client.completions.get("c1")
        assert (answer.data.id, answer.attempts, answer.request_id) == ("c1", 1, "req-c1")
        with pytest.raises(NotFoundError, match="gone"):
            client.completions.get("c1")
        with pytest.raises(InvalidArgumentError):
            client.completions.get("..")
        assert client.with_options(account_id="acct-other").completions.get("c1").data.id == "c1"


def test_nothing_happens_before_the_first_call() -> None:
    before = portal_threads()
    transport = FakeTransport(record())
    client = make(transport)
    client.completions.list(page_size=5)
    view = client.with_options(heartbeat=True)
    assert portal_threads() == before
    assert transport.opened == 0
    view.close()
    assert client.closed


def test_many_threads_share_a_client_and_each_gets_its_own_answers() -> None:
    transport = FakeTransport(echo)
    with make(transport, max_concurrency=20) as client, ThreadPoolExecutor(32) as pool:

        def work(worker: int) -> list[str | None]:
            view = client.with_options(account_id=f"acct-{worker}") if worker % 2 else client
            return [view.completions.get(f"w{worker}-{n}").data.id for n in range(20)]

        found = list(pool.map(work, range(32)))
    assert found == [[f"w{worker}-{n}" for n in range(20)] for worker in range(32)]
    assert transport.opened == 1
    assert transport.most_under_way <= 20


def test_the_thread_is_started_once_even_when_many_call_first() -> None:
    before = portal_threads()
    with make(FakeTransport(echo)) as client, ThreadPoolExecutor(16) as pool:
        barrier = threading.Barrier(16)

        def first(n: int) -> None:
            barrier.wait()
            client.completions.get(f"c{n}")

        list(pool.map(first, range(16)))
        assert portal_threads() == before + 1
    assert portal_threads() == before


def test_time_limits_hold() -> None:
    with make(FakeTransport(hang), timeout=Timeout(total=0.2), retry=RetryPolicy(attempts=1)) as client:
        started = time.monotonic()
        with pytest.raises(APITimeoutError):
            client.completions.get("c1")
        assert 0.15 < time.monotonic() - started < 20


def test_closing_twice_and_using_it_afterwards() -> None:
    transport = FakeTransport(record())
    client = make(transport)
    client.completions.get("c1")
    client.close()
    client.close()
    assert (client.closed, transport.closed) == (True, 1)
    for call in (lambda: client.completions.get("c1"), lambda: list(client.with_options().completions.list())):
        with pytest.raises(ClientClosedError):
            call()
    before = portal_threads()
    unused = make(FakeTransport())
    unused.close()
    unused.close()
    with pytest.raises(ClientClosedError):
        unused.completions.get("c1")
    assert portal_threads() == before


@pytest.mark.parametrize("phase", ["exchange", "pool", "rate limit", "backoff"])
def test_closing_ends_the_calls_of_other_threads_with_client_closed(phase: str) -> None:
    options: dict[str, Any] = {"pool": {"max_concurrency": 1}, "rate limit": {"rate_limit": RateLimit(1, per=1000)}}
    transport = FakeTransport(error(503, Retry_After="60") if phase == "backoff" else hang)
    client = make(transport, **options.get(phase, {}))
    raised: list[BaseException] = []

    def call(n: int) -> None:
        try:
            client.completions.get(f"c{n}")
        except BaseException as problem:
            raised.append(problem)

    threads = [threading.Thread(target=call, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 60
    while len(engine_of(client).deadlines) < 8 and time.monotonic() < deadline:
        time.sleep(0.01)
    started = time.monotonic()
    client.close()
    for thread in threads:
        thread.join(2)
    assert time.monotonic() - started < 20
    assert [type(problem) for problem in raised] == [ClientClosedError] * 8
    assert transport.closed == 1


def test_a_call_whose_loop_ends_under_it_is_told_that_the_client_is_closed() -> None:
    """As one is that begins at the very moment of the close."""
    client = make(FakeTransport(hang))
    raised: list[BaseException] = []

    def call() -> None:
        try:
            client.completions.get("c1")
        except BaseException as problem:
            raised.append(problem)

    thread = threading.Thread(target=call)
    thread.start()
    executor: Any = executor_of(client)
    shared = executor._shared
    deadline = time.monotonic() + 60
    while engine_of(client).admission.slots_used == 0 and time.monotonic() < deadline:
        time.sleep(0.01)
    shared.thread.stop()
    thread.join(5)
    assert [type(problem) for problem in raised] == [ClientClosedError]


def test_closing_among_threads_that_go_on_calling_raises_nothing_else() -> None:
    for _ in range(10):
        client = make(FakeTransport(slowly(0.001, record())))
        wrong: list[BaseException] = []
        barrier = threading.Barrier(9)

        def work(client: SyncClient, barrier: threading.Barrier, wrong: list[BaseException]) -> None:
            barrier.wait()
            while True:
                try:
                    client.completions.get("c1")
                except ClientClosedError:
                    return
                except BaseException as problem:
                    wrong.append(problem)
                    return

        threads = [threading.Thread(target=work, args=(client, barrier, wrong)) for _ in range(8)]
        for thread in threads:
            thread.start()
        barrier.wait()
        time.sleep(0.01)
        client.close()
        for thread in threads:
            thread.join(5)
            assert not thread.is_alive()
        assert wrong == []


def test_a_client_that_is_forgotten_ends_its_thread_and_closes_its_session() -> None:
    before = portal_threads()
    transport = FakeTransport(record())
    client = make(transport)
    client.completions.get("c1")
    gone = weakref.ref(client)
    del client
    gc.collect()
    assert gone() is None
    deadline = time.monotonic() + 60
    while portal_threads() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert (portal_threads(), transport.closed) == (before, 1)


def test_a_client_collected_on_its_own_thread_ends_all_the_same() -> None:
    """The garbage collector may run on any thread, so also on the one that it is about to end."""
    before = portal_threads()
    loops: list[asyncio.AbstractEventLoop] = []

    async def note(request: Request, limits: TimeLimits) -> Response:
        loops.append(asyncio.get_running_loop())
        return record()

    transport = FakeTransport(note)
    gc.disable()
    try:
        client: Any = make(transport)
        client.completions.get("c1")
        client.itself = client
        del client
        loops[0].call_soon_threadsafe(gc.collect)
        deadline = time.monotonic() + 60
        while portal_threads() > before and time.monotonic() < deadline:
            time.sleep(0.01)
    finally:
        gc.enable()
    assert (portal_threads(), transport.closed) == (before, 1)


def test_a_view_keeps_the_client_alive() -> None:
    view = make(FakeTransport(record())).with_options(heartbeat=True)
    get = view.completions.get
    view.completions.get("c1")
    del view
    gc.collect()
    assert get("c1").data.id == "c1"
    del get


def test_in_a_running_loop_it_works_and_warns_once_where_it_was_called() -> None:
    async def main() -> None:
        with make(FakeTransport(record())) as client:
            with pytest.warns(RuntimeWarning, match="use AsyncClient there") as caught:
                client.completions.get("c1")
            assert caught[0].filename == __file__
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                client.completions.get("c1")
                client.with_options(heartbeat=True).completions.get("c1")

    asyncio.run(main())


WAYS: dict[str, Callable[[SyncClient], object]] = {
    "get": lambda client: client.completions.get("c1"),
    "items": lambda client: list(client.completions.list()),
    "pages": lambda client: next(client.completions.list().pages()),
    "first_page": lambda client: client.completions.list().first_page(),
    "collect": lambda client: client.completions.list().collect(),
    "many": lambda client: list(client.completions.get_many(["c1"])),
    "batch": lambda client: client.content.batch_upsert([{"external_reference": "r"}]),
}


@pytest.mark.parametrize("way", WAYS)
def test_the_warning_points_at_the_callers_line_whatever_is_called(way: str) -> None:
    async def main() -> None:
        with make(FakeTransport(*([page([])] * 3))) as client:
            with pytest.warns(RuntimeWarning, match="use AsyncClient there") as caught, suppress(StackOneError):
                WAYS[way](client)
            assert [(warning.filename, warning.lineno) for warning in caught] == [
                (__file__, WAYS[way].__code__.co_firstlineno)
            ]

    asyncio.run(main())


@pytest.mark.parametrize(("shell", "expected"), [(object(), 0), (None, 1)])
def test_in_a_notebook_it_does_not_warn(shell: object, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    module: Any = types.ModuleType("IPython")
    module.get_ipython = lambda: shell
    monkeypatch.setitem(sys.modules, "IPython", module)

    async def main() -> None:
        with make(FakeTransport(record())) as client:
            client.completions.get("c1")

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        asyncio.run(main())
    assert len([warning for warning in caught if warning.category is RuntimeWarning]) == expected


def test_the_stack_size_of_the_process_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a setting of all threads, also those that other libraries start meanwhile."""
    monkeypatch.setattr(threading, "stack_size", None)
    with make(FakeTransport(record())) as client:
        client.completions.get("c1")


def test_outside_of_a_loop_it_does_not_warn() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with make(FakeTransport(record())) as client:
            client.completions.get("c1")


def test_a_call_from_the_clients_own_loop_is_refused_and_does_not_hang() -> None:
    found: list[BaseException] = []

    async def reenter(request: Request, limits: TimeLimits) -> Response:
        for call in (lambda: client.completions.get("c2"), client.close):
            try:
                call()
            except BaseException as problem:
                found.append(problem)
        return record()

    with make(FakeTransport(reenter)) as client:
        assert client.completions.get("c1").data.id == "c1"
    assert [type(problem) for problem in found] == [RuntimeError, RuntimeError]


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_on_the_loop_is_an_error_of_one_call_and_not_the_end_of_all(
    interrupt: type[BaseException],
) -> None:
    async def interrupted(request: Request, limits: TimeLimits) -> Response:
        raise interrupt

    with make(FakeTransport(interrupted, record())) as client:
        with pytest.raises(RuntimeError, match=f"{interrupt.__name__} inside a call"):
            client.completions.get("c1")
        assert client.completions.get("c1").data.id == "c1"


def test_nothing_is_logged_when_calls_are_abandoned(caplog: pytest.LogCaptureFixture) -> None:
    client = make(FakeTransport(hang))

    def call() -> None:
        with pytest.raises(ClientClosedError):
            client.completions.get("c1")

    thread = threading.Thread(target=call)
    thread.start()
    time.sleep(0.1)
    client.close()
    thread.join()
    gc.collect()
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


def test_a_cancelled_call_is_no_sign_that_the_client_is_closed() -> None:
    """What a hook raises comes out, whatever it is."""

    def cancel(_request: object) -> None:
        raise asyncio.CancelledError

    with SyncClient(KEY, ACCOUNT, transport=FakeTransport(page([])), on_request=cancel) as client:
        for _ in range(2):
            with pytest.raises(CancelledError):
                client.users.list().first_page()
    with pytest.raises(ClientClosedError):
        client.users.list().first_page()
