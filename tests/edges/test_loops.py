"""One AsyncClient on several event loops, one after the other."""

from __future__ import annotations

import asyncio
import gc
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest

from stackone_lms import AsyncClient, RateLimit, RetryPolicy, SyncClient
from stackone_lms.base_client import bound_executor_of
from stackone_lms.errors import ClientClosedError, RateLimitError, WrongLoopError
from stackone_lms.sandbox import Sandbox
from stackone_lms.testing import InMemoryTransport
from tests.faults.children import run as run_program
from tests.soak import further

pytestmark = pytest.mark.loop
pytest_plugins = ["pytester"]

WAYS = pytest.mark.parametrize("way", ["lean", *further("aiohttp", "session_factory")])


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox.in_thread() as sandbox:
        yield sandbox


def client_of(sandbox: Sandbox, way: str = "lean", **options: Any) -> AsyncClient:
    how: dict[str, Any] = {"session_factory": aiohttp.ClientSession} if way == "session_factory" else {"transport": way}
    return AsyncClient(sandbox.api_key, sandbox.account_ids[0], base_url=sandbox.url, **how, **options)


def engine_of(client: AsyncClient) -> Any:
    return bound_executor_of(client).engine


async def first_page(client: AsyncClient) -> int:
    return len((await client.users.list(page_size=5)).data)


@WAYS
def test_a_client_goes_from_one_run_to_the_next(sandbox: Sandbox, way: str) -> None:
    """Nothing is left behind: the connections are closed with their loop, without a warning."""
    client = client_of(sandbox, way)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(4):
            assert asyncio.run(first_page(client)) == 5
            gc.collect()
        asyncio.run(client.aclose())
        gc.collect()
    assert [str(one.message) for one in caught] == []
    with pytest.raises(ClientClosedError):
        asyncio.run(first_page(client))


@WAYS
def test_all_kinds_of_calls_move(sandbox: Sandbox, way: str) -> None:
    client = client_of(sandbox, way)
    ids = [user.id for user in asyncio.run(_all_users(client))]

    async def fetch(strategy: Any) -> int:
        return len([one async for one in client.users.get_many(ids[:20], strategy=strategy) if one.ok])

    for strategy in ("get", "list", "auto", "get"):
        assert asyncio.run(fetch(strategy)) == 20
    view = client.with_options(timeout=30)
    assert asyncio.run(first_page(view)) == 5
    assert [user.id for user in asyncio.run(_all_users(view))] == ids
    asyncio.run(client.aclose())


async def _all_users(client: AsyncClient) -> list[Any]:
    return [user async for user in client.users.list(page_size=10, max_items=40)]


def test_limits_and_counters_go_along(sandbox: Sandbox) -> None:
    client = client_of(sandbox, rate_limit=RateLimit(1000, per=3600.0, burst=1000))
    for n in range(1, 4):
        asyncio.run(first_page(client))
        stats = client.stats()
        assert stats.requests == n
        assert round(engine_of(client).admission.limiter.tokens) == 1000 - n


def test_what_a_limit_has_found_goes_along() -> None:
    transport = InMemoryTransport()
    for _ in range(2):
        transport.reply("GET", "/unified/lms/users/x", status=429)
    client = AsyncClient("key", "a", transport=transport, retry=RetryPolicy(attempts=1))

    async def refused() -> None:
        with pytest.raises(RateLimitError):
            await client.users.get("x")

    def limit() -> Any:
        return engine_of(client).admission.limits["a"]

    asyncio.run(refused())
    assert (limit().throttled, limit().sent) == (1, 1)
    asyncio.run(refused())
    assert (limit().throttled, limit().sent) == (2, 2)


@WAYS
def test_two_loops_that_live_stay_an_error(sandbox: Sandbox, way: str) -> None:
    client = client_of(sandbox, way)
    with asyncio.Runner() as first, asyncio.Runner() as second:
        assert first.run(first_page(client)) == 5
        with pytest.raises(WrongLoopError, match="not closed"):
            second.run(first_page(client))
        with pytest.raises(WrongLoopError):
            second.run(client.aclose())
        assert first.run(first_page(client)) == 5
    with asyncio.Runner() as third, asyncio.Runner() as fourth:
        assert third.run(first_page(client)) == 5
        with pytest.raises(WrongLoopError):
            fourth.run(first_page(client))
        third.run(client.aclose())


def test_a_loop_in_another_thread_counts_as_any_other(sandbox: Sandbox) -> None:
    client = client_of(sandbox)
    found: list[int] = []
    for _ in range(3):
        thread = threading.Thread(target=lambda: found.append(asyncio.run(first_page(client))))
        thread.start()
        thread.join(60)
    assert found == [5, 5, 5]


