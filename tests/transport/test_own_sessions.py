"""Sessions of the caller's own: given, or made by a function of his."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from typing import Any
from unittest import mock

import aiohttp
import pytest

from stackone_lms import AsyncClient, ConfigurationError, SyncClient
from stackone_lms.sandbox import Sandbox
from stackone_lms.testing import InMemoryTransport


@pytest.fixture(scope="module")
def sandbox() -> Generator[Sandbox]:
    with Sandbox.in_thread(users=3) as running:
        yield running


def options(sandbox: Sandbox, **more: Any) -> dict[str, Any]:
    return {"api_key": sandbox.api_key, "account_id": sandbox.account_ids[0], "base_url": sandbox.url, **more}


class Factory:
    """Makes sessions with a header of their own, and keeps them."""

    def __init__(self) -> None:
        self.made: list[aiohttp.ClientSession] = []
        self.loops: list[asyncio.AbstractEventLoop] = []

    def __call__(self) -> aiohttp.ClientSession:
        self.loops.append(asyncio.get_running_loop())
        self.made.append(aiohttp.ClientSession(headers={"x-made-by": "factory"}))
        return self.made[-1]


def seen(sandbox: Sandbox) -> list[str | None]:
    """Return who made the sessions of the requests since the last time."""
    names = [request.headers.get("x-made-by") for request in sandbox.requests]
    sandbox.requests.clear()
    return names


async def test_the_session_is_made_at_the_first_use_and_closed_with_the_client(sandbox: Sandbox) -> None:
    factory = Factory()
    seen(sandbox)
    async with AsyncClient(**options(sandbox, session_factory=factory)) as client:
        assert factory.made == []
        await asyncio.gather(*[client.users.list(max_items=1).collect() for _ in range(3)])
        await client.with_options(account_id=sandbox.account_ids[1]).users.list()
        assert factory.loops == [asyncio.get_running_loop()]
        assert not factory.made[0].closed
    assert factory.made[0].closed
    assert seen(sandbox) == ["factory"] * 4


async def test_the_function_may_be_async(sandbox: Sandbox) -> None:
    factory = Factory()

    async def make() -> aiohttp.ClientSession:
        await asyncio.sleep(0)
        return factory()

    async with AsyncClient(**options(sandbox, session_factory=make)) as client:
        await client.users.list()
    assert [session.closed for session in factory.made] == [True]


async def test_the_class_itself_is_such_a_function(sandbox: Sandbox) -> None:
    async with AsyncClient(**options(sandbox, session_factory=aiohttp.ClientSession)) as client:
        assert len((await client.users.list()).data) == 3


def test_the_blocking_client_has_its_session_made_on_its_own_loop(sandbox: Sandbox) -> None:
    factory = Factory()
    seen(sandbox)
    with SyncClient(**options(sandbox, session_factory=factory)) as client:
        assert len(client.users.list().collect()) == 3
        assert len(client.users.list().collect()) == 3
        assert len(factory.made) == 1
    assert factory.made[0].closed
    assert seen(sandbox) == ["factory"] * 2


def test_each_client_has_a_session_of_its_own(sandbox: Sandbox) -> None:
    factory = Factory()
    for _ in range(2):
        with SyncClient(**options(sandbox, session_factory=factory)) as client:
            client.users.list().first_page()
    assert [session.closed for session in factory.made] == [True, True]


def test_the_blocking_client_refuses_a_session_and_says_what_to_do(sandbox: Sandbox) -> None:
    async def main() -> None:
        async with aiohttp.ClientSession() as session:
            with pytest.raises(ConfigurationError, match="pass session_factory="):
                SyncClient(**options(sandbox, session=session))

    asyncio.run(main())


async def test_a_given_session_stays_open(sandbox: Sandbox) -> None:
    async with aiohttp.ClientSession() as session:
        async with AsyncClient(**options(sandbox, session=session)) as client:
            await client.users.list()
        assert not session.closed


@pytest.mark.parametrize("kind", [AsyncClient, SyncClient])
@pytest.mark.parametrize(
    ("given", "message"),
    [
        (7, "session_factory must be a function without arguments that makes an aiohttp.ClientSession, not int"),
        ("x", "not str"),
        (divmod, "missing a required argument: 'x'"),
        (iter([1]), "not list_iterator"),
    ],
)
def test_what_cannot_make_a_session_is_refused_at_once(kind: Any, given: object, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        kind("key", "account", session_factory=given)


def test_a_generator_function_makes_no_session() -> None:
    async def fixture() -> Any:
        yield aiohttp.ClientSession()

    with pytest.raises(ConfigurationError, match="not a generator"):
        AsyncClient("key", "account", session_factory=fixture)


@pytest.mark.parametrize("made", [lambda: None, lambda: "session", asyncio.Event])
def test_what_is_no_session_is_refused_where_it_comes(sandbox: Sandbox, made: Callable[[], Any]) -> None:
    name = type(made()).__name__
    message = f"session_factory must return an aiohttp.ClientSession, not {name}"
    with SyncClient(**options(sandbox, session_factory=made)) as client:
        for _ in range(2):
            with pytest.raises(ConfigurationError, match=message):
                client.users.list().first_page()


async def test_a_session_that_is_closed_already_is_refused(sandbox: Sandbox) -> None:
    """As when a function gives the same one each time."""
    async with aiohttp.ClientSession() as session:
        pass
    async with AsyncClient(**options(sandbox, session_factory=lambda: session)) as client:
        with pytest.raises(ConfigurationError, match="a session that is closed"):
            await client.users.list()


def test_what_the_function_raises_is_raised_and_it_is_tried_again(sandbox: Sandbox) -> None:
    factory = Factory()
    calls: list[None] = []

    def make() -> aiohttp.ClientSession:
        calls.append(None)
        if len(calls) == 1:
            raise LookupError("no certificate yet")
        return factory()

    with SyncClient(**options(sandbox, session_factory=make)) as client:
        with pytest.raises(LookupError, match="no certificate yet"):
            client.users.list().first_page()
        assert len(client.users.list().collect()) == 3


async def test_what_excludes_each_other() -> None:
    factory = Factory()
    async with aiohttp.ClientSession() as session:
        own: dict[str, Any] = {"session": session}
        made: dict[str, Any] = {"session_factory": factory}
        cases: list[tuple[dict[str, Any], str]] = [
            (own | made, "session= or session_factory=, not both"),
            (own | {"transport": "lean"}, "the lean transport does not use a session: leave session= out"),
            (made | {"transport": "lean"}, "leave session_factory= out"),
            (made | {"transport": InMemoryTransport()}, "a transport of your own does not use a session"),
            ({"session": "session"}, "session must be an aiohttp.ClientSession, not str"),
        ]
        for given, message in cases:
            with pytest.raises(ConfigurationError, match=message):
                AsyncClient("key", "account", **given)


async def test_a_mock_of_the_class_passes() -> None:
    with mock.patch("aiohttp.ClientSession") as mocked:
        mocked.return_value.closed = False
        AsyncClient("key", "account", session=aiohttp.ClientSession())
    with mock.patch("aiohttp.ClientSession", autospec=True) as mocked:
        AsyncClient("key", "account", session=aiohttp.ClientSession())
