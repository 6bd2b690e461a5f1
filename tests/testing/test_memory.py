"""InMemoryTransport: the test says what is answered, and sees what was asked."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from stackone_lms import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    AsyncClient,
    Completion,
    CompletionResult,
    ConnectError,
    ConnectionLostError,
    DecodeError,
    NotFoundError,
    RateLimitError,
    RetryPolicy,
    SyncClient,
    Timeout,
)
from stackone_lms.testing import InMemoryTransport, SentRequest, SkippingClock, UnexpectedRequestError, answer

ONE = "/unified/lms/completions/1"
ALL = "/unified/lms/completions"
FOR_USER = "/unified/lms/users/u/completions"
KEY, ACCOUNT = "a-key-of-the-test", "an-account-of-the-test"


@pytest.fixture
def transport() -> InMemoryTransport:
    return InMemoryTransport()


@pytest.fixture
async def client(transport: InMemoryTransport) -> AsyncIterator[AsyncClient]:
    clock = SkippingClock()
    async with AsyncClient(KEY, ACCOUNT, transport=transport, clock=clock, sleep=clock.sleep) as made:
        yield made


async def test_a_prepared_answer_reaches_the_async_client(transport: InMemoryTransport, client: AsyncClient) -> None:
    """A dict becomes the JSON body of a 200."""
    transport.reply("GET", ONE, {"data": {"id": "1", "result": {"value": "Pass"}}})
    result = await client.completions.get("1")
    assert (result.data.id, result.status, result.attempts) == ("1", 200, 1)


def test_a_prepared_answer_reaches_the_blocking_client(transport: InMemoryTransport) -> None:
    """The same table serves code without asyncio."""
    transport.reply("GET", ONE, {"data": {"id": "1"}})
    with SyncClient(KEY, ACCOUNT, transport=transport) as client:
        assert client.completions.get("1").data.id == "1"


async def test_models_bytes_and_headers_can_be_answered(transport: InMemoryTransport, client: AsyncClient) -> None:
    """Models are encoded, bytes arrive as they are, headers are found in any case."""
    transport.reply("GET", ONE, CompletionResult(data=Completion(id="1")), headers={"X-Request-Id": "r-1"})
    first = await client.completions.get("1")
    assert (first.data, first.request_id) == (Completion(id="1"), "r-1")
    assert first.response.headers["content-type"] == "application/json"
    transport.reply("GET", "/unified/lms/completions/2", b'{"data":{"id":')
    with pytest.raises(DecodeError):
        await client.completions.get("2")


async def test_an_error_status_brings_the_body_of_the_api(transport: InMemoryTransport, client: AsyncClient) -> None:
    """Without content an error status has an error body, and raises as in earnest."""
    transport.reply("GET", ONE, status=404).reply("GET", ONE, status=499)
    with pytest.raises(NotFoundError) as caught:
        await client.completions.get("1")
    assert (caught.value.message, caught.value.body["statusCode"]) == ("Not Found", 404)
    with pytest.raises(APIStatusError, match=r"499 status 499"):
        await client.completions.get("1")


async def test_answers_are_given_in_turn_and_the_last_one_stays(
    transport: InMemoryTransport, client: AsyncClient
) -> None:
    """A retry meets the next answer; more calls get the last."""
    transport.reply("GET", ONE, status=503).reply("GET", ONE, {"data": {"id": "1"}})
    assert (await client.completions.get("1")).attempts == 2
    assert (await client.completions.get("1")).attempts == 1
    assert len(transport.requests) == 3


async def test_an_empty_answer_is_possible(transport: InMemoryTransport, client: AsyncClient) -> None:
    """A 204 without content is a deletion that worked."""
    transport.reply("delete", f"{FOR_USER}/1", status=204)
    assert (await client.users.completions.delete("u", "1")).status_code == 204


async def test_queries_choose_between_answers(transport: InMemoryTransport, client: AsyncClient) -> None:
    """The answer with the most matching parameters wins, whatever the order: pages of a list."""
    transport.reply("GET", ALL, {"data": [{"id": "1"}], "next": "c2"})
    transport.reply("GET", ALL, {"data": [{"id": "2"}], "next": None}, query={"next": "c2"})
    assert [c.id async for c in client.completions.list()] == ["1", "2"]


async def test_patterns_fit_whole_paths_and_plain_paths_come_first(
    transport: InMemoryTransport, client: AsyncClient
) -> None:
    """A pattern answers what no plain path answers."""

    def echo(request: SentRequest) -> dict[str, Any]:
        return {"data": {"id": request.path.rpartition("/")[2]}}

    transport.reply("GET", re.compile(r"/unified/lms/completions/[^/]+"), echo)
    transport.reply("GET", re.compile(r"/unified/lms/users"), echo)
    transport.reply("GET", ONE, {"data": {"id": "1", "remote_id": "plain"}})
    assert (await client.completions.get("1")).data.remote_id == "plain"
    assert (await client.completions.get("77")).data.id == "77"
    for beside in (client.completions.list(), client.users.completions.list("u")):
        with pytest.raises(UnexpectedRequestError):
            await beside.first_page()


async def test_paths_may_be_written_plain_or_encoded(transport: InMemoryTransport, client: AsyncClient) -> None:
    """An id with a slash is one encoded segment on the wire."""
    transport.reply("GET", "/unified/lms/completions/a/b", {"data": {"id": "a/b"}})
    transport.reply("GET", "/unified/lms/completions/c%2Fd", {"data": {"id": "c/d"}})
    assert (await client.completions.get("a/b")).data.id == "a/b"
    assert (await client.completions.get("c/d")).data.id == "c/d"
    assert transport.requests[0].path == "/unified/lms/completions/a%2Fb"


async def test_requests_are_kept_without_secrets(transport: InMemoryTransport, client: AsyncClient) -> None:
    """What was sent can be asserted on; the key shows nowhere, the account is an identifier."""
    transport.reply("GET", ONE, {"data": {"id": "1"}})
    await client.completions.get("1", raw=True, fields=["id", "result"], proxy={"a": {"b": [1, 2]}})
    (sent,) = transport.requests
    assert (sent.method, sent.path, sent.json()) == ("GET", ONE, None)
    assert sent.query["raw"] == "true"
    assert sent.query["fields"] == "id,result"
    assert sent.query.getall("proxy[a][b]") == ["1", "2"]
    assert sent.headers["accept"] == "application/json"
    assert {"authorization", "x-account-id"}.isdisjoint(name.lower() for name in sent.headers)
    assert sent.account_id == ACCOUNT
    assert type(sent.account_id) is str
    shown = f"{sent!r} {sent}"
    assert KEY not in shown
    assert ACCOUNT in shown


async def test_bodies_are_kept(transport: InMemoryTransport, client: AsyncClient) -> None:
    """A write's body can be asserted on as JSON, and a query as a dict."""
    transport.reply("POST", FOR_USER, {"statusCode": 201, "message": "Created", "data": {"id": "9"}}, status=201)
    await client.users.completions.create("u", learning_object_external_reference="course-1")
    (sent,) = transport.requests
    assert sent.json() == {"learning_object_external_reference": "course-1"}
    assert sent.query == {}


