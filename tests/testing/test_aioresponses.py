"""Code that uses the clients can be tested with aioresponses."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import aiohttp
import pytest
from aioresponses import CallbackResult, aioresponses

from stackone_lms import (
    APITimeoutError,
    AsyncClient,
    ConnectError,
    ConnectionLostError,
    NotFoundError,
    RateLimitError,
    RetryPolicy,
    SyncClient,
)
from stackone_lms.sandbox import Sandbox
from stackone_lms.testing import aioresponses_compat

BASE = "https://api.stackone.com/unified/lms/completions"
ONE = f"{BASE}/1"
QUICK = RetryPolicy(base=0, throttle_base=0)


@pytest.fixture
def mocked() -> Iterator[Any]:
    with aioresponses_compat(), aioresponses() as mock:
        yield mock


def client(**options: Any) -> AsyncClient:
    return AsyncClient("key", "account", retry=QUICK, **options)


async def test_aioresponses_still_needs_the_fixture() -> None:
    """When this fails, a newer aioresponses works by itself: `aioresponses_compat` can be deprecated."""
    mock: Any
    with aioresponses() as mock:
        mock.get(ONE, payload={"data": {"id": "1"}})
        async with aiohttp.ClientSession() as session:
            with pytest.raises(TypeError, match="stream_writer"):
                await session.get(ONE)


async def test_compat_leaves_nothing_behind() -> None:
    """After the context aiohttp is as before, also when contexts are nested."""
    before = aiohttp.ClientResponse.__init__
    with aioresponses_compat():
        inner = aiohttp.ClientResponse.__init__
        with aioresponses_compat():
            pass
        assert aiohttp.ClientResponse.__init__ is inner
        assert inner is not before
    assert aiohttp.ClientResponse.__init__ is before


async def test_compat_changes_nothing_when_the_argument_is_given() -> None:
    """Real answers go through unharmed while it is active."""
    async with Sandbox() as sandbox:
        id = sandbox.ids("completions")[0]
        with aioresponses_compat():
            async with AsyncClient(sandbox.api_key, sandbox.account_ids[0], base_url=sandbox.url) as real:
                assert (await real.completions.get(id)).data.id == id


def test_compat_gives_only_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream writer that was given stays; a made one has sent nothing."""
    seen: list[Any] = []

    def init(self: aiohttp.ClientResponse, *, stream_writer: Any) -> None:
        seen.append(stream_writer)

    monkeypatch.setattr(aiohttp.ClientResponse, "__init__", init)
    response: Any = aiohttp.ClientResponse
    with aioresponses_compat():
        response(stream_writer="given")
        response()
    assert seen[0] == "given"
    assert seen[1].output_size == 0


def test_compat_changes_nothing_where_aiohttp_wants_no_argument(monkeypatch: pytest.MonkeyPatch) -> None:
    """An aiohttp without `stream_writer` is left alone."""

    def init(self: aiohttp.ClientResponse, method: str, url: object) -> None: ...

    monkeypatch.setattr(aiohttp.ClientResponse, "__init__", init)
    with aioresponses_compat():
        assert vars(aiohttp.ClientResponse)["__init__"] is init


async def test_a_payload_is_decoded(mocked: Any) -> None:
    """The async client gets what was mocked, headers included."""
    mocked.get(ONE, payload={"data": {"id": "1"}}, headers={"x-request-id": "r-1"})
    async with client() as api:
        result = await api.completions.get("1")
    assert (result.data.id, result.request_id) == ("1", "r-1")
    mocked.assert_called_once()


def test_the_blocking_client_is_mocked_as_well(mocked: Any) -> None:
    """The mock holds in the thread of the SyncClient too."""
    mocked.get(ONE, payload={"data": {"id": "1"}})
    mocked.get(ONE, status=404, payload={"statusCode": 404, "message": "Not Found"})
    with SyncClient("key", "account") as api:
        assert api.completions.get("1").data.id == "1"
        with pytest.raises(NotFoundError):
            api.completions.get("1")


async def test_an_error_status_raises(mocked: Any) -> None:
    """The API's own message comes through."""
    mocked.get(ONE, status=404, payload={"statusCode": 404, "message": "no such completion"})
    async with client() as api:
        with pytest.raises(NotFoundError, match="no such completion") as caught:
            await api.completions.get("1")
    assert caught.value.attempts == 1


async def test_a_retry_meets_the_next_mock(mocked: Any) -> None:
    """503 and then 200 is one call with two attempts."""
    mocked.get(ONE, status=503)
    mocked.get(ONE, payload={"data": {"id": "1"}})
    async with client() as api:
        assert (await api.completions.get("1")).attempts == 2


