"""gevent, eventlet and trio: what works with them, and one clear error for what does not."""

from __future__ import annotations

from importlib.machinery import PathFinder

import pytest

from stackone_lms.sandbox import Sandbox
from tests.faults.children import run

from ..soak import further

PROGRAM = """
    import asyncio, sys, warnings
    warnings.simplefilter("ignore", DeprecationWarning)
    which, when, url, key, account = sys.argv[1:]

    def patch():
        if which == "gevent":
            from gevent import monkey
            monkey.patch_all(thread=when != "without threads")
        elif which == "eventlet":
            import eventlet
            eventlet.monkey_patch(thread=when != "without threads")

    if when in {"before", "without threads"}:
        patch()
    from stackone_lms import AsyncClient, SyncClient
    from stackone_lms.errors import ConfigurationError
    if when == "used":
        client = SyncClient(key, account, base_url=url)
        client.users.list(page_size=5).first_page()
    if when in {"after", "used"}:
        patch()
    if when == "used":
        try:
            client.users.list(page_size=5).first_page()
        except ConfigurationError as error:
            print(str(error).partition(":")[0])

    def blocking():
        for _ in range(2):  # the second one, too
            try:
                page = SyncClient(key, account, base_url=url).users.list(page_size=5).first_page()
                print("works", len(page.data))
            except ConfigurationError as error:
                print(str(error).partition(":")[0])

    async def main():
        client = AsyncClient(key, account, base_url=url)

        async def first(items):
            return [item async for item in items][:1]

        async def check():
            report = await client.check()
            assert report.ok, report

        users = client.users
        calls = [lambda: users.list(page_size=5).first_page(), lambda: first(users.list(max_items=3)),
                 lambda: first(users.get_many(["1", "2"], strategy="get")), check]
        if which == "trio":
            from stackone_lms.batches import Slice, gather
            from stackone_lms.export import export
            calls += [lambda: first(client.for_accounts([account]).users.list()),
                      lambda: first(gather(client, [Slice("users", account)])),
                      lambda: export(client, "users", "never-made")]
        for call in calls:
            try:
                await call()
                print("works")
            except ConfigurationError as error:
                print(str(error).partition(" (")[0])

    blocking() if which != "trio" else None
    if which == "trio":
        import trio
        trio.run(main)
        trio.run(trio.to_thread.run_sync, blocking)
    else:
        asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("which", "when"),
    [("gevent", "after"), *further(("gevent", "before"), ("eventlet", "after"), ("eventlet", "before"))],
)
async def test_where_threads_are_patched(which: str, when: str) -> None:
    if PathFinder.find_spec(which) is None:
        pytest.skip(f"there is no {which} here")
    async with Sandbox() as sandbox:
        ended = await run(PROGRAM, which, when, sandbox.url, sandbox.api_key, sandbox.account_ids[0], within=60)
    refused = f"SyncClient needs threads of the system, and {which} has patched them"
    assert (ended.code, ended.out.splitlines()) == (0, [refused] * 2 + ["works"] * 4), ended.err


@pytest.mark.parametrize("which", ["gevent", *further("eventlet")])
async def test_where_all_but_threads_is_patched(which: str) -> None:
    """Both kinds of client work: what is patched, queues among it, is not used to wake threads."""
    if PathFinder.find_spec(which) is None:
        pytest.skip(f"there is no {which} here")
    async with Sandbox() as sandbox:
        args = (which, "without threads", sandbox.url, sandbox.api_key, sandbox.account_ids[0])
        ended = await run(PROGRAM, *args, within=60)
    assert (ended.code, ended.out.splitlines()) == (0, ["works 5"] * 2 + ["works"] * 4), ended.err


@pytest.mark.thorough
async def test_threads_are_patched_after_the_first_call() -> None:
    """A client that has worked says so, too."""
    if PathFinder.find_spec("gevent") is None:
        pytest.skip("there is no gevent here")
    async with Sandbox() as sandbox:
        args = ("gevent", "used", sandbox.url, sandbox.api_key, sandbox.account_ids[0])
        ended = await run(PROGRAM, *args, within=60)
    refused = "SyncClient needs threads of the system, and gevent has patched them"
    assert (ended.code, ended.out.splitlines()) == (0, [refused] * 3 + ["works"] * 4), ended.err


async def test_under_trio() -> None:
    if PathFinder.find_spec("trio") is None:
        pytest.skip("there is no trio here")
    async with Sandbox() as sandbox:
        ended = await run(PROGRAM, "trio", "-", sandbox.url, sandbox.api_key, sandbox.account_ids[0], within=60)
    refused = "AsyncClient needs asyncio, and no event loop of asyncio runs here"
    assert (ended.code, ended.out.splitlines()) == (0, [refused] * 7 + ["works 5"] * 2), ended.err
    assert ended.err == ""
