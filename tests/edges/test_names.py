"""Names are looked up, and files read, in threads of the package's own: whatever state the process is in."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from stackone_lms import AsyncClient, RateLimit, Timeout
from stackone_lms import threads as threads_module
from stackone_lms.errors import APITimeoutError, ClientClosedError, ConnectError
from stackone_lms.sandbox import Sandbox
from stackone_lms.threads import run_in_kept_thread
from stackone_lms.transport.connections import Resolver
from tests.faults.children import REFUSES_THREADS, run
from tests.transport.server import always, answer, serving

from ..soak import further

pytestmark = pytest.mark.loop

BY_NAME = """
    import os, sys, threading, time
    from concurrent.futures import ThreadPoolExecutor, thread
    from stackone_lms import SyncClient
    from stackone_lms.errors import StackOneError

    url, account, how = sys.argv[1:]
    client = SyncClient("key", account, base_url=url, rate_limit=None)
    if how == "warm":
        client.users.completions.create("u", learning_object_external_reference="first")

    def work(n):
        while not thread._shutdown:  # set when the main thread has ended
            time.sleep(0.01)
        try:
            client.users.completions.create("u", learning_object_external_reference=str(n))
            os.write(1, b"done\\n")  # print would write the line and its end apart
        except StackOneError as error:
            os.write(1, f"{type(error).__name__}\\n".encode())

    if how == "thread":
        for n in range(10):
            threading.Thread(target=work, args=(n,)).start()
    else:
        pool = ThreadPoolExecutor(10)
        for n in range(10):
            pool.submit(work, n)
"""

LOOP_IN_A_THREAD = """
    import asyncio, sys, threading, time
    from concurrent.futures import thread
    from stackone_lms import AsyncClient
    from stackone_lms.errors import StackOneError
    from stackone_lms.shared_limit import SharedLimit

    url, account, how, folder = sys.argv[1:]
    limit = SharedLimit.sqlite(f"{folder}/limit") if how == "limit" else None

    async def create():
        try:
            async with AsyncClient("key", account, base_url=url, rate_limit=limit) as client:
                await client.users.completions.create("u", learning_object_external_reference="x")
            print("done", flush=True)
        except StackOneError as error:
            print(type(error).__name__, flush=True)

    def work():
        while not thread._shutdown:  # set when the main thread has ended
            time.sleep(0.01)
        asyncio.run(create())

    threading.Thread(target=work).start()
"""

CREATED = b'{"statusCode":201,"message":"Created","timestamp":"2026-01-01T00:00:00.000Z","data":{"id":"n"}}'


@pytest.mark.parametrize("how", ["pool", *further("warm", "thread")])
async def test_work_that_goes_on_after_the_main_thread_has_ended_is_done(how: str) -> None:
    """Python waits for the threads of a pool; its executors take no work any more.

    Pythons that start no thread then say so, except of a client that was used before.
    """
    async with serving(always(answer(CREATED, "201 Created"))) as server:
        url = server.url.replace("127.0.0.1", "localhost")
        finished = await run(BY_NAME, url, "account", how)
        posts = [each for each in server.requests if each.line.startswith(b"POST")]
    expected = ("done\n" * 10, 10 + (how == "warm"))
    if REFUSES_THREADS and how != "warm":
        expected = ("ClientClosedError\n" * 10, 0)
    assert (finished.code, finished.out, len(posts)) == (0, *expected), finished.err


def unused_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


@pytest.mark.thorough
@pytest.mark.parametrize("how", ["name", "limit", "tls"])
async def test_a_loop_that_runs_after_the_main_thread_has_ended_works(how: str, tmp_path: Path) -> None:
    if how == "limit":
        pytest.importorskip("pyrate_limiter")
    async with serving(always(answer(CREATED, "201 Created"))) as server:
        url = server.url.replace("127.0.0.1", "localhost") if how == "name" else server.url
        if how == "tls":  # the CA files are read before anything is connected
            url = f"https://127.0.0.1:{unused_port()}"
        finished = await run(LOOP_IN_A_THREAD, url, "account", how, str(tmp_path))
    expected = "ConnectError" if how == "tls" else "done"
    if REFUSES_THREADS:
        expected = "ConnectError" if how == "name" else "ClientClosedError"
    assert (finished.code, finished.out) == (0, f"{expected}\n"), finished.err


HANGING = """
    import asyncio, socket, sys, time
    from stackone_lms import AsyncClient, SyncClient, RetryPolicy, Timeout
    from stackone_lms.errors import APITimeoutError

    socket.getaddrinfo = lambda *_, **__: time.sleep(60)
    options = {"base_url": "https://nowhere.invalid", "timeout": Timeout(connect=0.3), "retry": RetryPolicy(attempts=1)}

    async def ask():
        async with AsyncClient("key", "account", **options) as client:
            await client.users.get("x")

    try:
        if sys.argv[1] == "async":
            asyncio.run(ask())
        else:
            SyncClient("key", "account", **options).users.get("x")
    except APITimeoutError as error:
        print(error.phase, flush=True)