async def test_an_unexpected_request_fails_the_test(transport: InMemoryTransport, client: AsyncClient) -> None:
    """It is an AssertionError that no handler of StackOneError catches, sent once, and says what there is."""
    transport.reply("GET", ONE, {"data": {"id": "1"}}, query={"raw": "true"})
    with pytest.raises(
        UnexpectedRequestError, match=re.escape(f"for GET {ONE}?fields=id; prepared is: GET {ONE}?raw=true")
    ):
        await client.completions.get("1", fields="id")
    assert issubclass(UnexpectedRequestError, AssertionError)
    assert len(transport.requests) == 1


async def test_another_method_is_unexpected(transport: InMemoryTransport, client: AsyncClient) -> None:
    """An answer to GET is none to DELETE."""
    transport.reply("GET", f"{FOR_USER}/1", {"data": {"id": "1"}})
    with pytest.raises(UnexpectedRequestError):
        await client.users.completions.delete("u", "1")


@pytest.mark.parametrize(
    ("prepared", "raised"),
    [
        (ConnectError("refused"), ConnectError),
        (aiohttp.ServerDisconnectedError(), ConnectionLostError),
        (ConnectionResetError(104, "reset"), ConnectionLostError),
        (TimeoutError(), APITimeoutError),
    ],
    ids=repr,
)
async def test_exceptions_are_raised_as_by_the_network(
    transport: InMemoryTransport, client: AsyncClient, prepared: Any, raised: type[Exception]
) -> None:
    """Ours and foreign ones arrive as ours, after the usual attempts."""
    transport.reply("GET", ONE, prepared)
    for _ in range(2):
        with pytest.raises(raised) as caught:
            await client.completions.get("1")
        assert caught.value is not prepared
        assert getattr(caught.value, "attempts", 0) == 3


