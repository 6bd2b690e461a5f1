"""The API key and the account id: where they must not appear, whatever happens."""

from __future__ import annotations

import asyncio
import copy
import logging
import pickle
from collections.abc import Callable

import pytest

from stackone_lms import AsyncClient, SyncClient
from stackone_lms.base_client import bound_executor_of
from stackone_lms.errors import APIStatusError, AuthenticationError, ConfigurationError, StackOneError
from stackone_lms.options import RetryPolicy

from . import Fault, FaultServer
from .messages import answer
from .scripts import fail, respond, send
from .sdk import ACCOUNT, HASTY, KEY, SECRETS, Carrier, assert_presentable, client_for, engine_of, shown_by


def leaked(*shown: object) -> list[str]:
    """Return the secrets that a text, or the repr of an object, holds."""
    text = "\n".join(item if isinstance(item, str) else repr(item) for item in shown)
    return [secret for secret in SECRETS if secret in text]


@pytest.mark.parametrize("kind", [AsyncClient, SyncClient])
def test_no_representation_shows_them(kind: type[AsyncClient | SyncClient]) -> None:
    """Of the client, a view, a resource, an account's settings, or what is behind them."""
    client = kind(KEY, ACCOUNT)
    view = client.with_options(account_id=f"{ACCOUNT}-2")
    scope = bound_executor_of(client)
    shown: list[object] = [client, view, client.completions, client.users.completions.list("u"), engine_of(client)]
    shown += [scope, scope.settings, scope.settings.headers, vars(client), client.stats(), str(client)]
    assert leaked(*shown) == []
    assert "api_key=***" in repr(client)


@pytest.mark.parametrize("copied", [pickle.dumps, copy.copy, copy.deepcopy])
@pytest.mark.parametrize("kind", [AsyncClient, SyncClient])
def test_a_client_is_not_copied(kind: type[AsyncClient | SyncClient], copied: Callable[[object], object]) -> None:
    """Neither pickled nor copied: the hint says what to do."""
    with pytest.raises(TypeError, match="make one in each process"):
        copied(kind(KEY, ACCOUNT))


_BAD: tuple[Callable[[], object], ...] = (
    lambda: AsyncClient(KEY + "\n", ACCOUNT),
    lambda: AsyncClient(KEY, ACCOUNT + " "),
    lambda: AsyncClient(KEY, ACCOUNT, base_url="ftp://x"),
    lambda: AsyncClient(KEY, ACCOUNT, proxy=f"socks5://{KEY}@x"),
    lambda: AsyncClient(KEY, ACCOUNT, timeout=-5),
    lambda: AsyncClient(KEY + ":", ACCOUNT),
    lambda: AsyncClient(KEY, ACCOUNT, ca_bundle="/no/such/file"),
)


@pytest.mark.parametrize("number", range(len(_BAD)))
def test_a_client_that_cannot_be_made_does_not_show_what_it_was_given(number: int) -> None:
    """Not even in a traceback with the local variables of every function."""
    with pytest.raises(ConfigurationError) as caught:
        _BAD[number]()
    assert_presentable(caught.value)


def test_a_key_of_the_environment_is_not_shown_either(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STACKONE_API_KEY", KEY + "\n")
    with pytest.raises(ConfigurationError) as caught:
        AsyncClient()
    assert_presentable(caught.value)


def test_a_view_that_cannot_be_made_does_not_show_its_account() -> None:
    client = AsyncClient(KEY, ACCOUNT)
    for bad in (f"{ACCOUNT}\n", f"{ACCOUNT} "):
        with pytest.raises(StackOneError) as caught:
            client.with_options(account_id=bad)
        assert_presentable(caught.value)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 422, 500])
async def test_what_a_server_echoes_is_blotted_out(carrier: Carrier, status: int) -> None:
    """In the message, the decoded body, the error code and the provider's errors, in every spelling."""
    spoken = " ".join(SECRETS)
    fault = Fault(
        "echo",
        "-",
        "",
        "ok",
        None,
        fail(
            status,
            f"x-echo: {spoken}",
            message=spoken,
            errorCode=KEY,
            provider_errors=[{"url": f"https://x/?key={KEY}", "raw": {ACCOUNT: [spoken]}}],
            **{KEY: ACCOUNT},
        ),
    )
    async with FaultServer(more=[fault]) as server, client_for(carrier, server.base_url("echo")) as client:
        with pytest.raises(APIStatusError) as caught:
            await client.completions.get("x")
        assert "***" in caught.value.message
        assert_presentable(caught.value)