async def test_a_repeated_mock_is_used_by_every_attempt(mocked: Any) -> None:
    """The headers of an error are read: Retry-After."""
    mocked.get(ONE, status=429, repeat=True, headers={"Retry-After": "0"})
    async with client() as api:
        with pytest.raises(RateLimitError) as caught:
            await api.completions.get("1")
    assert (caught.value.attempts, caught.value.retry_after) == (3, 0)


async def test_queries_are_part_of_the_mocked_url(mocked: Any) -> None:
    """A URL with a query fits the request with the same query, in any order."""
    query = urlencode({"raw": "true", "proxy[a][b]": "x y", "fields": "id"})
    mocked.get(f"{ONE}?{query}", payload={"data": {"id": "1"}}, repeat=True)
    async with client() as api:
        for _ in range(2):
            result = await api.completions.get("1", fields=["id"], raw=True, proxy={"a": {"b": "x y"}})
            assert result.data.id == "1"


async def test_a_pattern_mocks_all_pages(mocked: Any) -> None:
    """A callback behind a pattern sees each cursor."""
    pages = {None: (["1", "2"], "c/2"), "c/2": (["3"], None)}

    def page(url: Any, **_: Any) -> CallbackResult:
        ids, following = pages[url.query.get("next")]
        return CallbackResult(payload={"data": [{"id": id} for id in ids], "next": following})

    mocked.get(re.compile(rf"{re.escape(BASE)}\b.*"), callback=page, repeat=True)
    async with client() as api:
        assert [c.id async for c in api.completions.list(page_size=2)] == ["1", "2", "3"]


async def test_an_id_is_one_encoded_segment(mocked: Any) -> None:
    """A slash in an id is %2F in the mocked URL."""
    mocked.get(f"{BASE}/a%2Fb", payload={"data": {"id": "a/b"}})
    async with client() as api:
        assert (await api.completions.get("a/b")).data.id == "a/b"


async def test_a_body_can_be_asserted_on(mocked: Any) -> None:
    """The mock keeps the bytes of a write."""
    url = "https://api.stackone.com/unified/lms/users/u/completions"
    mocked.post(url, status=201, payload={"statusCode": 201, "message": "Created", "data": {"id": "9"}})
    async with client() as api:
        await api.users.completions.create("u", learning_object_external_reference="course-1")
    ((call,),) = mocked.requests.values()
    assert call.kwargs["data"] == b'{"learning_object_external_reference":"course-1"}'


@pytest.mark.parametrize(
    ("exception", "raised"),
    [
        (aiohttp.ClientConnectionError("gone"), ConnectionLostError),
        (aiohttp.ServerDisconnectedError(), ConnectionLostError),
        (aiohttp.ClientOSError(104, "reset"), ConnectionLostError),
        (aiohttp.ConnectionTimeoutError(), APITimeoutError),
        (aiohttp.ClientConnectorError(None, OSError(111, "refused")), ConnectError),  # type: ignore[arg-type]
    ],
    ids=lambda value: type(value).__name__,
)
async def test_mocked_exceptions_arrive_as_ours(mocked: Any, exception: Exception, raised: type[Exception]) -> None:
    """`exception=` is mapped as the real one is, and retried."""
    mocked.get(ONE, exception=exception, repeat=True)
    async with client() as api:
        with pytest.raises(raised) as caught:
            await api.completions.get("1")
    assert getattr(caught.value, "attempts", 0) == 3


async def test_a_mocked_timeout_is_a_timeout(mocked: Any) -> None:
    """`timeout=True` makes aioresponses raise a bare TimeoutError; it counts as an answer that did not come."""
    mocked.get(ONE, timeout=True)
    mocked.get(ONE, payload={"data": {"id": "1"}})
    mocked.get(ONE, timeout=True, repeat=True)
    async with client() as api:
        assert (await api.completions.get("1")).attempts == 2
        with pytest.raises(APITimeoutError) as caught:
            await api.completions.get("1")
    assert caught.value.phase == "read"


async def test_a_session_of_ones_own_is_mocked_too(mocked: Any) -> None:
    """`session=` goes the same way."""
    mocked.get(ONE, payload={"data": {"id": "1"}})
    async with aiohttp.ClientSession() as session, client(session=session) as api:
        assert (await api.completions.get("1")).data.id == "1"


async def test_passthrough_reaches_a_real_server() -> None:
    """Part of the hosts can be mocked, the others stay real."""
    async with Sandbox() as sandbox:
        id = sandbox.ids("completions")[0]
        with aioresponses_compat(), aioresponses(passthrough=[sandbox.url]):
            async with AsyncClient(sandbox.api_key, sandbox.account_ids[0], base_url=sandbox.url) as real:
                assert (await real.completions.get(id)).data.id == id