@pytest.mark.parametrize(
    ("error", "attempts"),
    [
        (ConnectError("refused"), 3),
        (APITimeoutError("slow", phase="connect"), 3),
        (RateLimitError("slow down", status=429), 3),
        (ConnectionLostError("gone"), 1),
        (APITimeoutError("slow", phase="read"), 1),
    ],
    ids=repr,
)
async def test_a_write_is_repeated_only_where_it_was_not_sent(
    transport: InMemoryTransport, client: AsyncClient, error: APIConnectionError, attempts: int
) -> None:
    """An exception tells by its class whether the server may have acted."""
    transport.reply("POST", FOR_USER, error)
    with pytest.raises(type(error)):
        await client.users.completions.create("u", learning_object_external_reference="course-1")
    assert len(transport.requests) == attempts


async def test_handlers_may_wait_and_answer_with_any_status(transport: InMemoryTransport) -> None:
    """A coroutine function makes the answer, or lets a time limit pass."""

    async def slow(request: SentRequest) -> Any:
        if len(transport.requests) == 1:
            await asyncio.sleep(30)
        return answer(status=404)

    transport.reply("GET", ONE, slow)
    async with AsyncClient(KEY, ACCOUNT, transport=transport, retry=RetryPolicy(attempts=1)) as client:
        with pytest.raises(APITimeoutError):
            await client.with_options(timeout=Timeout(connect=0.05, read=0.05)).completions.get("1")
        with pytest.raises(NotFoundError):
            await client.completions.get("1")


async def test_what_a_handler_raises_counts_as_returned(transport: InMemoryTransport, client: AsyncClient) -> None:
    """A failure of the network is treated as one; an assertion in a handler comes out as it is, at once."""

    def refuse(request: SentRequest) -> None:
        raise ConnectError("refused")

    def check(request: SentRequest) -> None:
        assert request.query["raw"] == "true", "raw is missing"

    transport.reply("GET", ONE, refuse).reply("GET", "/unified/lms/completions/2", check)
    with pytest.raises(ConnectError):
        await client.completions.get("1")
    with pytest.raises(KeyError):
        await client.completions.get("2")
    assert len(transport.requests) == 4


def test_what_cannot_be_answered_shows_where_it_is_prepared(transport: InMemoryTransport) -> None:
    """Content that is no JSON, or a bare class, is refused at once, not in the middle of a call."""
    with pytest.raises(NotImplementedError):
        transport.reply("GET", ONE, {"data": object()})
    with pytest.raises(TypeError, match="an instance"):
        transport.reply("GET", ONE, ConnectError)


async def test_changes_after_preparing_do_not_count(transport: InMemoryTransport, client: AsyncClient) -> None:
    """The answer is fixed when it is prepared."""
    content = {"data": {"id": "1"}}
    transport.reply("GET", ONE, content)
    content["data"]["id"] = "2"
    assert (await client.completions.get("1")).data.id == "1"