@pytest.mark.parametrize(
    "body",
    [
        f"<html>{' '.join(SECRETS)}</html>".encode(),
        b'{"data":"%b"}' % KEY.encode(),
        b'{"data":{"id":"%b"}}' % KEY.encode(),
        b'{"data":{"id":"x"}',
        b'{"statusCode":500,"message":"%b"}' % KEY.encode(),
    ],
    ids=range(5),
)
async def test_an_answer_that_is_none_and_echoes(carrier: Carrier, body: bytes) -> None:
    """The excerpt, the bytes and the ids that such an error carries are blotted, too."""
    fault = Fault("echo", "-", "", "ok", None, respond(body))
    async with FaultServer(more=[fault]) as server, client_for(carrier, server.base_url("echo")) as client:
        with pytest.raises(StackOneError) as caught:
            await client.completions.get("x")
        assert_presentable(caught.value)


async def test_a_field_that_cannot_be_read_and_echoes(carrier: Carrier, caplog: pytest.LogCaptureFixture) -> None:
    """The record is delivered as it came, and no log shows the key."""
    caplog.set_level(logging.DEBUG)
    fault = Fault("echo", "-", "", "ok", None, respond(b'{"data":{"id":"x","updated_at":"%b"}}' % KEY.encode()))
    async with FaultServer(more=[fault]) as server, client_for(carrier, server.base_url("echo")) as client:
        assert (await client.completions.get("x")).data.updated_at is None
    assert leaked(repr([vars(one) for one in caplog.records])) == []


async def test_a_request_id_that_echoes(carrier: Carrier) -> None:
    """It is quoted in every message."""
    fault = Fault("echo", "-", "", "ok", None, send(answer(b"", 404).replace(b"request-of", KEY.encode())))
    async with FaultServer(more=[fault]) as server, client_for(carrier, server.base_url("echo")) as client:
        with pytest.raises(APIStatusError) as caught:
            await client.completions.get("x")
        assert_presentable(caught.value)


async def test_a_redirect_that_echoes(carrier: Carrier) -> None:
    """In the path of its Location, where it is not cut off with the query."""
    location = f"location: https://other.example/{KEY}/{ACCOUNT}?key={KEY}"
    fault = Fault("echo", "-", "", "ok", None, respond(b"", 302, location))
    async with FaultServer(more=[fault]) as server, client_for(carrier, server.base_url("echo")) as client:
        with pytest.raises(StackOneError, match=r"other\.example") as caught:
            await client.completions.get("x")
        assert_presentable(caught.value)


@pytest.mark.parametrize("name", ["never-answers", "stall-body", "status-503", "ok"])
async def test_a_cancellation_shows_nothing_on_its_way_through(carrier: Carrier, name: str) -> None:
    """Its traceback has the frames of the client and of aiohttp, with the headers as local variables."""
    async with (
        FaultServer(stall=120) as server,
        client_for(carrier, server.base_url(name), retry=RetryPolicy(throttle_base=50, throttle_cap=50)) as client,
    ):
        call = asyncio.create_task(client.completions.get("x"))
        if name != "ok":
            while not server.total.requests:
                await asyncio.sleep(0)
            await asyncio.sleep(0.02)
        call.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await call
        assert leaked(shown_by(caught.value)) == []


async def test_logs_at_their_most_talkative(carrier: Carrier, caplog: pytest.LogCaptureFixture) -> None:
    """Attempts, retries and timeouts are told; the `conftest` looks for secrets in all of it, asyncio's own too."""
    asyncio.get_running_loop().set_debug(True)
    caplog.set_level(logging.DEBUG)
    async with FaultServer(stall=120) as server:
        for name in ("status-503@1", "never-answers@1", "rst-nothing@1", "error-echo", "redirect-302"):
            async with client_for(carrier, server.base_url(name), timeout=HASTY) as client:
                try:
                    await client.completions.get("x")
                except StackOneError as error:
                    assert_presentable(error)
    told = [record.getMessage() for record in caplog.records if record.name == "stackone_lms"]
    assert len(told) >= 8
    assert any("503" in line for line in told)
    levels = {record.levelno for record in caplog.records if record.name == "stackone_lms"}
    assert levels == {logging.DEBUG, logging.INFO}
    assert logging.getLogger("stackone_lms").handlers == []


async def test_an_error_task_that_nobody_awaits(carrier: Carrier, caplog: pytest.LogCaptureFixture) -> None:
    """What asyncio logs of it, with its traceback, is as silent."""
    async with FaultServer() as server, client_for(carrier, server.base_url("error-echo")) as client:
        call = asyncio.create_task(client.completions.get("x"))
        await asyncio.wait([call])
        error = call.exception()
        assert isinstance(error, AuthenticationError)
        logging.getLogger("test").error("unhandled", exc_info=error)
    assert "AuthenticationError" in caplog.text
    assert leaked(caplog.text) == []