"""


@pytest.mark.parametrize("how", ["sync", *further("async")])
async def test_a_name_server_that_never_answers_does_not_keep_a_process_from_ending(how: str) -> None:
    finished = await run(HANGING, how)
    assert (finished.code, finished.out) == (0, "connect\n"), finished.err
    assert finished.seconds < 30


@pytest.mark.parametrize("transport", ["lean", "aiohttp"])
async def test_a_full_executor_of_the_application_is_none_of_our_business(transport: Any) -> None:
    go = threading.Event()
    filling = [asyncio.create_task(asyncio.to_thread(go.wait)) for _ in range(40)]
    try:
        async with serving(always(answer())) as server:
            url = server.url.replace("127.0.0.1", "localhost")
            limits = Timeout(connect=10, total=20)
            async with AsyncClient("key", "a", base_url=url, transport=transport, timeout=limits) as client:
                assert (await client.users.get("x")).data.id == "x"
    finally:
        go.set()
        await asyncio.gather(*filling)


async def test_a_name_without_an_address_is_an_error_that_says_so() -> None:
    with pytest.raises(socket.gaierror):
        await Resolver().resolve("nowhere.invalid", 80)
    found = await Resolver().resolve("localhost", 80, socket.AF_INET)
    assert [(each["host"], each["port"], each["family"]) for each in found] == [("127.0.0.1", 80, socket.AF_INET)]


@pytest.fixture
def no_threads_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads_module, "_kept", type(threads_module._kept)())  # pyright: ignore[reportPrivateUsage]


@pytest.fixture
def no_new_threads(no_threads_yet: None, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Return a function from which on no thread starts, as in Python 3.12.0 to 3.12.2 at the end."""

    def refuse(*_: Any) -> Any:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    return lambda: monkeypatch.setattr(threading.Thread, "start", refuse)


async def test_where_no_thread_starts_any_more_those_that_are_there_do_the_work(
    no_new_threads: Callable[[], None],
) -> None:
    assert await run_in_kept_thread(lambda: 1) == 1
    no_new_threads()
    assert await asyncio.gather(*(run_in_kept_thread(partial(int, n)) for n in range(50))) == list(range(50))


async def test_where_no_thread_starts_and_none_is_there_it_is_an_error_of_ours(
    no_new_threads: Callable[[], None],
) -> None:
    no_new_threads()
    with pytest.raises(ClientClosedError, match="the interpreter is ending: it starts no thread"):
        async with AsyncClient("key", "a", base_url="https://127.0.0.1") as client:
            await client.users.get("x")  # needs CA files
    async with Sandbox() as sandbox:
        url = sandbox.url.replace("127.0.0.1", "localhost")
        async with AsyncClient("key", "a", base_url=url) as client:
            with pytest.raises(ConnectError, match="cannot be looked up: the interpreter ends"):
                await client.users.get("x")


@pytest.mark.usefixtures("no_threads_yet")
async def test_threads_are_kept_and_no_more_than_needed() -> None:
    names = [await run_in_kept_thread(threading.get_ident) for _ in range(20)]
    assert len(set(names)) == 1
    go = threading.Barrier(5)

    def meet() -> int:
        go.wait(20)
        return threading.get_ident()

    idents = await asyncio.gather(*(run_in_kept_thread(meet) for _ in range(5)))
    assert len(set(idents)) == 5


async def test_a_lookup_that_hangs_holds_up_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    lookup, go = socket.getaddrinfo, threading.Event()

    def slow(host: Any, *args: Any, **options: Any) -> Any:
        if host == "nowhere.invalid":
            go.wait(60)
        return lookup(host, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    limits, limit = Timeout(connect=0.2, total=0.5), RateLimit(1000)
    try:
        async with AsyncClient(
            "key", "a", base_url="https://nowhere.invalid", timeout=limits, rate_limit=limit
        ) as client:
            with pytest.raises(APITimeoutError):
                await client.users.get("x")
        assert await asyncio.wait_for(Resolver().resolve("localhost", 1), 20)
    finally:
        go.set()
