"""The methods of the async client are seen as coroutine functions by what calls them for users."""

from __future__ import annotations

import asyncio
import functools
import gc
import inspect
import weakref
from collections.abc import Callable, MutableMapping
from typing import Any
from unittest.mock import AsyncMock, MagicMock, create_autospec, patch

import backoff
import fastapi
import pytest
import stamina
from apscheduler.events import EVENT_JOB_ERROR, EVENT_JOB_EXECUTED  # pyright: ignore[reportMissingTypeStubs]
from apscheduler.schedulers.asyncio import AsyncIOScheduler  # pyright: ignore[reportMissingTypeStubs]
from fastapi import FastAPI
from starlette.background import BackgroundTasks
from tenacity import retry, stop_after_attempt, wait_none

from stackone_lms import AsyncClient, RetryPolicy, SyncClient
from stackone_lms.errors import BadGatewayError
from tests.fake.fakes import ACCOUNT, KEY, FakeTransport, client_of, error, record, reply, virtual

CREATED = reply(201, {"statusCode": 201, "message": "m", "timestamp": "2024-01-01T00:00:00Z", "data": {"id": "n"}})
BODY = {"learning_object_external_reference": "c"}
COROUTINES = [
    "completions.get",
    "content.upsert",
    "content.batch_upsert",
    "content.update",
    "users.get",
    "users.completions.create",
    "users.completions.get",
    "users.completions.delete",
]


def method(client: Any, dotted: str) -> Any:
    return functools.reduce(getattr, dotted.split("."), client)


@pytest.mark.parametrize("dotted", COROUTINES)
def test_what_has_to_be_awaited_is_a_coroutine_function(dotted: str) -> None:
    call = method(AsyncClient(KEY, ACCOUNT), dotted)
    assert inspect.iscoroutinefunction(call)
    assert inspect.iscoroutinefunction(functools.partial(call, "u"))
    assert not inspect.iscoroutinefunction(method(SyncClient(KEY, ACCOUNT), dotted))


@pytest.mark.parametrize("dotted", ["completions.list", "completions.get_many"])
def test_what_is_iterated_is_no_coroutine_function(dotted: str) -> None:
    assert not inspect.iscoroutinefunction(method(AsyncClient(KEY, ACCOUNT), dotted))
    each = AsyncClient(KEY, ACCOUNT).for_accounts(["a"])
    assert not inspect.iscoroutinefunction(method(each, "completions.get"))


@virtual
async def test_a_background_task_of_starlette_sends() -> None:
    transport = FakeTransport(CREATED)
    tasks = BackgroundTasks()
    tasks.add_task(client_of(transport).users.completions.create, "u", BODY)
    await tasks()
    assert [sent.path for sent in transport.sent] == ["/unified/lms/users/u/completions"]


async def test_a_background_task_of_fastapi_sends_after_the_answer() -> None:
    """In an application, asked as a server asks it."""
    transport, sent = FakeTransport(CREATED), list[dict[str, Any]]()
    client, app = client_of(transport), FastAPI()

    @app.post("/done/{user}")
    async def done(user: str, tasks: fastapi.BackgroundTasks) -> str:  # pyright: ignore[reportUnusedFunction]
        tasks.add_task(client.users.completions.create, user, BODY)
        assert transport.sent == []
        return "accepted"

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(dict(message))

    scope: dict[str, Any] = {"type": "http", "method": "POST", "path": "/done/u1", "headers": [], "query_string": b""}
    await app(scope, receive, send)
    assert (sent[0]["status"], sent[1]["body"]) == (200, b'"accepted"')
    assert [one.path for one in transport.sent] == ["/unified/lms/users/u1/completions"]


async def test_a_job_of_apscheduler_sends() -> None:
    transport, ended = FakeTransport(CREATED), asyncio.Event()
    events: list[Any] = []

    def note(event: Any) -> None:
        events.append(event)
        ended.set()

    scheduler: Any = AsyncIOScheduler()
    scheduler.add_listener(note, EVENT_JOB_EXECUTED | EVENT_JOB_ERROR)
    scheduler.add_job(client_of(transport).users.completions.create, args=["u"], kwargs=BODY)
    scheduler.start()
    try:
        await ended.wait()
    finally:
        scheduler.shutdown(wait=False)
    assert events[0].exception is None
    assert events[0].retval.data.id == "n"
    assert [sent.path for sent in transport.sent] == ["/unified/lms/users/u/completions"]