@pytest.mark.thorough
@WAYS
def test_calls_that_a_loop_left_behind_take_nothing_from_the_next(sandbox: Sandbox, way: str) -> None:
    """Closed over calls that wait for a slot and for the rate limit."""
    client = client_of(sandbox, way, max_concurrency=2, rate_limit=RateLimit(4, per=3600.0, burst=4))
    loop = asyncio.new_event_loop()
    tasks = [loop.create_task(first_page(client)) for _ in range(8)]
    while sum(task.done() for task in tasks) < 4 or client.stats().waiting < 4:  # for the rate limit, and for a slot
        loop.run_until_complete(asyncio.sleep(0.01))
    loop.run_until_complete(loop.shutdown_asyncgens())
    _be_silent(tasks)
    loop.close()
    wider = client.with_options(account_id=sandbox.account_ids[1])
    engine_of(client).admission.limiter._history.clear()
    engine_of(client).admission.limiter._tokens = 4.0

    async def go_on() -> list[int]:
        return list(await asyncio.gather(first_page(client), first_page(wider)))

    assert asyncio.run(go_on()) == [5, 5]
    tasks.clear()
    del loop
    gc.collect()  # the calls end only now
    assert asyncio.run(go_on()) == [5, 5]
    assert (engine_of(client).admission.slots_used, client.stats().waiting) == (0, 0)
    asyncio.run(client.aclose())


def _be_silent(tasks: list[asyncio.Task[int]]) -> None:
    for task in tasks:
        task._log_destroy_pending = False  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.thorough
def test_a_bulk_fetch_on_the_next_loop_heeds_the_limit_of_there(sandbox: Sandbox) -> None:
    client, account = client_of(sandbox), sandbox.account_ids[0]
    asyncio.run(first_page(client))

    async def go_on() -> bool:
        context = engine_of(client).bulk_context(account)
        await first_page(client)
        return context.concurrency is engine_of(client).admission.limits[account]

    assert asyncio.run(go_on())
    asyncio.run(client.aclose())


@pytest.mark.parametrize("close", [True, False])
def test_a_client_that_nobody_closes_closes_with_its_loop(sandbox: Sandbox, close: bool) -> None:
    client = client_of(sandbox)

    async def use() -> Any:
        await first_page(client)
        transport = engine_of(client)._transport.transport
        if close:
            await client.aclose()
        return transport

    transport = asyncio.run(use())
    lean = getattr(transport, "_lean", transport)
    assert lean._connector is None
    assert not lean._idle


OPTIONS = (
    *("-p", "pytest_asyncio.plugin", "-p", "no:cacheprovider"),
    *("-o", "asyncio_mode=auto", "-o", "asyncio_default_fixture_loop_scope=function"),
)
PYTEST = """
import pytest
from stackone_lms import AsyncClient

URL, KEY, ACCOUNT = {url!r}, {key!r}, {account!r}
client = AsyncClient(KEY, ACCOUNT, base_url=URL)

@pytest.mark.parametrize("n", range(3))
async def test_it(n):
    assert len((await client.users.list(page_size=5)).data) == 5
"""


@pytest.mark.thorough
def test_a_client_of_a_whole_test_suite(
    sandbox: Sandbox, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pytest-asyncio makes a loop for each test."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # to load all that are here takes seconds
    pytester.makepyfile(PYTEST.format(url=sandbox.url, key=sandbox.api_key, account=sandbox.account_ids[0]))
    result = pytester.runpytest_subprocess("-q", "-W", "error", *OPTIONS)
    result.assert_outcomes(passed=3)


FORKED = """
import asyncio, os, sys
from stackone_lms import AsyncClient
from stackone_lms.errors import ForkedError

url, key, account = sys.argv[1:]
client = AsyncClient(key, account, base_url=url)

async def ask():
    return len((await client.users.list(page_size=5)).data)

print(asyncio.run(ask()), flush=True)
child = os.fork()
if child == 0:
    try:
        asyncio.run(ask())
    except ForkedError as error:
        print("forked", flush=True)
    os._exit(0)
os.waitpid(child, 0)
print(asyncio.run(ask()))
"""


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="there is no fork here")
async def test_a_fork_between_two_loops_is_told(sandbox: Sandbox) -> None:
    finished = await run_program(FORKED, sandbox.url, sandbox.api_key, sandbox.account_ids[0])
    assert (finished.code, finished.out) == (0, "5\nforked\n5\n"), finished.err


def test_a_shared_limit_goes_along_and_is_closed(sandbox: Sandbox, tmp_path: Any) -> None:
    pytest.importorskip("pyrate_limiter")
    pytest.importorskip("filelock")
    from stackone_lms.shared_limit import SharedLimit

    client = client_of(sandbox, rate_limit=SharedLimit.sqlite(tmp_path / "limit", requests=100, per=60))
    for _ in range(3):
        assert asyncio.run(first_page(client)) == 5
    asyncio.run(client.aclose())
    assert engine_of(client).admission.limiter._bucket is None


def test_the_blocking_client_is_as_before(sandbox: Sandbox) -> None:
    with SyncClient(sandbox.api_key, sandbox.account_ids[0], base_url=sandbox.url) as client:
        assert len(client.users.list(page_size=5).first_page().data) == 5