DECORATORS: dict[str, Any] = {
    "stamina": stamina.retry(on=BadGatewayError, attempts=3, wait_initial=0, wait_max=0, wait_jitter=0),
    "backoff": backoff.on_exception(backoff.constant, BadGatewayError, max_tries=3, interval=0, jitter=None),
}


@pytest.mark.parametrize("name", DECORATORS)
async def test_other_decorators_try_a_method_again(name: str) -> None:
    transport = FakeTransport(error(502), error(502), record(), error(502))
    client = client_of(transport, retry=RetryPolicy(attempts=1))
    again: Callable[..., Any] = DECORATORS[name](client.completions.get)
    assert (await again("c1")).data.id == "c1"
    assert len(transport.sent) == 3
    with pytest.raises(BadGatewayError):
        await again("c1")
    assert len(transport.sent) == 6


@virtual
async def test_tenacity_tries_a_method_again() -> None:
    transport = FakeTransport(error(502), error(502), record())
    client = client_of(transport, retry=RetryPolicy(attempts=1))
    again: Callable[..., Any] = retry(stop=stop_after_attempt(3), wait=wait_none())(client.completions.get)
    assert (await again("c1")).data.id == "c1"
    assert len(transport.sent) == 3
    with pytest.raises(BadGatewayError):
        await client_of(FakeTransport(error(502)), retry=RetryPolicy(attempts=1)).completions.get("c1")


async def test_resources_are_seen_on_the_class() -> None:
    spec = AsyncMock(spec=AsyncClient)
    spec.completions.get = AsyncMock(return_value="found")
    assert await spec.completions.get("c1") == "found"
    with pytest.raises(AttributeError):
        spec.no_such_resource  # noqa: B018
    assert {"completions", "users", "skills"} <= set(dir(AsyncClient))
    assert {"completions", "assignments"} <= set(dir(type(AsyncClient(KEY, ACCOUNT).users)))


async def test_an_autospec_of_a_client_has_calls_that_are_awaited() -> None:
    spec = create_autospec(AsyncClient(KEY, ACCOUNT))
    spec.users.completions.create.return_value = "made"
    assert isinstance(spec.completions.get, AsyncMock)
    assert await spec.users.completions.create("u", **BODY) == "made"
    assert isinstance(spec.completions.list, MagicMock)
    assert not isinstance(spec.completions.list, AsyncMock)
    with pytest.raises(TypeError):
        spec.completions.get()
    blocking = create_autospec(SyncClient(KEY, ACCOUNT))
    blocking.completions.get.return_value = "found"
    assert blocking.completions.get("c1") == "found"


async def test_a_patched_method_is_awaited_and_comes_back() -> None:
    client: Any = AsyncClient(KEY, ACCOUNT)
    with patch.object(client.completions, "get") as get:
        get.return_value = "patched"
        assert await client.completions.get("c1") == "patched"
    assert client.completions.get.__name__ == "get"
    assert client.completions.get.__qualname__ == "completions.get"
    with patch("stackone_lms.api.resources.Completions.get") as get:
        get.return_value = "patched"
        assert client.with_options().completions.get("c1") == "patched"


def test_a_method_keeps_what_it_needs_and_a_view_goes_by_itself() -> None:
    """No cycle of references holds on to views: there may be one for each of thousands of accounts."""
    client = AsyncClient(KEY, ACCOUNT)
    view = client.with_options(account_id="other")
    get = view.completions.get
    watched = weakref.ref(view), weakref.ref(view.completions)
    gc.disable()
    try:
        del view
        assert [one() for one in watched] == [None, None]
    finally:
        gc.enable()
    assert get.__doc__


def test_a_method_cannot_be_pickled_and_shows_no_secret() -> None:
    import pickle

    get = AsyncClient(KEY, ACCOUNT).completions.get
    with pytest.raises(TypeError, match="make a client in each process"):
        pickle.dumps(get)
    assert KEY not in repr(get)
